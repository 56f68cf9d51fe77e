"""Voxels of 5.24 nm are trained on, predicted, segmented and scored like those of 4 nm, voxel by voxel."""

from __future__ import annotations

import math
import re
from pathlib import Path

import attrs
import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate, Roi

from dacapo.apply import apply
from dacapo.experiments.run import Run
from dacapo.experiments.tasks import DistanceTaskConfig, TaskConfig
from dacapo.experiments.trainers import GunpowderTrainerConfig, TorchTrainerConfig, TrainerConfig
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.train import train_run
from tests.helpers.runs import affinities_run_config, unet_config
from tests.helpers.volumes import cells, write_array

pytestmark = pytest.mark.usefixtures("options")

LONG = 100_000
LENGTH = re.compile("hausdorff|mean_false.*distance")
TASKS: dict[str, TaskConfig | None] = {
    "affinities": None,
    "distances": DistanceTaskConfig("task", ["a"], clip_distance=20, tol_distance=8, scale_factor=20),
}


def in_voxels_of(path: Path, size: float, unit: str = "nm") -> None:
    """Change the attributes of all arrays of a container from voxels of 4 nm to others."""
    for _, array in zarr.open_group(str(path)).arrays():
        offset = [round(begin / 4 * size, 3) for begin in array.attrs["offset"]]
        sizes = {key: [size] * len(offset) for key in ("resolution", "voxel_size")}
        array.attrs.update({**sizes, "offset": offset, "units": [unit] * len(offset)})


def run_with(folder: Path, size: float, task: str = "affinities", trainer: type[TrainerConfig] | None = None) -> Run:
    folder.mkdir(exist_ok=True)
    config = affinities_run_config(folder, f"run_{size}", 2, 2, 2, architecture_config=unet_config(2))
    given = TASKS[task]
    if given is not None:
        # The same number of voxels.
        lengths = {name: getattr(given, name) / 4 * size for name in ("clip_distance", "tol_distance", "scale_factor")}
        config = attrs.evolve(config, task_config=attrs.evolve(given, **lengths))
    if trainer is not None:
        config.trainer_config = trainer(
            name="trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=1, augments=[]
        )
    config.trainer_config.seed = 3
    if size != 4:
        for part in ("train", "validate"):
            in_voxels_of(folder / f"{part}.zarr", size)
    return Run(config)


@pytest.mark.parametrize("trainer", [TorchTrainerConfig, GunpowderTrainerConfig])
@pytest.mark.parametrize("task", list(TASKS))
def test_training_and_validation_see_the_same_voxels(tmp_path: Path, task: str, trainer: type[TrainerConfig]) -> None:
    seen = []
    for size in (4, 5.24):
        run = run_with(tmp_path / str(size), size, task, trainer)
        train_run(run)
        scores = run.validation_scores.scores[-1]
        losses = [stats.loss for stats in run.training_stats.iteration_stats]
        seen.append((losses, np.array(scores.scores), run))
    (losses, scores, _), (other_losses, other_scores, run) = seen
    np.testing.assert_allclose(other_losses, losses, rtol=1e-5)
    # Some scores are lengths.
    lengths = [LENGTH.search(name) is not None for name in run.validation_scores.criteria]
    np.testing.assert_allclose(np.where(lengths, other_scores / 5.24 * 4, other_scores), scores, rtol=1e-4)


@pytest.mark.parametrize(("size", "unit"), [(5.24, "nm"), (4.5, "px"), (2, "um")])
def test_results_lie_where_the_input_does_and_in_its_unit(tmp_path: Path, size: float, unit: str) -> None:
    run = run_with(tmp_path, 4)
    create_config_store().store_run_config(run.config)
    create_weights_store().store_weights(run, 1)
    values, _ = cells((48, 44), seed=5)
    results = []
    for name, voxels, its_unit in (("plain", 4, "nm"), ("other", size, unit)):
        write_array(tmp_path / f"{name}.zarr", "raw", values, Coordinate(4, 4), Coordinate(40, 40))
        in_voxels_of(tmp_path / f"{name}.zarr", voxels, its_unit)
        applied = apply(
            run, tmp_path / f"{name}.zarr", "raw", tmp_path / f"{name}_out.zarr", iteration=1,
            parameters=str(next(iter(run.task.parameters))), num_workers=1,
        )  # fmt: skip
        container = zarr.open_group(str(tmp_path / f"{name}_out.zarr"), mode="r")
        results.append([container[part.dataset] for part in (applied.prediction, applied.output)])
    for plain, other in zip(*results, strict=True):
        np.testing.assert_array_equal(plain[...], other[...])
        assert other.attrs["units"] == [unit] * 2
        assert other.attrs["resolution"] == [size] * 2
        assert other.attrs["offset"] == pytest.approx([10 * size] * 2)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_far_end_of_a_long_axis_is_predicted_in_place(tmp_path: Path, num_workers: int) -> None:
    """Nothing but the end of 10^5 voxels of 5.24 nm is stored."""
    run = run_with(tmp_path, 4)
    create_config_store().store_run_config(run.config)
    create_weights_store().store_weights(run, 1)
    values, _ = cells((60, 44), seed=5)
    short = write_array(tmp_path / "short.zarr", "raw", values, Coordinate(4, 4), Coordinate(0, 0))
    data = zarr.open_group(str(tmp_path / "long.zarr")).create_dataset(
        "raw", shape=(LONG, 44), chunks=(64, 64), dtype="u1"
    )
    data.attrs.put({"axes": ["y", "x"], "resolution": [5.24, 4.5], "offset": [2.62, 0], "units": ["nm"] * 2})
    data[LONG - 60 :] = values
    begin, end = ((LONG - 30 + n) * 5.24 + 2.62 for n in (0, 24))
    made = LocalArrayIdentifier(tmp_path / "out.zarr", "far")
    predict(run.name, 1, tmp_path / "long.zarr", "raw", made, f"[{begin:.2f}nm:{end:.2f}nm,0:198nm]", num_workers)
    expected = LocalArrayIdentifier(tmp_path / "out.zarr", "near")
    predict(run.name, 1, short.container, "raw", expected, Roi((30 * 4, 0), (24 * 4, 44 * 4)), 1)
    out = zarr.open_group(str(tmp_path / "out.zarr"), mode="r")
    np.testing.assert_array_equal(out["far"][...], out["near"][...])
    assert out["far"].attrs["offset"] == [round(begin, 2), 0]
    assert math.prod(out["far"].shape[1:]) == 24 * 44
