"""Parts of a run that do not fit together are refused before training, and those that do work to the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from click.testing import CliRunner
from funlib.geometry import Coordinate

from dacapo.apply import apply
from dacapo.cli import cli
from dacapo.errors import DacapoError
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, ZarrArrayConfig
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.starts import StartConfig
from dacapo.experiments.tasks import (
    AffinitiesTaskConfig,
    DistanceTaskConfig,
    HotDistanceTaskConfig,
    InnerDistanceTaskConfig,
    OneHotTaskConfig,
    TaskConfig,
)
from dacapo.experiments.trainers import GunpowderTrainerConfig, TorchTrainerConfig, TrainerConfig
from dacapo.experiments.trainers.gp_augments import ElasticAugmentConfig
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import to_plain
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.store.yaml_files import dump_yaml
from dacapo.train import train
from tests.helpers.runs import affinities_run_config, stored_run, unet_config
from tests.helpers.volumes import write_array

DISTANCES: dict[str, Any] = {"clip_distance": 40.0, "tol_distance": 8.0}
CLASSES: dict[str, Any] = {"channels": ["a", "b"], **DISTANCES, "scale_factor": 20.0}
ONE_HOT = OneHotTaskConfig("one_hot", classes=["background", "a", "b"], **DISTANCES)
DISTANCE = DistanceTaskConfig("distance", **CLASSES)
VOXELS, START = Coordinate(4, 4), Coordinate(40, 40)

Change = Callable[[RunConfig, Path], None]


def torch_trainer(**values: Any) -> TrainerConfig:
    return TorchTrainerConfig(
        "trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=1, warmup_iterations=0, **values
    )


def run_config(folder: Path, task: TaskConfig | None = None, **changes: Any) -> RunConfig:
    """Return a run in two dimensions that works; 40 x 40 voxels to train and to validate on."""
    config = affinities_run_config(
        folder, dims=2, num_iterations=1, validation_interval=1, task_config=task, trainer_config=torch_trainer()
    )
    return attrs.evolve(config, **changes)


def dataset(config: RunConfig, kind: str) -> RawGTDatasetConfig:
    (found,) = getattr(config.datasplit_config, f"{kind}_configs")
    assert isinstance(found, RawGTDatasetConfig)
    return found


def raw(kind: str, *shape: int, voxels: Coordinate = VOXELS) -> Change:
    """Return a change that gives a dataset other raw data."""

    def change(config: RunConfig, folder: Path) -> None:
        dims = voxels.dims
        write_array(folder / "new.zarr", "raw", np.zeros(shape, np.uint8), voxels, Coordinate(START[:1] * dims))
        source: Any = dataset(config, kind).raw_config
        source.source_array_config = ZarrArrayConfig("new_raw", folder / "new.zarr", "raw")

    return change


def labels(kind: str, values: np.ndarray, voxels: Coordinate = VOXELS, offset: Coordinate = START) -> Change:
    """Return a change that gives a dataset other ground truth."""

    def change(config: RunConfig, folder: Path) -> None:
        write_array(folder / "new.zarr", "labels", values, voxels, offset)
        dataset(config, kind).gt_config = ZarrArrayConfig("new_labels", folder / "new.zarr", "labels")

    return change


def mask(kind: str, *shape: int) -> Change:
    """Return a change that gives a dataset a mask."""

    def change(config: RunConfig, folder: Path) -> None:
        write_array(folder / "new.zarr", "mask", np.ones(shape, np.uint8), VOXELS, START)
        dataset(config, kind).mask_config = ZarrArrayConfig("new_mask", folder / "new.zarr", "mask")

    return change


def part(name: str, value: Any) -> Change:
    return lambda config, folder: setattr(config, name, value)


def named(kind: str, name: str) -> Change:
    return lambda config, folder: setattr(dataset(config, kind), "name", name)


def started(config: RunConfig, folder: Path) -> None:
    """Begin with weights of a network that has no layer in common."""
    other = stored_run(folder)
    create_config_store().delete_run_config(other.name)
    create_weights_store().store_weights(other, 1)
    other.name = "other"
    create_weights_store().store_weights(other, 1)
    create_weights_store().remove("affinities", 1)
    config.architecture_config = unet_config(2, num_fmaps=7, fmaps_out=5)
    config.task_config = ONE_HOT
    config.start_config = StartConfig("other", "1")


def uint(*shape: int) -> np.ndarray:
    return np.ones(shape, np.uint32)


TRAIN, VALIDATE = "datasplit_config.train_configs", "datasplit_config.validate_configs[0]"
OFFSETS_3D = AffinitiesTaskConfig("affinities", neighborhood=[Coordinate(1, 0, 0)])
WITH_LSDS = AffinitiesTaskConfig("affinities", neighborhood=[Coordinate(1, 0), Coordinate(0, 1)], lsds=True)
ELASTIC_3D = ElasticAugmentConfig(
    control_point_spacing=[10, 10, 10], control_point_displacement_sigma=[1.0, 1.0, 1.0], rotation_interval=(0.0, 1.0)
)
# What is changed, the task, and where the first problem is.
MISFITS: dict[str, tuple[Change, TaskConfig | None, str]] = {
    # network and task
    "offsets in 3D, network in 2D": (part("task_config", OFFSETS_3D), None, "architecture_config"),
    # network and raw data
    "network in 3D, data in 2D": (part("architecture_config", unet_config(3)), ONE_HOT, f"{VALIDATE}.raw_config"),
    "channels of raw to train on": (raw("train", 3, 40, 40), None, TRAIN),
    "channels of raw to validate on": (raw("validate", 3, 40, 40), None, f"{VALIDATE}.raw_config"),
    "raw to validate on is small": (raw("validate", 20, 40), None, f"{VALIDATE}.raw_config"),
    "raw to validate on ends before the truth": (raw("validate", 30, 40), None, f"{VALIDATE}.gt_config"),
    # network and ground truth
    "larger voxels of truth to train on": (labels("train", uint(20, 20), VOXELS * 2), None, TRAIN),
    "larger voxels of truth to validate on": (
        labels("validate", uint(20, 20), VOXELS * 2),
        None,
        f"{VALIDATE}.gt_config",
    ),
    "truth between voxels": (
        labels("validate", uint(10, 10), offset=START + Coordinate(2, 0)),
        None,
        f"{VALIDATE}.gt_config",
    ),
    # task and ground truth
    "one-hot truth with an axis for one channel": (
        labels("validate", uint(1, 40, 40)),
        ONE_HOT,
        f"{VALIDATE}.gt_config",
    ),
    "one-hot truth of other channels": (labels("train", uint(2, 40, 40)), ONE_HOT, f"{TRAIN}[0].gt_config"),
    "distances without channels": (labels("train", uint(40, 40)), DISTANCE, f"{TRAIN}[0].gt_config"),
    "distances of other classes": (labels("validate", uint(3, 40, 40)), DISTANCE, f"{VALIDATE}.gt_config"),
    "instances in channels to train on": (labels("train", uint(2, 40, 40)), None, f"{TRAIN}[0].gt_config"),
    "instances in channels to validate on": (labels("validate", uint(2, 40, 40)), None, f"{VALIDATE}.gt_config"),
    "labels with fractions to train on": (
        labels("train", np.ones((40, 40), np.float32)),
        None,
        f"{TRAIN}[0].gt_config",
    ),
    "labels with fractions to validate on": (
        labels("validate", np.ones((40, 40), np.float32)),
        None,
        f"{VALIDATE}.gt_config",
    ),
    # task and mask
    "mask of other channels to train on": (mask("train", 5, 40, 40), None, f"{TRAIN}[0].mask_config"),
    "mask of each affinity with descriptors": (mask("train", 2, 40, 40), WITH_LSDS, f"{TRAIN}[0].mask_config"),
    "mask of channels for instances": (mask("validate", 2, 40, 40), None, f"{VALIDATE}.mask_config"),
    "mask of other classes": (mask("validate", 2, 40, 40), ONE_HOT, f"{VALIDATE}.mask_config"),
    # trainer and data
    "augmentation in 3D": (part("trainer_config", torch_trainer(augments=[ELASTIC_3D])), None, TRAIN),
    "too little truth": (labels("train", uint(2, 2)), None, TRAIN),
    # names
    "dataset called like a path": (named("validate", "a/b"), None, f"{VALIDATE}.name"),
    "dataset called like a folder of checkpoints": (named("validate", "iterations"), None, f"{VALIDATE}.name"),
    "class called like a path": (
        part("task_config", attrs.evolve(ONE_HOT, classes=["background", "a/b", "c"])),
        None,
        "task_config",
    ),
    # start and network
    "no layer in common": (started, None, "start_config"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_refused_before_training(options: DaCapoConfig, tmp_path: Path, name: str) -> None:
    change, task, place = MISFITS[name]
    config = run_config(tmp_path, task)
    if task is DISTANCE:
        for kind in ("train", "validate"):
            labels(kind, uint(2, 40, 40))(config, tmp_path / kind)
    change(config, tmp_path)
    works, why = config.verify()
    assert not works
    assert why.startswith(f"{place}: "), why
    file = tmp_path / "run.yaml"
    file.write_text(dump_yaml(to_plain(config)))
    result = CliRunner().invoke(cli, ["config", "validate", str(file)])
    assert result.exit_code == 1
    assert f"{file}: {place}: " in result.output
    create_config_store().store_run_config(config)
    with pytest.raises(DacapoError) as error:
        train(config.name)
    assert str(error.value).split(" (to fit")[0] in why or place in {"architecture_config", "start_config"}
    assert create_weights_store().latest_iteration(config.name) is None
    assert create_stats_store().retrieve_training_stats(config.name).trained_until() == 0


TASKS: dict[str, tuple[TaskConfig, int]] = {
    "affinities": (AffinitiesTaskConfig("t", neighborhood=[Coordinate(1, 0), Coordinate(0, 1)], biases=[0.5]), 0),
    "one-hot": (ONE_HOT, 0),
    "distance": (DISTANCE, 2),
    "hot distance": (HotDistanceTaskConfig("t", **CLASSES), 2),
    "inner distance": (InnerDistanceTaskConfig("t", **{**CLASSES, "channels": ["a"]}), 0),
}
NETWORKS = {
    "valid": {},
    "same": {"padding": "same", "input_shape": Coordinate(16, 16)},
    "two channels": {"fmaps_in": 2},
}
TRAINERS = {"torch": TorchTrainerConfig, "gunpowder": GunpowderTrainerConfig}
MASKS = {"no mask": None, "mask": (40, 40), "mask with an axis": (1, 40, 40)}


def grid() -> Iterator[tuple[str, str, str, str]]:
    """Yield each task with each network, and with trainers and masks in turn."""
    for row, task in enumerate(TASKS):
        for column, network in enumerate(NETWORKS):
            yield task, network, list(TRAINERS)[(row + column) % 2], list(MASKS)[(row + column) % 3]


@pytest.mark.parametrize("choice", grid(), ids=" - ".join)
def test_what_fits_works_to_the_end(options: DaCapoConfig, tmp_path: Path, choice: tuple[str, str, str, str]) -> None:
    task, channels = TASKS[choice[0]]
    network = unet_config(2, **NETWORKS[choice[1]])
    config = run_config(tmp_path, task, architecture_config=network)
    config.trainer_config = TRAINERS[choice[2]]("t", batch_size=1, learning_rate=1e-3, num_data_fetchers=1)
    truth = np.zeros((40, 40), np.uint32)
    truth[5:20, 5:35], truth[24:36, 5:35] = 1, 2
    values = np.stack([truth == 1, truth == 2]).astype(np.uint8) if channels else truth
    for kind in ("train", "validate"):
        folder = tmp_path / kind
        labels(kind, values)(config, folder)
        raw(kind, *([network.fmaps_in] if network.fmaps_in > 1 else []), 40, 40)(config, folder)
        if MASKS[choice[3]] is not None:
            mask(kind, *MASKS[choice[3]])(config, folder)
    works, why = config.verify()
    assert works, why
    create_config_store().store_run_config(config)
    assert np.isfinite(train(config.name).training_stats.to_xarray()).all()
    volume = LocalArrayIdentifier(tmp_path / "validate" / "new.zarr", "raw")
    (parameters, *_) = task.task_type(task).parameters
    done = apply(
        config.name,
        volume.container,
        volume.dataset,
        tmp_path / "out.zarr",
        iteration=1,
        parameters=parameters,
        num_workers=1,
    )
    assert ZarrArray.open_from_array_identifier(done.output, mode="r").roi.shape == (160, 160)
