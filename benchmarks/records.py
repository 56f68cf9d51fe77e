"""Statistics of training on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.store.file_stats_store import FileStatsStore

from .harness import Case, Setting

NEW = 100


def _entries(first: int, count: int) -> list[TrainingIterationStats]:
    """Return statistics with as many digits as those of a training have."""
    return [TrainingIterationStats(i, 0.3 + 1 / (i + 1), 0.1 + i * 1e-7) for i in range(first, first + count)]


def save(setting: Setting, after: int) -> Case:
    """Add 100 iterations to a record; the floor knows that they are new, and appends their lines."""
    store, stats = FileStatsStore(setting.folder), TrainingStats(_entries(0, after))
    store.store_training_stats("run", stats)
    plain = setting.folder / "plain"
    plain.write_text("".join(json.dumps(attrs.asdict(entry)) + "\n" for entry in stats.iteration_stats))

    def ours() -> Path:
        store.store_training_stats("run", stats)
        return setting.folder / "training_stats" / "run"

    def floor() -> Path:
        with open(plain, "a") as file:
            file.writelines(json.dumps(attrs.asdict(entry)) + "\n" for entry in stats.iteration_stats[-NEW:])
            file.flush()
            os.fsync(file.fileno())
        return plain

    def check(path: Path, expected: Path) -> None:
        np.testing.assert_equal(read_lines(path), read_lines(expected))

    def prepare() -> None:
        stats.iteration_stats.extend(_entries(stats.trained_until(), NEW))

    return Case(ours, floor, check, "flat, 1 ms", prepare)


def read_lines(path: Path) -> list[Any]:
    with open(path) as file:
        return [json.loads(line) for line in file]


def read(setting: Setting) -> Case:
    store, stats = FileStatsStore(setting.folder), TrainingStats(_entries(0, 100_000))
    store.store_training_stats("run", stats)

    def check(got: TrainingStats, expected: list[dict[str, Any]]) -> None:
        np.testing.assert_equal([attrs.asdict(entry) for entry in got.iteration_stats], expected)

    path = setting.folder / "training_stats" / "run"
    return Case(lambda: store.retrieve_training_stats("run"), lambda: read_lines(path), check, "50 ms")


CASES: dict[str, Callable[[Setting], Case]] = {
    **{f"save 100 iterations after 10^{power}": partial(save, after=10**power) for power in (3, 4, 5)},
    "read 10^5 iterations": read,
}
