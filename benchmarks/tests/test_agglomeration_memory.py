"""The benchmark of the memory of agglomeration prints what each work takes, and the estimate."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks import agglomeration_memory
from benchmarks.agglomeration_memory import WORK, forked
from dacapo.utils.memory_estimates import agglomeration_voxel_bytes

MIB = 1 << 20


def test_a_row_of_each_kind_of_affinities(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["memory", "--edges", "64", "--channels", "5", "--dtypes", "float32"])
    agglomeration_memory.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[:4] for row in rows] == [[name, "64^3", "5", "float32"] for name in ("cells", "noise")]
    for row in rows:
        *taken, estimate, ratio = map(float, row[4:])
        assert len(taken) == len(WORK)
        assert min(taken) > 20, "the prediction alone has 20 bytes per voxel"
        assert estimate == pytest.approx(agglomeration_voxel_bytes(3, 5, 4), abs=0.06)
        assert ratio == pytest.approx(estimate / max(taken), abs=0.02)


def test_the_memory_of_work_is_measured() -> None:
    assert 50 * MIB <= forked(lambda: np.ones(50 * MIB, np.uint8)) < 60 * MIB


def test_work_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="exit code 1"):
        forked(lambda: 1 // 0)
