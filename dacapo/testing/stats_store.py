"""The contract of a stats store, as a test suite.

Subclass :class:`StatsStoreContract` and give it an empty store, and a second one on the same data::

    class TestMyStatsStore(StatsStoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStatsStore(tmp_path)

        @pytest.fixture
        def reopened(self, tmp_path):
            return MyStatsStore(tmp_path)
"""

from __future__ import annotations

import itertools
import math
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dacapo.errors import ConfigError
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.store.stats_store import StatsStore


def training(start: int, stop: int, seed: float = 0.0) -> TrainingStats:
    """Return statistics of the iterations from ``start`` to before ``stop``."""
    return TrainingStats([TrainingIterationStats(i, 1.0 / (i + 1) + seed, 0.25 * i) for i in range(start, stop)])


def validation(*iterations: int, seed: float = 0.0) -> Any:
    """Return what a store needs of ``ValidationScores``: its entries, one per iteration."""
    entries = [ValidationIterationScores(i, [[[i + seed, math.nan], [0.5, math.inf]]]) for i in iterations]
    return SimpleNamespace(scores=entries)


class StatsStoreContract:
    """Laws of records that grow, go back and are trained anew."""

    @pytest.fixture
    def store(self) -> StatsStore:
        """Return an empty store."""
        raise NotImplementedError

    @pytest.fixture
    def reopened(self) -> StatsStore:
        """Return a second store on the same data, as another process would open it."""
        raise NotImplementedError

    def test_nothing_stored_is_an_empty_record(self, store: StatsStore) -> None:
        assert store.retrieve_training_stats("run") == TrainingStats()
        assert store.retrieve_validation_iteration_scores("run") == []

    def test_what_is_stored_comes_back(self, store: StatsStore, reopened: StatsStore) -> None:
        store.store_training_stats("run", training(0, 5))
        store.store_validation_iteration_scores("run", validation(100, 200))
        for one in (store, reopened):
            assert one.retrieve_training_stats("run") == training(0, 5)
            got = one.retrieve_validation_iteration_scores("run")
            assert [entry.iteration for entry in got] == [100, 200]

    def test_nan_and_infinity_come_back(self, store: StatsStore) -> None:
        store.store_training_stats("run", TrainingStats([TrainingIterationStats(0, math.nan, -math.inf)]))
        (entry,) = store.retrieve_training_stats("run").iteration_stats
        assert math.isnan(entry.loss)
        assert entry.time == -math.inf
        store.store_validation_iteration_scores("run", validation(100))
        (scores,) = store.retrieve_validation_iteration_scores("run")
        assert math.isnan(scores.scores[0][0][1])
        assert scores.scores[0][1] == [0.5, math.inf]

    def test_a_time_that_nobody_measured_stays_unknown(self, store: StatsStore) -> None:
        entries = [TrainingIterationStats(0, 0.5), TrainingIterationStats(1, 0.25, 2.0), TrainingIterationStats(2, 0.1)]
        for count in (1, 3):
            store.store_training_stats("run", TrainingStats(entries[:count]))
            assert store.retrieve_training_stats("run").iteration_stats == entries[:count]

    def test_reasons_come_back(self, store: StatsStore) -> None:
        entry = ValidationIterationScores(100, [[[math.nan]]], {"first.zarr/P(id=0, $x=0.5)": "empty", "%2E": "$"})
        store.store_validation_iteration_scores("run", SimpleNamespace(scores=[entry]))  # type: ignore[arg-type]
        assert store.retrieve_validation_iteration_scores("run")[0].reasons == entry.reasons

    def test_growing_stats_keep_their_beginning(self, store: StatsStore, reopened: StatsStore) -> None:
        # The original's file store kept only what was new.
        store.store_training_stats("run", training(0, 3))
        store.store_training_stats("run", training(0, 6))
        reopened.store_training_stats("run", training(0, 9))
        assert store.retrieve_training_stats("run") == training(0, 9)

    def test_entries_before_the_first_given_one_stay(self, store: StatsStore) -> None:
        store.store_training_stats("run", training(0, 6))
        store.store_training_stats("run", training(4, 8))
        assert store.retrieve_training_stats("run") == training(0, 8)

    def test_earlier_entries_than_the_stored_ones_are_added(self, store: StatsStore) -> None:
        store.store_training_stats("run", training(3, 6))
        store.store_training_stats("run", training(0, 6))
        assert store.retrieve_training_stats("run") == training(0, 6)

    @pytest.mark.parametrize("until", [0, 1, 4])
    def test_going_back_drops_what_came_after(self, store: StatsStore, until: int) -> None:
        store.store_training_stats("run", training(0, 6))
        store.store_training_stats("run", training(0, until))
        assert store.retrieve_training_stats("run") == training(0, until)

    @pytest.mark.parametrize("until", [4, 6, 9])
    def test_retraining_replaces_what_differs(self, store: StatsStore, until: int) -> None:
        store.store_training_stats("run", training(0, 6))
        stats = training(0, 2)
        stats.iteration_stats += training(2, until, seed=1).iteration_stats
        store.store_training_stats("run", stats)
        assert store.retrieve_training_stats("run") == stats

    def test_scores_grow_and_go_back(self, store: StatsStore, reopened: StatsStore) -> None:
        for iterations in ((100, 200), (100, 200, 300, 400, 500), (100, 200, 300), ()):
            store.store_validation_iteration_scores("run", validation(*iterations))
            got = reopened.retrieve_validation_iteration_scores("run")
            assert [entry.iteration for entry in got] == list(iterations)

    def test_any_sequence_of_saves(self, store: StatsStore) -> None:
        rng = random.Random(0)
        for run in map(str, range(20)):
            history: list[TrainingIterationStats] = []
            for step in range(6):
                # Back to somewhere, on from there with other losses, and a save that knows the history in part.
                back = rng.randint(0, len(history))
                known = rng.randint(0, back)
                history[back:] = training(back, back + rng.randint(1, 5), seed=step).iteration_stats
                store.store_training_stats(run, TrainingStats(history[known:]))
                assert store.retrieve_training_stats(run).iteration_stats == history

    def test_numbers_of_numpy_become_plain(self, store: StatsStore) -> None:
        entry = TrainingIterationStats(np.int64(0), np.float32(0.5), np.float64(0.25))  # type: ignore[arg-type]
        store.store_training_stats("run", TrainingStats([entry]))
        (got,) = store.retrieve_training_stats("run").iteration_stats
        assert got == TrainingIterationStats(0, 0.5, 0.25)
        assert [type(value) for value in (got.iteration, got.loss, got.time)] == [int, float, float]

    def test_long_records_can_be_thinned(self, store: StatsStore) -> None:
        stats = training(5, 1205)
        store.store_training_stats("run", stats)
        thin = store.retrieve_training_stats("run", subsample=True).iteration_stats
        assert len(thin) == 1000
        assert [thin[0], thin[-1]] == [stats.iteration_stats[0], stats.iteration_stats[-1]]
        assert {two.iteration - one.iteration for one, two in itertools.pairwise(thin)} == {1, 2}
        assert all(entry in stats.iteration_stats for entry in thin[::100])
        store.store_training_stats("short", training(0, 20))
        assert store.retrieve_training_stats("short", subsample=True) == training(0, 20)

    def test_scores_of_some_iterations(self, store: StatsStore) -> None:
        def got(**choice: Any) -> list[int]:
            return [entry.iteration for entry in store.retrieve_validation_iteration_scores("run", **choice)]

        store.store_validation_iteration_scores("run", validation(*range(100, 1300, 100), 1250))
        assert got(validation_interval=300) == [300, 600, 900, 1200]
        assert got(validation_interval=7) == [700]
        assert got(validation_interval=5000) == []
        assert got(subsample=True) == [*range(100, 1300, 100), 1250]
        with pytest.raises(ConfigError, match="validation_interval"):
            got(validation_interval=0)

    def test_runs_do_not_mix(self, store: StatsStore) -> None:
        store.store_training_stats("run_a", training(0, 2))
        store.store_training_stats("run_b", training(0, 3, seed=1))
        assert store.retrieve_training_stats("run_a") == training(0, 2)

    def test_deleting_one_kind_leaves_the_other(self, store: StatsStore) -> None:
        store.store_training_stats("run", training(0, 2))
        store.store_validation_iteration_scores("run", validation(100))
        store.delete_training_stats("run")
        assert store.retrieve_training_stats("run") == TrainingStats()
        assert len(store.retrieve_validation_iteration_scores("run")) == 1
        store.delete_validation_scores("run")
        assert store.retrieve_validation_iteration_scores("run") == []
        store.delete_training_stats("run")

    @pytest.mark.parametrize("name", ["", "..", "a/b", "/run"])
    def test_run_names_cannot_lead_elsewhere(self, store: StatsStore, name: str) -> None:
        with pytest.raises(ConfigError, match="run name"):
            store.store_training_stats(name, training(0, 1))

    def test_following_a_training(self, store: StatsStore, reopened: StatsStore) -> None:
        assert reopened.last_training_stats("run") is None
        assert list(reopened.losses_since("run").losses) == []
        store.store_training_stats("run", training(0, 5))
        first = reopened.losses_since("run")
        assert first.anew
        store.store_training_stats("run", training(0, 8))
        second = reopened.losses_since("run", first.mark)
        stored = training(0, 8).iteration_stats
        seen = [*first.iterations, *second.iterations] if not second.anew else list(second.iterations)
        assert seen == [one.iteration for one in stored]
        assert reopened.last_training_stats("run") == stored[-1]

    def test_following_a_training_that_goes_back(self, store: StatsStore, reopened: StatsStore) -> None:
        store.store_training_stats("run", training(0, 8))
        mark = reopened.losses_since("run").mark
        shorter = training(0, 5)
        shorter.iteration_stats += [TrainingIterationStats(i, 99.0 + i, 0.5) for i in range(5, 20)]
        store.store_training_stats("run", shorter)
        news = reopened.losses_since("run", mark)
        assert news.anew
        assert list(news.losses) == [one.loss for one in shorter.iteration_stats]

    def test_the_state_tells_that_something_was_stored(self, store: StatsStore, reopened: StatsStore) -> None:
        states = [reopened.state("run")]
        store.store_training_stats("run", training(0, 5))
        states += [reopened.state("run"), reopened.state("run")]
        store.store_validation_iteration_scores("run", validation(100))
        states.append(reopened.state("run"))
        assert len(set(states)) == 3
