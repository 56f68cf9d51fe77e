"""Small runs on real files, for the tests of the operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate

from dacapo.experiments.architectures import ArchitectureConfig, CNNectomeUNetConfig, DummyArchitectureConfig
from dacapo.experiments.datasplits import DummyDataSplitConfig, TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import IntensitiesArrayConfig, ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import AffinitiesTaskConfig, DummyTaskConfig, TaskConfig
from dacapo.experiments.trainers import DummyTrainerConfig, GunpowderTrainerConfig, TrainerConfig
from dacapo.experiments.trainers.gp_augments import IntensityAugmentConfig, SimpleAugmentConfig
from dacapo.store.create_store import create_config_store, create_weights_store
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, cells, write_array


def dummy_run_config(name: str = "dummy", num_iterations: int = 20, validation_interval: int = 10) -> RunConfig:
    return RunConfig(
        task_config=DummyTaskConfig(name="dummy_task", embedding_dims=3, detection_threshold=0.4),
        architecture_config=DummyArchitectureConfig(name="dummy_net", num_in_channels=1, num_out_channels=2),
        trainer_config=DummyTrainerConfig(name="dummy_trainer", batch_size=2, learning_rate=1e-3, mirror_augment=True),
        datasplit_config=DummyDataSplitConfig(name="dummy_split"),
        name=name,
        repetition=0,
        num_iterations=num_iterations,
        validation_interval=validation_interval,
    )


def raw_config(path: Path, dataset: str = "raw", name: str = "raw") -> IntensitiesArrayConfig:
    source = ZarrArrayConfig(name=f"{name}_uint8", file_name=path, dataset=dataset)
    return IntensitiesArrayConfig(name=name, source_array_config=source, min=0.0, max=255.0)


def dataset_config(path: Path, name: str) -> RawGTDatasetConfig:
    return RawGTDatasetConfig(
        name=name,
        raw_config=raw_config(path, name=f"{name}_raw"),
        gt_config=ZarrArrayConfig(name=f"{name}_labels", file_name=path, dataset="labels"),
    )


def unet_config(dims: int = 3, **changes: Any) -> CNNectomeUNetConfig:
    settings: dict[str, Any] = {
        "name": f"unet_{dims}d",
        "input_shape": Coordinate((28,) * dims),
        "fmaps_in": 1,
        "fmaps_out": 4,
        "num_fmaps": 4,
        "fmap_inc_factor": 2,
        "downsample_factors": [Coordinate((2,) * dims)],
    }
    return CNNectomeUNetConfig(**{**settings, **changes})


def stored_run(folder: Path, task_config: TaskConfig | None = None) -> Run:
    """Return a run in two dimensions that is stored with its weights, as iteration 1."""
    config = affinities_run_config(folder, dims=2, task_config=task_config, architecture_config=unet_config(2))
    create_config_store().store_run_config(config)
    run = Run(config)
    create_weights_store().store_weights(run, 1)
    return run


def affinities_run_config(
    folder: Path,
    name: str = "affinities",
    dims: int = 3,
    num_iterations: int = 6,
    validation_interval: int = 3,
    task_config: TaskConfig | None = None,
    architecture_config: ArchitectureConfig | None = None,
    trainer_config: TrainerConfig | None = None,
) -> RunConfig:
    """Return a real, tiny run whose data is written into a folder."""
    voxel_size, offset = VOXEL_SIZE[-dims:], OFFSET[-dims:]
    for seed, part in enumerate(("train", "validate")):
        path = folder / f"{part}.zarr"
        if not path.exists():
            raw, labels = cells((40,) * dims, seed)
            write_array(path, "raw", raw, Coordinate(voxel_size), Coordinate(offset))
            write_array(path, "labels", labels, Coordinate(voxel_size), Coordinate(offset))
    neighborhood = [Coordinate(row) for row in np.eye(dims, dtype=int).tolist()]
    return RunConfig(
        task_config=task_config or AffinitiesTaskConfig(name="affinities", neighborhood=neighborhood),
        architecture_config=architecture_config or unet_config(dims),
        trainer_config=trainer_config
        or GunpowderTrainerConfig(
            name="trainer",
            batch_size=1,
            learning_rate=1e-3,
            num_data_fetchers=1,
            augments=[SimpleAugmentConfig(), IntensityAugmentConfig(scale=(0.8, 1.2), shift=(-0.1, 0.1))],
        ),
        datasplit_config=TrainValidateDataSplitConfig(
            name="split",
            train_configs=[dataset_config(folder / "train.zarr", "train")],
            validate_configs=[dataset_config(folder / "validate.zarr", "validate")],
        ),
        name=name,
        repetition=0,
        num_iterations=num_iterations,
        validation_interval=validation_interval,
    )


def unet_run(folder: Path, dims: int, **architecture: Any) -> Run:
    """Return a run of a U-Net that is ready to predict, and stored nowhere."""
    run = Run(affinities_run_config(folder, dims=dims, architecture_config=unet_config(dims, **architecture)))
    run.model.eval()
    return run
