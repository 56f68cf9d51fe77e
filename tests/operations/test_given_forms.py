"""Operations take a run or its name, and regions and parameters as objects or as text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from funlib.geometry import Roi

from dacapo.apply import apply
from dacapo.errors import RoiError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.run import Run
from dacapo.experiments.tasks.post_processors import WatershedPostProcessorParameters
from dacapo.options import DaCapoConfig
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.validate import validate
from tests.helpers.runs import stored_run
from tests.helpers.volumes import new_volume, stored_values

TEXT = "[60:140,80:120]"
REGION = Roi((60, 80), (80, 40))


@pytest.fixture
def run(options: DaCapoConfig, tmp_path: Path) -> Run:
    """A run whose checkpoint of iteration 1 differs from what its model holds now."""
    run = stored_run(tmp_path)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.zero_()
    return run


def same_weights(run: Run) -> bool:
    stored = create_weights_store().retrieve_weights(run, 1).model
    return all(torch.equal(value, stored[name]) for name, value in run.model.state_dict().items())


def test_predict(run: Run, tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    outputs = []
    for given, region in ((run.name, REGION), (run, TEXT)):
        output = predict(given, 1, volume.container, volume.dataset, tmp_path / f"{len(outputs)}.zarr", region)
        assert output.dataset == "prediction_affinities_1"
        array = ZarrArray.open_from_array_identifier(output)
        assert array.roi == REGION
        outputs.append(array[REGION])
    assert outputs[0].any()
    np.testing.assert_array_equal(*outputs)
    assert same_weights(run)


def test_workers_predict_with_a_run_that_is_not_in_the_store(run: Run, tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    expected = predict(run.name, 1, volume.container, volume.dataset, tmp_path / "here.zarr", TEXT)
    create_config_store().delete_run_config(run.name)
    got = predict(run, 1, volume.container, volume.dataset, tmp_path / "workers.zarr", TEXT, num_workers=2)
    np.testing.assert_array_equal(stored_values(got), stored_values(expected))
    assert same_weights(run)


def test_a_text_that_is_no_region(run: Run, tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    with pytest.raises(RoiError, match="begin:end per axis"):
        predict(run, 1, volume.container, volume.dataset, tmp_path / "out.zarr", "60-140")
    with pytest.raises(RoiError, match="begin:end per axis"):
        apply(run, volume.container, volume.dataset, tmp_path / "out.zarr", roi="60-140", iteration=1)
    assert not (tmp_path / "out.zarr").exists()


def test_validate(run: Run) -> None:
    scores = validate(run, 1)
    assert run.validation_scores.scores == [scores]
    assert same_weights(run)
    assert validate(run, 1) == validate(run.name, 1)  # scores that a run has already are replaced
    assert run.validation_scores.scores == create_stats_store().retrieve_validation_iteration_scores(run.name)


def test_apply_with_parameters_that_were_not_tried(run: Run, tmp_path: Path) -> None:
    validate(run, 1)
    volume = new_volume(tmp_path)
    text = "WatershedPostProcessorParameters(id=9, bias=0.6, context=(32, 32, 32))"
    applied = apply(run, volume.container, volume.dataset, tmp_path / "out.zarr", parameters=text, roi=TEXT)
    assert applied.selection.parameters == WatershedPostProcessorParameters(id=9, bias=0.6)
    assert applied.selection.iteration == 1  # the best of those that were tried
    assert applied.selection.reason.startswith(f"{text}, as given; iteration 1 with")
    assert re.fullmatch("labels/affinities_1_[0-9a-f]{8}/s0", applied.output.dataset)
    assert ZarrArray.open_from_array_identifier(applied.output).roi == REGION
    long_name = LocalArrayIdentifier(applied.output.container, f"output_affinities_1_{text}")
    assert ZarrArray.open_from_array_identifier(long_name).attrs["dacapo"]["parameters"] == text
