"""The record of validations, and how evaluators find the best of it."""

from __future__ import annotations

import math

import attrs
import numpy as np
import pytest
import xarray as xr

from dacapo.experiments.tasks.evaluators import BinarySegmentationEvaluator, DummyEvaluator, InstanceEvaluator
from dacapo.experiments.tasks.post_processors import (
    DummyPostProcessorParameters,
    ThresholdPostProcessor,
    WatershedPostProcessor,
)
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.experiments.validation_scores import ValidationScores
from tests.helpers.golden_data import item_arrays, items

CASES = ["validation_binary", "validation_instance"]


@attrs.frozen
class NamedDataset:
    """All that a record of scores needs of a dataset."""

    name: str

    def __str__(self) -> str:
        return f"Dataset({self.name})"


DATASETS = [NamedDataset("first"), NamedDataset("second")]


def make(case):
    if case == "validation_binary":
        evaluator = BinarySegmentationEvaluator(40, 10, ["a"])
        parameters = list(ThresholdPostProcessor().enumerate_parameters())
    else:
        evaluator = InstanceEvaluator()
        parameters = list(WatershedPostProcessor([(1, 0, 0)]).enumerate_parameters())[:3]
    record = ValidationScores(parameters, DATASETS, evaluator.score)
    entries = [
        ValidationIterationScores(iteration, values.tolist())
        for iteration, values in zip(
            items("stats")[case]["iterations"], item_arrays("stats", case)["scores"], strict=True
        )
    ]
    return evaluator, record, entries


@pytest.fixture(params=CASES)
def case(request):
    evaluator, record, entries = make(request.param)
    for entry in entries:
        record.add_iteration_scores(entry)
    return items("stats")[request.param], item_arrays("stats", request.param), evaluator, record, entries


def number(value):
    return math.nan if value is None else float(value)


def test_names(case):
    about, _, _, record, _ = case
    assert record.criteria == about["criteria"]
    assert [str(p) for p in record.parameters] == about["parameters"]
    # The original listed the id alone.
    assert record.parameter_names[0] == "id"
    assert record.parameter_names[1] in ("threshold", "bias")


def test_empty_record_is_valid(case):
    about, _, evaluator, filled, _ = case
    record = attrs.evolve(filled, scores=[])
    assert record.validated_until() == about["validated_until_empty"] == 0
    assert list(record.to_xarray().dims) == about["empty_to_xarray"]["dims"]
    assert list(record.to_xarray().shape) == about["empty_to_xarray"]["shape"]
    assert record.criteria == filled.criteria
    best, score = record.get_best(record.to_xarray(), "iterations")
    assert np.isnan(best).all()
    assert np.isnan(score).all()
    evaluator.set_best(record)
    assert set(evaluator.best_scores.values()) == {None}


def test_to_xarray(case):
    about, arrays, _, record, _ = case
    data = record.to_xarray()
    assert list(data.dims) == about["to_xarray"]["dims"]
    np.testing.assert_allclose(data.values, arrays["xarray"], rtol=1e-12)
    coords = about["to_xarray"]["coords"]
    assert data.coords["iterations"].values.tolist() == coords["iterations"]
    assert data.coords["criteria"].values.tolist() == coords["criteria"]
    for name in ("datasets", "parameters"):
        assert [str(v) for v in data.coords[name].values] == coords[name]


def test_get_best_uses_the_direction_of_each_criterion(case):
    about, arrays, _, record, _ = case
    labels, scores = record.get_best(record.to_xarray(), "iterations")
    assert list(labels.dims) == list(scores.dims) == about["best_dims"]
    np.testing.assert_array_equal(labels.values.astype(float), arrays["best_iteration_per_criterion"])
    np.testing.assert_allclose(scores.values, arrays["best_score_per_criterion"], rtol=1e-12)


def test_get_best_of_one_criterion(case):
    about, _, _, record, _ = case
    for criterion, best in about["get_best_for_single_criteria"].items():
        for selected in (criterion, [criterion]):
            labels, scores = record.get_best(record.to_xarray().sel(criteria=selected), "iterations")
            expected = np.vectorize(number)(best["iteration"])
            np.testing.assert_array_equal(np.squeeze(labels.values).astype(float), expected)
            np.testing.assert_allclose(np.squeeze(scores.values), np.vectorize(number)(best["score"]), rtol=1e-12)


def test_get_best_over_parameters(case):
    about, _, _, record, _ = case
    expected = about["get_best_over_parameters"]
    data = record.to_xarray().sel(criteria=[expected["criterion"]], datasets=DATASETS[0])
    labels, scores = record.get_best(data, "parameters")
    assert [str(v) for v in labels.values.ravel()] == expected["parameters"]
    np.testing.assert_allclose(scores.values.ravel(), [float(s) for s in expected["score"]], rtol=1e-12)


def test_get_best_takes_an_infinite_score_over_none():
    record = ValidationScores([], DATASETS[:1], InstanceEvaluator().score)
    data = xr.DataArray(
        [[math.nan], [math.inf]], dims=["iterations", "criteria"], coords={"iterations": [3, 4], "criteria": ["voi"]}
    )
    labels, scores = record.get_best(data, "iterations")
    assert labels.item() == 4
    assert scores.item() == math.inf


def test_get_best_needs_criteria_and_the_dimension(case):
    record = case[3]
    data = record.to_xarray()
    with pytest.raises(ValueError, match="criteria"):
        record.get_best(data.isel(criteria=0, drop=True), "iterations")
    with pytest.raises(ValueError, match="'iteration'"):
        record.get_best(data, "iteration")


def test_scores_added_twice_are_refused(case):
    record, entries = case[3], case[4]
    with pytest.raises(ValueError, match="300 has been validated already"):
        record.add_iteration_scores(entries[2])
    assert len(record.scores) == len(entries)


def test_scores_keep_the_order_of_iterations(case):
    record, entries = case[3], case[4]
    shuffled = attrs.evolve(record, scores=[])
    for index in (3, 0, 4, 2, 1):
        shuffled.add_iteration_scores(entries[index])
    assert shuffled.scores == entries
    assert shuffled.validated_until() == 501


def test_scores_of_another_shape_are_refused(case):
    record = attrs.evolve(case[3], scores=[])
    with pytest.raises(ValueError, match="2 datasets, 3 parameters"):
        record.add_iteration_scores(ValidationIterationScores(1, [[[0.0]]]))


def test_delete_after_and_validated_until(case):
    about, _, _, record, entries = case
    assert record.validated_until() == about["validated_until"]
    for iteration, left in about["delete_after_leaves_iterations"].items():
        record.scores = list(entries)
        record.delete_after(int(iteration))
        assert [s.iteration for s in record.scores] == left


def test_compare(case):
    about, _, _, record, entries = case
    more = [*entries, ValidationIterationScores(600, entries[0].scores)]
    others = {"with_nothing": [], "with_two": entries[:2], "with_all": entries, "with_more": more}
    for name, existing in others.items():
        assert record.compare(existing) == tuple(about["compare"][name]), name
    record.scores = []
    assert record.compare([]) == tuple(about["compare_empty_with_nothing"])
    assert record.compare(entries[:2]) == tuple(about["compare_empty_with_two"])


def test_subscores(case):
    record, entries = case[3], case[4]
    part = record.subscores(entries[1:3])
    assert [s.iteration for s in part.scores] == [200, 300]
    assert part.criteria == record.criteria
    with pytest.raises(ValueError, match="7"):
        record.subscores([ValidationIterationScores(7, entries[0].scores)])


def test_reasons_belong_to_one_iteration():
    a, b = ValidationIterationScores(0, []), ValidationIterationScores(1, [])
    a.reasons["first/x"] = "empty"
    assert b.reasons == {}


def expected_bests(about, arrays, record):
    """Return the recorded bests, but with each criterion's own direction.

    The original searched all criteria in the direction of the first one, so a__voi was the largest; the reference data
    hold what is meant beside it.
    """
    for entry in about["best_scores_after_set_best"]:
        at = (
            [d.name for d in record.datasets].index(entry["dataset"]),
            [str(p) for p in record.parameters].index(entry["parameters"]),
            record.criteria.index(entry["criterion"]),
        )
        iteration, score = arrays["best_iteration_per_criterion"][at], arrays["best_score_per_criterion"][at]
        meant = None if math.isnan(score) else [int(iteration), float(score)]
        assert entry["best"] == meant or entry["criterion"] == "a__voi"
        yield {**entry, "best": meant}


def test_set_best(case):
    about, arrays, evaluator, record, _ = case
    evaluator.set_best(record)
    found = [
        {"dataset": d.name, "parameters": str(p), "criterion": c, "best": None if best is None else list(best)}
        for (d, p, c), best in evaluator.best_scores.items()
    ]
    assert found == list(expected_bests(about, arrays, record))


def test_overall_best(case):
    about, arrays, evaluator, record, _ = case
    evaluator.set_best(record)
    for criterion, by_dataset in about["overall_best"].items():
        for d, dataset in enumerate(DATASETS):
            expected = by_dataset[dataset.name]
            if criterion == "a__voi":
                scores = arrays["best_score_per_criterion"][d, :, record.criteria.index(criterion)]
                expected = {"score": scores.min(), "parameters": str(record.parameters[int(scores.argmin())])}
            assert evaluator.get_overall_best(dataset, criterion) == pytest.approx(expected["score"], rel=1e-12)
            assert str(evaluator.get_overall_best_parameters(dataset, criterion)) == expected["parameters"]


def dummy_record(scores):
    parameters = [DummyPostProcessorParameters(id=i, min_size=i) for i in range(len(scores))]
    record = ValidationScores(parameters, DATASETS[:1], DummyEvaluator().score)
    record.add_iteration_scores(ValidationIterationScores(5, [[[score, 0.0] for score in scores]]))
    return record


def test_parameters_without_a_score_do_not_make_the_search_start_over():
    evaluator, record = DummyEvaluator(), dummy_record([0.9, math.nan, 0.2])
    evaluator.set_best(record)
    assert evaluator.get_overall_best(DATASETS[0], "frizz_level") == 0.9
    assert evaluator.get_overall_best_parameters(DATASETS[0], "frizz_level") is record.parameters[0]
    assert evaluator.get_overall_best(DATASETS[1], "frizz_level") is None
    assert evaluator.get_overall_best_parameters(DATASETS[1], "frizz_level") is None


def test_of_equal_scores_that_of_the_earliest_iteration_is_the_best():
    evaluator, record = DummyEvaluator(), dummy_record([0.5, 0.9, 0.9])
    record.add_iteration_scores(ValidationIterationScores(8, [[[score, 0.0] for score in (0.9, 0.1, 0.9)]]))
    evaluator.set_best(record)
    best = evaluator.get_overall_best_parameters(DATASETS[0], "frizz_level")
    assert best is record.parameters[1], "the first parameters reach it later, the third are listed later"
    assert evaluator.best_scores[(DATASETS[0], best, "frizz_level")] == (5, 0.9)


def test_is_best():
    evaluator, record = DummyEvaluator(), dummy_record([0.5, math.nan])
    first, second = record.parameters
    assert evaluator.is_best(DATASETS[0], first, "frizz_level", 0.1), "the first score is the best so far"
    evaluator.set_best(record)
    assert evaluator.is_best(DATASETS[0], first, "frizz_level", 0.6)
    assert not evaluator.is_best(DATASETS[0], first, "frizz_level", 0.5), "a tie is not better"
    assert not evaluator.is_best(DATASETS[0], first, "frizz_level", math.nan)
    assert not evaluator.is_best(DATASETS[0], second, "frizz_level", math.nan)
    assert evaluator.is_best(DATASETS[0], second, "frizz_level", 0.0)
    assert not evaluator.is_best(DATASETS[0], first, "blipp_score", -1.0), "its best is not kept"
    assert evaluator.is_best(DATASETS[0], first, "frizz_level", attrs.evolve(evaluator.score, frizz_level=0.7))


def test_compare_of_two_scores():
    evaluator = DummyEvaluator()
    assert evaluator.compare(2, 1, "frizz_level")
    assert evaluator.compare(1, 2, "blipp_score")
    assert not evaluator.compare(1, 1, "frizz_level")
    assert evaluator.compare(1, math.nan, "blipp_score")
    assert not evaluator.compare(math.nan, 1, "blipp_score")
