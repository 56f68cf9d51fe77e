"""The benchmark of growth measures what it says, and notices what grows too fast."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import growth
from benchmarks.growth import MIB, Measurement, Series, exponent, fits, main, measure


def busy(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def linear(size: int, _: Path) -> tuple[int, Callable[[], Any]]:
    return size, lambda: busy(size / 1000)


def quadratic(size: int, _: Path) -> tuple[int, Callable[[], Any]]:
    return size, lambda: busy(size**2 / 20_000)


def hungry(size: int, _: Path) -> tuple[int, Callable[[], Any]]:
    held = np.ones(30 * MIB, np.uint8)
    return size, lambda: (np.ones(size * MIB, np.uint8)[0], held)[0]


@pytest.fixture
def series(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (10, 20, 40, 80)
    builds = {"linear": linear, "quadratic": quadratic, "hungry": hungry}
    monkeypatch.setattr(growth, "SERIES", {name: Series("things", sizes, build) for name, build in builds.items()})


def test_linear_work_passes(series: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["linear"]) == 0
    printed = capsys.readouterr().out.splitlines()[-1].split()
    assert printed[:2] == ["linear", "things"]
    assert 0.9 < float(printed[8]) < 1.1
    assert printed[-1] == "-"


def test_quadratic_work_fails(series: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quadratic"]) == 1
    assert "quadratic grows faster than linearly with things" in capsys.readouterr().out


def test_sizes_that_would_take_too_long_are_left_out(series: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["linear", "--seconds", "0.05"]) == 0
    assert "linear: left out from size 80 on" in capsys.readouterr().out


def test_what_would_not_fit_into_memory_is_left_out() -> None:
    one = Series("things", (1, 2), linear, power=3)
    assert fits(one, [Measurement(1, 0.1, 1000)], 2, 1.0)
    assert not fits(one, [Measurement(1, 0.1, 1 << 42)], 2, 1.0)
    assert not fits(one, [Measurement(1, 0.2, 1000)], 2, 1.0)


def test_memory_is_that_of_the_work(series: None) -> None:
    assert measure("hungry", 80).peak / MIB == pytest.approx(80, abs=4)


def test_memory_that_was_freed_before_counts_again(series: None) -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    mmap_threshold, trim_threshold, usual = -3, -1, 1 << 17
    for option in (mmap_threshold, trim_threshold):
        libc.mallopt(option, 1 << 30)
    freed = libc.malloc(200 * MIB)
    ctypes.memset(freed, 1, 200 * MIB)
    above = libc.malloc(100_000)  # keeps the allocator from giving back what is freed below it
    libc.free(freed)
    try:
        assert measure("hungry", 80).peak / MIB == pytest.approx(80, abs=4)
    finally:
        libc.free(above)
        for option in (mmap_threshold, trim_threshold):
            libc.mallopt(option, usual)


@pytest.mark.parametrize("power", [0, 1, 1.5, 2])
def test_exponent(power: float) -> None:
    counts = [10, 100, 1000, 10_000]
    assert exponent(counts, [3 * n**power for n in counts], 0) == pytest.approx(power)
    # Small sizes do not count, nor do values too small to measure.
    assert exponent(counts, [50, *(3 * n**power for n in counts[1:])], 0) == pytest.approx(power)
    assert exponent(counts, [0, 0, 0, 5], 1) is None


def test_every_series_is_made_of_ascending_sizes() -> None:
    assert all(list(series.sizes) == sorted(set(series.sizes)) for series in growth.SERIES.values())


def test_the_documentation_shows_every_series() -> None:
    page = (Path(growth.__file__).parents[1] / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = {name: rf"^{re.escape(name)} +{re.escape(series.over)} " for name, series in growth.SERIES.items()}
    assert [name for name, row in rows.items() if not re.search(row, page, re.MULTILINE)] == []


def test_quick_run() -> None:
    names = ["balance weights", "save 100 iterations", "training"]
    # In a process of its own, because those of other tests have threads, whose locks a forked process would wait for.
    command = [sys.executable, "-m", "benchmarks.growth", "--quick", *names]
    got = subprocess.run(command, capture_output=True, text=True, cwd=Path(growth.__file__).parents[1])
    assert got.returncode == 0, got.stdout + got.stderr
    rows = got.stdout.split("\n\n")[1].splitlines()
    assert [row.split("  ")[0] for row in rows] == ["work", "balance weights", "training", "save 100 iterations"]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["nonsense"])
