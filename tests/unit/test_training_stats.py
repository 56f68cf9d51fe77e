"""The record of a training."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dacapo.errors import RecordError
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from tests.helpers.golden_data import items

GOLDEN = items("stats")["training"]


@pytest.fixture
def stats():
    record = TrainingStats()
    for entry in GOLDEN["iterations"]:
        record.add_iteration_stats(TrainingIterationStats(**entry))
    return record


def test_empty_record_is_valid():
    record = TrainingStats()
    assert record.trained_until() == GOLDEN["trained_until_empty"] == 0
    assert record.to_xarray().dims == ("iterations",)
    assert record.to_xarray().size == 0


def test_trained_until(stats):
    assert stats.trained_until() == GOLDEN["trained_until"]


def test_to_xarray(stats):
    data, recorded = stats.to_xarray(), GOLDEN["to_xarray"]
    assert list(data.dims) == recorded["dims"]
    assert data.coords["iterations"].values.tolist() == recorded["coords"]["iterations"]
    np.testing.assert_allclose(data.values, recorded["values"], rtol=1e-12)


@pytest.mark.parametrize("iteration", [9, 5, 0])
def test_gap_or_repetition_is_refused(stats, iteration):
    with pytest.raises(AssertionError, match=f"{iteration}, expected iteration 6") as caught:
        stats.add_iteration_stats(TrainingIterationStats(iteration, 0.1, 0.1))
    assert isinstance(caught.value, RecordError)
    assert stats.trained_until() == 6


def test_a_record_may_begin_late():
    record = TrainingStats()
    record.add_iteration_stats(TrainingIterationStats(1000, 0.1, 0.1))
    assert record.trained_until() == 1001


@pytest.mark.parametrize(("iteration", "left"), GOLDEN["delete_after_leaves_iterations"].items())
def test_delete_after(stats, iteration, left):
    stats.delete_after(int(iteration))
    assert [entry.iteration for entry in stats.iteration_stats] == left


def test_time_is_optional():
    entry = TrainingIterationStats(0, 0.1)
    assert entry.time is None
    assert repr(entry) == "TrainingIterationStats(iteration=0, loss=0.1)"
    assert repr(TrainingIterationStats(0, 0.1, 0.2)) == "TrainingIterationStats(iteration=0, loss=0.1, time=0.2)"
    assert entry == TrainingIterationStats(iteration=0, loss=0.1)
    assert entry != TrainingIterationStats(0, 0.1, 0.0)


def test_a_hundred_thousand_iterations_take_less_than_a_second():
    record = TrainingStats()
    start = time.process_time()
    for iteration in range(100_000):
        record.add_iteration_stats(TrainingIterationStats(iteration, 1.0, 0.0))
    record.to_xarray()
    for iteration in range(99_999, 99_000, -1):
        record.delete_after(iteration)
    assert time.process_time() - start < 2
    assert record.trained_until() == 99_001
