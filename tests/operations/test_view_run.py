"""A run in a real neuroglancer viewer, while it is validated."""

from __future__ import annotations

import logging
from pathlib import Path

import attrs
import numpy as np
import pytest
from funlib.geometry import Coordinate

pytest.importorskip("neuroglancer")

from dacapo.errors import ArrayNotFoundError, ConfigError, NotFoundError
from dacapo.experiments.run import Run
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_array_store, create_stats_store
from dacapo.utils import view
from dacapo.utils.view import Best, BestScore, NeuroglancerRunViewer
from dacapo.validate import validate_run
from tests.helpers.processes import wait_until
from tests.helpers.runs import stored_run
from tests.helpers.viewers import fetch, layers_of
from tests.helpers.volumes import stored_values, write_array

SHAPE = (40, 40)


@pytest.fixture
def run(options: DaCapoConfig, tmp_path: Path) -> Run:
    return stored_run(tmp_path)


def best_identifier(run: Run) -> LocalArrayIdentifier:
    return create_array_store().best_validation_array(run.name, "voi", "validate")


def pretend(run: Run, iteration: int, score: float, values: np.ndarray | None) -> None:
    """Store what a validation leaves: all scores, and the segmentation if it is the best."""
    if values is not None:
        best = best_identifier(run)
        if (best.container / best.dataset).exists():
            create_array_store().remove(best)
        write_array(best.container, best.dataset, values, Coordinate(4, 4), Coordinate(40, 40))
    rows = [[[score] * len(run.validation_scores.criteria)] * len(run.validation_scores.parameters)]
    record = ValidationIterationScores(iteration, rows, datasets=["validate"])
    run.validation_scores.add_iteration_scores(record)
    create_stats_store().store_validation_iteration_scores(run.name, run.validation_scores)


def segments(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 9, SHAPE).astype(np.uint64)


def test_what_there_is_without_a_validation(run: Run) -> None:
    shown = NeuroglancerRunViewer(run).start_neuroglancer()
    assert layers_of(shown) == ["validate/raw", "validate/gt"]
    dataset = run.datasplit.validate[0]
    np.testing.assert_allclose(fetch(shown, "validate/raw", SHAPE), dataset.raw[dataset.raw.roi], rtol=1e-6)
    np.testing.assert_array_equal(fetch(shown, "validate/gt", SHAPE), dataset.gt[dataset.gt.roi])


def test_a_validation_appears(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "CHECK_INTERVAL", 0.01)
    viewer = NeuroglancerRunViewer(run)
    shown = viewer.start()
    try:
        assert layers_of(shown) == ["validate/raw", "validate/gt"]
        # Another object, as if another process validated.
        other = Run(run.config, load_starter_model=False)
        validate_run(other, 1)
        wait_until(lambda: "validate/best" in layers_of(shown))
    finally:
        viewer.stop()
    stored = stored_values(best_identifier(run)).reshape(SHAPE)
    np.testing.assert_array_equal(fetch(shown, "validate/best", SHAPE), stored)
    assert shown.state.layers["validate/best"].layer.type == "segmentation"
    assert "iteration 1" in shown.config_state.state.status_messages["validate"]


def test_a_better_validation_takes_the_place_of_the_best(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "CHECK_INTERVAL", 0.01)
    pretend(run, 1, 2.0, segments(1))
    viewer = NeuroglancerRunViewer(run)
    shown = viewer.start()
    try:
        np.testing.assert_array_equal(fetch(shown, "validate/best", SHAPE), segments(1))
        before = shown.state.layers["validate/best"].source[0].url
        pretend(run, 2, 1.0, segments(2))
        wait_until(lambda: shown.state.layers["validate/best"].source[0].url != before)
        np.testing.assert_array_equal(fetch(shown, "validate/best", SHAPE), segments(2))
    finally:
        viewer.stop()
    assert not viewer.update_with_new_validation_if_possible()
    pretend(run, 3, 1.5, None)
    assert not viewer.update_with_new_validation_if_possible()
    assert viewer.best_score.best == {"validate": Best(2, 1.0)}
    assert layers_of(shown) == ["validate/raw", "validate/gt", "validate/best"]


def test_scores_that_are_deleted_disappear(run: Run) -> None:
    pretend(run, 1, 2.0, segments(1))
    viewer = NeuroglancerRunViewer(run)
    shown = viewer.start_neuroglancer()
    create_stats_store().delete_validation_scores(run.name)
    assert viewer.update_with_new_validation_if_possible()
    assert layers_of(shown) == ["validate/raw", "validate/gt"]


def test_the_thread_ends(run: Run) -> None:
    viewer = NeuroglancerRunViewer(run)
    viewer.start()
    first = viewer._thread
    viewer.start()
    assert first is not None
    assert not first.is_alive()
    second = viewer._thread
    viewer.stop()
    viewer.stop()
    assert second is not None
    assert not second.is_alive()


def test_a_segmentation_that_is_missing_is_looked_for_again(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    viewer = NeuroglancerRunViewer(run)
    shown = viewer.start_neuroglancer()
    pretend(run, 1, 2.0, None)
    with caplog.at_level(logging.WARNING):
        assert not viewer.update_with_new_validation_if_possible()
    assert "cannot be shown yet" in caplog.text
    best = best_identifier(run)
    write_array(best.container, best.dataset, segments(1), Coordinate(4, 4), Coordinate(40, 40))
    assert viewer.update_with_new_validation_if_possible()
    np.testing.assert_array_equal(fetch(shown, "validate/best", SHAPE), segments(1))


def test_in_a_notebook_and_by_the_old_name(run: Run) -> None:
    viewer = NeuroglancerRunViewer(run, embedded=True)
    with pytest.warns(DeprecationWarning, match="start_neuroglancer"):
        frame = viewer.deprecated_start_neuroglancer()
    assert frame.viewer is viewer.viewer
    assert layers_of(frame.viewer) == ["validate/raw", "validate/gt"]


def test_stored_arrays_are_opened(run: Run) -> None:
    viewer = NeuroglancerRunViewer(run)
    assert viewer.open_from_array_identitifier(best_identifier(run)) is None
    pretend(run, 1, 2.0, segments(1))
    opened = viewer.open_from_array_identitifier(best_identifier(run))
    assert opened is not None
    np.testing.assert_array_equal(opened[opened.roi], segments(1))
    assert list(viewer.get_datasets()) == ["validate/raw", "validate/gt"]


def test_layers_need_a_viewer(run: Run) -> None:
    viewer = NeuroglancerRunViewer(run)
    with pytest.raises(ConfigError, match=r"start\(\) first"):
        viewer.updated_neuroglancer_layer("raw", viewer.get_datasets()["validate/raw"])


class TestBestScore:
    def test_new_bests_are_noticed_once(self, run: Run) -> None:
        best = BestScore(run)
        assert best.criterion == "voi"
        assert not best.does_new_best_exist()
        pretend(run, 1, 2.0, segments(1))
        assert best.does_new_best_exist()
        assert not best.does_new_best_exist()
        pretend(run, 3, float("nan"), None)
        pretend(run, 4, 2.0, None)
        assert not best.does_new_best_exist()
        assert best.best == {"validate": Best(1, 2.0)}

    def test_the_best_segmentation_is_opened(self, run: Run) -> None:
        best, dataset = BestScore(run), run.datasplit.validate[0]
        with pytest.raises(NotFoundError, match="none is known yet"):
            best.get_ds(1, dataset)
        pretend(run, 1, 2.0, segments(1))
        best.does_new_best_exist()
        for name in (dataset, dataset.name):
            array = best.get_ds(1, name)
            np.testing.assert_array_equal(array[array.roi], segments(1))
        with pytest.raises(NotFoundError, match="that is iteration 1"):
            best.get_ds(2, dataset)
        create_array_store().remove(best_identifier(run))
        with pytest.raises(ArrayNotFoundError):
            best.get_ds(1, dataset)

    def test_the_criterion_is_one_that_is_kept(self, run: Run) -> None:
        assert BestScore(run, "voi_split").criterion == "voi_split"
        with pytest.raises(ConfigError, match=r"'dice' is not kept, only by .*voi"):
            BestScore(run, "dice")

    def test_it_is_that_which_validation_keeps(self, run: Run) -> None:
        for iteration in (1, 2, 3):
            for parameter in run.model.parameters():
                parameter.data += 0.05 * iteration
            validate_run(run, iteration)
        best = BestScore(run)
        best.does_new_best_exist()
        chosen = run.task.evaluator.get_overall_best(run.datasplit.validate[0], "voi")
        assert best.best["validate"].score == chosen

    def test_scores_of_other_datasets_are_refused(self, run: Run) -> None:
        pretend(run, 1, 2.0, segments(1))
        (config,) = run.config.datasplit_config.validate_configs
        renamed = attrs.evolve(config, name="other")
        split = attrs.evolve(run.config.datasplit_config, validate_configs=[renamed])
        other = Run(attrs.evolve(run.config, datasplit_config=split), load_starter_model=False)
        with pytest.raises(AssertionError, match="other"):
            BestScore(other).does_new_best_exist()
