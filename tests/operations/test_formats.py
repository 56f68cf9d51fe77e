"""Every format trains, predicts and is segmented with the same result as Zarr."""

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
from dacapo.options import DaCapoConfig
from dacapo.predict import predict
from dacapo.train import train_run
from tests.helpers.formats import FORMATS, Writer
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


def trained(name: str, folder: Path) -> tuple[Run, list[float]]:
    from dacapo.store.create_store import create_config_store

    with warnings.catch_warnings():
        warnings.simplefilter("error", MetadataWarning)
        config = run_config(name, FORMATS[name], folder)
        create_config_store().store_run_config(config)
        run = Run(config)
        train_run(run)
    return run, [stats.loss for stats in run.training_stats.iteration_stats]


@pytest.fixture(scope="module")
def as_zarr() -> dict[str, Any]:
    """Results on the data as Zarr, made by the first test."""
    return {}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_trains_validates_predicts_and_is_segmented(
    options: DaCapoConfig, tmp_path: Path, as_zarr: dict[str, Any], name: str
) -> None:
    run, losses = trained(name, tmp_path)
    new = written(FORMATS[name], tmp_path / "new", 2)["raw"]
    # By path and dataset where the file says all itself, as the command line does.
    says_all = name in ("zarr2", "hdf5", "precomputed")
    source = (identifier_of(new).container, identifier_of(new).dataset) if says_all else (new, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MetadataWarning)
        predicted = predict(run, 2, *source, tmp_path / "out.zarr", output_dtype="float32", num_workers=1)
        applied = apply(run, *source, tmp_path / "applied.zarr", iteration=2, num_workers=1)
    prediction, labels = open_identifier(predicted), open_identifier(applied.output)
    result = {
        "losses": losses,
        "scores": run.validation_scores.to_xarray().values,
        "roi": (prediction.roi, prediction.voxel_size, labels.roi, labels.voxel_size),
        "prediction": prediction[prediction.roi],
        "labels": labels[labels.roi],
    }
    expected = as_zarr.setdefault("result", result) if name == "zarr2" else as_zarr["result"]
    assert result["roi"] == expected["roi"]
    assert losses == pytest.approx(expected["losses"])
    np.testing.assert_array_equal(result["scores"], expected["scores"])
    np.testing.assert_allclose(result["prediction"], expected["prediction"], atol=1e-5)
    np.testing.assert_array_equal(result["labels"], expected["labels"])
