"""Volumes and runs whose use of memory is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.run import Run
from dacapo.experiments.trainers import GunpowderTrainerConfig
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.runs import affinities_run_config, unet_config

VOXEL = Coordinate(8, 4, 4)


def large(folder: Path, shape: tuple[int, int, int] = (500, 700, 600)) -> ZarrArray:
    """Return an array of zeros, of which nothing is on disk."""
    if (folder / "large.zarr").exists():
        return ZarrArray.open_from_array_identifier(LocalArrayIdentifier(folder / "large.zarr", "raw"), mode="r")
    return ZarrArray.create_from_array_identifier(
        LocalArrayIdentifier(folder / "large.zarr", "raw"),
        ["z", "y", "x"],
        Roi((0, 0, 0), Coordinate(shape) * VOXEL),
        None,
        VOXEL,
        np.uint8,
    )


def training_run(folder: Path, batch_size: int = 6, accumulate: int = 1) -> Run:
    """Return a run whose network takes much more memory in training than anything beside it."""
    trainer = GunpowderTrainerConfig(
        name="trainer", batch_size=batch_size, learning_rate=1e-3, num_data_fetchers=1, accumulate=accumulate
    )
    architecture = unet_config(3, num_fmaps=16)
    return Run(affinities_run_config(folder, dims=3, architecture_config=architecture, trainer_config=trainer))
