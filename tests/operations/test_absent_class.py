"""A class, or all objects, that one of two validation datasets does not have."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
from funlib.geometry import Coordinate

from dacapo.apply import apply
from dacapo.errors import NotFoundError
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.selection import select
from dacapo.experiments.tasks import (
    AffinitiesTaskConfig,
    DistanceTaskConfig,
    HotDistanceTaskConfig,
    OneHotTaskConfig,
    TaskConfig,
)
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.train import train
from tests.helpers.runs import affinities_run_config, dataset_config, unet_config
from tests.helpers.volumes import new_volume, stored_values, write_array

DISTANCES = {"clip_distance": 40.0, "tol_distance": 8.0}
CLASSES = {"channels": ["a", "b"], **DISTANCES, "scale_factor": 20.0}
TASKS: dict[str, TaskConfig] = {
    "one-hot": OneHotTaskConfig("task", classes=["background", "a", "b"], **DISTANCES),  # type: ignore[arg-type]
    "distance": DistanceTaskConfig("task", **CLASSES),  # type: ignore[arg-type]
    "hot distance": HotDistanceTaskConfig("task", **CLASSES),  # type: ignore[arg-type]
    "affinities": AffinitiesTaskConfig("task", neighborhood=[Coordinate(1, 0), Coordinate(0, 1)]),
}


def truth(labels: np.ndarray, task: TaskConfig) -> np.ndarray:
    """Return labels of 0, 1 and 2 as the ground truth of a task; what is absent leaves its place to the background."""
    if isinstance(task, OneHotTaskConfig | AffinitiesTaskConfig):
        return labels.astype(np.uint32)
    return np.stack([labels == 1, labels == 2]).astype(np.uint8)


def run_config(folder: Path, task: TaskConfig, absent: tuple[int, ...]) -> RunConfig:
    """Return a run that is validated on two datasets; the second has none of some labels."""
    trainer = TorchTrainerConfig("trainer", batch_size=1, learning_rate=1e-2, num_data_fetchers=1, warmup_iterations=0)
    config = affinities_run_config(
        folder,
        dims=2,
        num_iterations=4,
        validation_interval=2,
        task_config=task,
        trainer_config=trainer,
        architecture_config=unet_config(2),
    )
    labels = np.zeros((40, 40), int)
    labels[4:18, 4:36], labels[22:36, 4:36] = 1, 2
    without = np.where(np.isin(labels, absent), 0, labels)
    for name, values in (("t", labels), ("v0", labels), ("v1", without)):
        write_array(folder / f"{name}.zarr", "raw", (values * 100).astype(np.uint8), Coordinate(4, 4), Coordinate(0, 0))
        write_array(folder / f"{name}.zarr", "labels", truth(values, task), Coordinate(4, 4), Coordinate(0, 0))
    config.datasplit_config.train_configs = [dataset_config(folder / "t.zarr", "train")]
    config.datasplit_config.validate_configs = [dataset_config(folder / f"{name}.zarr", name) for name in ("v0", "v1")]
    return config


@pytest.mark.parametrize("absent", [(2,), (1, 2)], ids=["one", "all"])
@pytest.mark.parametrize("task", TASKS)
def test_training_validation_and_the_default_criterion_work(
    options: DaCapoConfig, tmp_path: Path, task: str, absent: tuple[int, ...]
) -> None:
    config = run_config(tmp_path, TASKS[task], absent)
    create_config_store().store_run_config(config)
    run = train(config.name)
    volume = new_volume(tmp_path)
    applied = apply(config.name, volume.container, volume.dataset, tmp_path / "out.zarr", num_workers=1)
    assert stored_values(applied.output).shape[-2:] == (41, 44)
    assert applied.selection == select(run)
    left_out = [f"{name}__voi on v1" for label, name in ((1, "a"), (2, "b")) if label in absent]
    if task == "affinities":
        left_out = []  # without objects, the background is one that segments can split
    assert all(name in applied.selection.reason for name in left_out)
    for name in left_out:
        with pytest.raises(NotFoundError, match="truth does not contain it"):
            select(run, name.partition(" ")[0], validation_dataset="v1")


def test_the_best_that_is_kept_is_the_earliest_of_equal_ones(options: DaCapoConfig, tmp_path: Path) -> None:
    config = run_config(tmp_path, TASKS["affinities"], ())
    trainer = attrs.evolve(config.trainer_config, learning_rate=1e-30)  # nothing changes
    config.trainer_config = trainer
    create_config_store().store_run_config(config)
    train(config.name)
    first, second = create_stats_store().retrieve_validation_iteration_scores(config.name)
    assert first.scores == second.scores
    for dataset in ("v0", "v1"):
        assert create_weights_store().retrieve_best(config.name, dataset, "voi") == 2
