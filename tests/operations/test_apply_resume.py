"""Applying a run again does only what is missing, or all of it when it was finished."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dacapo.apply import apply_run
from dacapo.blockwise.journal import Journal, journal_folder
from dacapo.errors import OutputExistsError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.run import Run
from dacapo.experiments.tasks import DistanceTaskConfig
from dacapo.experiments.tasks.post_processors import (
    ThresholdPostProcessorParameters,
    WatershedPostProcessor,
    WatershedPostProcessorParameters,
    watershed_post_processor,
)
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_weights_store
from tests.helpers.runs import stored_run
from tests.helpers.volumes import new_volume, stored_values

PARAMETERS = ThresholdPostProcessorParameters(0, 100)


@pytest.fixture
def run(options: DaCapoConfig, tmp_path: Path) -> Run:
    task = DistanceTaskConfig("distances", channels=["a"], clip_distance=50, tol_distance=50)
    return stored_run(tmp_path, task)


def test_what_is_done_again(run: Run, tmp_path: Path) -> None:
    source = new_volume(tmp_path)
    arrays = [LocalArrayIdentifier(tmp_path / "out.zarr", name) for name in ("prediction", "mask")]
    arguments = (run, 1, PARAMETERS, source, *arrays)

    def made() -> list[str]:
        return [json.loads((journal_folder(array) / "parameters.json").read_text())["id"] for array in arrays]

    apply_run(*arguments)
    first = made()
    apply_run(*arguments, overwrite=False)
    assert made() == first

    (journal_folder(arrays[1]) / "complete").unlink()  # as if it had been interrupted
    apply_run(*arguments)
    assert made() == first

    apply_run(*arguments)
    second = made()
    assert all(now != before for now, before in zip(second, first, strict=True))

    other = ThresholdPostProcessorParameters(0, 150)
    with pytest.raises(OutputExistsError, match="threshold was"):
        apply_run(run, 1, other, source, *arrays, overwrite=False)
    with pytest.raises(OutputExistsError, match=r"dtype was .uint8., is .float32."):
        apply_run(*arguments, output_dtype=np.float32, overwrite=False)
    assert made() == second

    # Weights under the same name are not the same weights.
    next(iter(run.model.parameters())).data.mul_(2)
    create_weights_store().store_weights(run, 1)
    with pytest.raises(OutputExistsError, match="weights was"):
        apply_run(*arguments, overwrite=False)
    apply_run(*arguments)
    assert made()[0] != second[0]
    np.testing.assert_array_equal(stored_values(arrays[1]), stored_values(arrays[0]) > 100)


def test_a_volume_that_is_segmented_as_a_whole(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, source = stored_run(tmp_path), new_volume(tmp_path)
    arrays = [LocalArrayIdentifier(tmp_path / "out.zarr", name) for name in ("prediction", "labels")]
    segmented: list[float] = []
    segment = watershed_post_processor.mutex_watersheds

    def noted(affinities: Any, offsets: Any, parameters: Any, *more: Any) -> Any:
        segmented.extend(one.bias for one in parameters)
        return segment(affinities, offsets, parameters, *more)

    monkeypatch.setattr(watershed_post_processor, "mutex_watersheds", noted)

    def apply(bias: float = 0.5, overwrite: bool = False, resume: bool = True) -> np.ndarray:
        parameters = WatershedPostProcessorParameters(id=0, bias=bias)
        apply_run(run, 1, parameters, source, *arrays, overwrite=overwrite, resume=resume)
        return stored_values(arrays[1])

    def interrupted(at: str, **how: Any) -> None:
        """Fail at a step, as if the process had been killed there."""
        cls = WatershedPostProcessor if at == "create_labels" else ZarrArray
        original = getattr(cls, at)

        def dies(self: Any, *arguments: Any) -> Any:
            if at == "create_labels":
                original(self, *arguments)
            elif self.dtype != np.uint64:
                return original(self, *arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(cls, at, dies)
            patch.setattr(Journal, "forget", lambda journal: None)
            with pytest.raises(KeyboardInterrupt):
                apply(**how)

    for at in ("create_labels", "__setitem__"):
        interrupted(at)
        with pytest.raises(OutputExistsError) if at == "__setitem__" else nullcontext():
            apply(bias=0.2)
        labels = apply(overwrite=at == "create_labels", resume=at != "create_labels")
        assert segmented[-1] == 0.5
        segmented.clear()
        np.testing.assert_array_equal(apply(), labels)
        assert not segmented, "it was finished"
        with pytest.raises(OutputExistsError, match=r"bias was 0.5, is 0.2"):
            apply(bias=0.2)
        interrupted(at, overwrite=True, resume=False)
        np.testing.assert_array_equal(apply(overwrite=True, resume=False), labels)
        shutil.rmtree(tmp_path / "out.zarr")
