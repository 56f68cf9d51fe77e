"""Small runs on real files, for the tests of the operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.architectures import ArchitectureConfig, CNNectomeUNetConfig, DummyArchitectureConfig
from dacapo.experiments.datasplits import DummyDataSplitConfig, TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import IntensitiesArrayConfig, ZarrArray, ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import AffinitiesTaskConfig, DummyTaskConfig, TaskConfig
from dacapo.experiments.trainers import (
    DummyTrainerConfig,
    GunpowderTrainerConfig,
    TrainerConfig,
)
from dacapo.experiments.trainers.gp_augments import IntensityAugmentConfig, SimpleAugmentConfig
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store

VOXEL_SIZE = Coordinate(8, 4, 4)
OFFSET = Coordinate(80, 40, 40)


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


def write_array(
    path: Path, dataset: str, values: np.ndarray, voxel_size: Coordinate = VOXEL_SIZE, offset: Coordinate = OFFSET
) -> LocalArrayIdentifier:
    """Write values as a Zarr dataset; a leading axis beyond those of the voxel size is the channel axis."""
    identifier = LocalArrayIdentifier(path, dataset)
    channels = values.shape[0] if values.ndim > voxel_size.dims else None
    axes = ["c", "z", "y", "x"][-values.ndim :] if channels is None else ["c", *["z", "y", "x"][-voxel_size.dims :]]
    shape = Coordinate(values.shape[-voxel_size.dims :])
    array = ZarrArray.create_from_array_identifier(
        identifier, axes, Roi(offset, shape * voxel_size), channels, voxel_size, values.dtype
    )
    array[array.roi] = values
    return identifier


def cells(shape: tuple[int, ...], seed: int = 0, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return raw data (uint8, dark borders) and labels (uint32) of random blocky cells."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, dtype=np.uint32)
    points = np.stack([rng.integers(0, s, max(4, int(np.prod(shape) / size ** len(shape)))) for s in shape], axis=1)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    nearest = np.full(shape, np.inf)
    for label, point in enumerate(points, start=1):
        distance = ((grid - point) ** 2).sum(axis=-1)
        labels[distance < nearest] = label
        nearest = np.minimum(nearest, distance)
    border = np.zeros(shape, dtype=bool)
    for axis in range(len(shape)):
        border |= np.roll(labels, 1, axis) != labels
    raw = np.where(border, 60, 190) + rng.normal(0, 12, shape)
    return raw.clip(0, 255).astype(np.uint8), labels


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


def new_volume(folder: Path) -> LocalArrayIdentifier:
    """Write raw data that no run in two dimensions was trained on."""
    raw, _ = cells((41, 44), seed=7)
    return write_array(folder / "new.zarr", "raw", raw, Coordinate(4, 4), Coordinate(40, 40))


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
