"""Timing a piece of work in two ways, in turn and in one process, and comparing what comes out."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import numpy as np

PACKAGES = ("torch", "numpy", "scipy", "zarr", "gunpowder", "edt", "fastremap", "mwatershed", "lsds")
HEADER = ("work", "ours [ms]", "floor [ms]", "ratio", "quartiles", "goal")


class WrongResultError(Exception):
    """What a case computes is not what its floor computes."""


@attrs.frozen
class Setting:
    """What a case is built with.

    Attributes:
        quick: Whether to use small sizes, to see that all works.
        folder: An empty folder, deleted afterwards.
        stack: Enters what has to be left afterwards.
    """

    quick: bool
    folder: Path
    stack: ExitStack

    def size(self, full: int, quick: int) -> int:
        """Return the size to use."""
        return quick if self.quick else full


def _nothing() -> None:
    pass


@attrs.frozen
class Case:
    """The same work done in two ways.

    Attributes:
        ours: Does it with the package.
        floor: Does it the plain way.
        check: Takes both results, and raises an AssertionError if they differ.
        goal: The ratio to reach, or a time.
        prepare: Called before each measurement of the two, and not timed.
    """

    ours: Callable[[], Any]
    floor: Callable[[], Any]
    check: Callable[[Any, Any], None]
    goal: str = ""
    prepare: Callable[[], None] = _nothing


@attrs.frozen
class Timing:
    """Seconds that the two ways took, one pair per repetition."""

    name: str
    ours: list[float]
    floor: list[float]
    goal: str = ""

    @property
    def ratio(self) -> float:
        """The median time of ours by that of the floor."""
        return float(np.median(self.ours) / np.median(self.floor))

    def row(self) -> list[str]:
        """Return what the table shows: medians, and the quartiles of the ratios of single pairs."""
        low, high = np.percentile(np.array(self.ours) / np.array(self.floor), [25, 75])
        times = [_milliseconds(float(np.median(seconds))) for seconds in (self.ours, self.floor)]
        return [self.name, *times, f"{self.ratio:.2f}", f"{low:.2f} to {high:.2f}", self.goal]


def _milliseconds(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(name: str, case: Case, seconds: float = 4.0, least: int = 5, most: int = 25) -> Timing:
    """Check a case, then time it.

    Args:
        name: Name of the row.
        case: What to time. The first calls, which are checked, are not timed.
        seconds: About how long to go on.
        least: Smallest number of repetitions.
        most: Largest number of repetitions.

    Raises:
        WrongResultError: If the two results differ.
    """
    case.prepare()
    result, expected = case.ours(), case.floor()
    try:
        case.check(result, expected)
    except AssertionError as error:
        raise WrongResultError(f"{name}: the result is not that of the floor: {error}") from error
    del result, expected
    timing = Timing(name, [], [], case.goal)
    until = time.perf_counter() + seconds
    while len(timing.ours) < least or (len(timing.ours) < most and time.perf_counter() < until):
        case.prepare()
        pair = [(case.ours, timing.ours), (case.floor, timing.floor)]
        for work, times in pair if len(timing.ours) % 2 == 0 else pair[::-1]:
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
    return timing


def table(timings: list[Timing], original: dict[str, str] | None = None) -> str:
    """Return timings as text.

    Args:
        timings: One per row.
        original: What the original takes by what the floor takes, by name, or why there is no such number.
    """
    from dacapo.utils.text_table import text_table

    rows = [timing.row() for timing in timings]
    if original is None:
        return text_table(HEADER, rows)
    shown = [original.get(timing.name, "-") for timing in timings]
    reasons = sorted({text for text in shown if not _is_shown(text)})
    marks = {reason: f"({number})" for number, reason in enumerate(reasons, 1)}
    rows = [[*row, marks.get(text, text)] for row, text in zip(rows, shown, strict=True)]
    notes = [f"{mark} {reason}" for reason, mark in marks.items()]
    return "\n".join([text_table((*HEADER, "original"), rows), *notes])


def _is_shown(text: str) -> bool:
    return text == "-" or text.replace(".", "", 1).isdigit()


def machine() -> list[str]:
    """Describe the machine, how busy it is, and the versions of what is compared."""
    import torch

    return [
        f"processor   {_processor()}, {os.cpu_count()} cores; {torch.get_num_threads()} thread(s) used",
        f"load        {', '.join(f'{load:.2f}' for load in os.getloadavg())} (1, 5 and 15 minutes, before the first)",
        f"system      {platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"versions    dacapo {version('dacapo')}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    ]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
