"""Runs on the same data in different formats and places, and their results."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from dacapo.apply import apply
from dacapo.errors import MetadataWarning
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig, IntensitiesArrayConfig, open_identifier
from dacapo.experiments.datasplits.datasets.arrays.opener import identifier_of
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.predict import predict
from dacapo.store.create_store import create_config_store
from dacapo.train import train_run
from tests.helpers.formats import Writer
from tests.helpers.runs import affinities_run_config, unet_config
from tests.helpers.volumes import cells

SHAPE = (24, 32, 36)


def written(write: Writer, folder: Path, seed: int) -> dict[str, ArrayConfig]:
    raw, labels = cells(SHAPE, seed)
    mask = np.ones(SHAPE, dtype=np.uint8)
    return {name: write(folder, name, values) for name, values in (("raw", raw), ("labels", labels), ("mask", mask))}


def scaled(config: ArrayConfig) -> ArrayConfig:
    return IntensitiesArrayConfig("scaled", config, 0.0, 255.0)


def run_config(name: str, write: Writer, folder: Path) -> RunConfig:
    """Return the config of a run on raw data, labels and masks of a format."""

    def dataset(part: str, seed: int) -> RawGTDatasetConfig:
        arrays = written(write, folder / part, seed)
        return RawGTDatasetConfig(
            part, raw_config=scaled(arrays["raw"]), gt_config=arrays["labels"], mask_config=arrays["mask"]
        )

    split = TrainValidateDataSplitConfig(
        "split", train_configs=[dataset("train", 0)], validate_configs=[dataset("validate", 1)]
    )
    base = affinities_run_config(
        folder / "base",
        name,
        num_iterations=2,
        validation_interval=2,
        architecture_config=unet_config(3, input_shape=(20, 20, 20)),
        # Two processes make batches, which are forked where the format allows.
        trainer_config=TorchTrainerConfig("trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=2, seed=3),
    )
    return attrs.evolve(base, datasplit_config=split)


def trained(name: str, write: Writer, folder: Path) -> tuple[Run, list[float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", MetadataWarning)
        config = run_config(name, write, folder)
        create_config_store().store_run_config(config)
        run = Run(config)
        train_run(run)
    return run, [stats.loss for stats in run.training_stats.iteration_stats]


def results(name: str, write: Writer, folder: Path, by_path: bool) -> dict[str, Any]:
    """Train, validate, predict and segment.

    Args:
        name: Name of the run.
        write: Writes a volume.
        folder: Where to work.
        by_path: Whether the new volume is given as path and dataset, as on the command line, or as a config.
    """
    run, losses = trained(name, write, folder)
    new = written(write, folder / "new", 2)["raw"]
    source = (identifier_of(new).container, identifier_of(new).dataset) if by_path else (new, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MetadataWarning)
        predicted = predict(run, 2, *source, folder / "out.zarr", output_dtype="float32", num_workers=1)
        applied = apply(run, *source, folder / "applied.zarr", iteration=2, num_workers=1)
    prediction, labels = open_identifier(predicted), open_identifier(applied.output)
    return {
        "losses": losses,
        "scores": run.validation_scores.to_xarray().values,
        "place": (prediction.roi, prediction.voxel_size, labels.roi, labels.voxel_size),
        "prediction": prediction[prediction.roi],
        "labels": labels[labels.roi],
    }


def assert_same(result: dict[str, Any], expected: dict[str, Any]) -> None:
    """Check that the results of two runs are the same."""
    assert result["place"] == expected["place"]
    assert result["losses"] == pytest.approx(expected["losses"])
    np.testing.assert_array_equal(result["scores"], expected["scores"])
    np.testing.assert_allclose(result["prediction"], expected["prediction"], atol=1e-5)
    np.testing.assert_array_equal(result["labels"], expected["labels"])
