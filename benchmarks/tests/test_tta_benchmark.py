"""The benchmark of test-time augmentation prints a row for each way, with scores of its own."""

from __future__ import annotations

import sys

import pytest

from benchmarks import tta
from dacapo.demo import synthetic_nuclei


def test_it_scores_an_unseen_image_with_each_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tta.Data(synthetic_nuclei, (64, 160), (72, 136))
    monkeypatch.setattr(tta, "DATA", {"nuclei": small})
    monkeypatch.setattr(sys, "argv", ["tta", "--iterations", "2", "--seeds", "3"])
    tta.main()
    printed = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in printed if line.startswith("nuclei")][-3:]
    assert [row[1:3] for row in rows] == [["3", "none"], ["3", "flips"], ["3", "turns"]]
    for *_, split, merge, total, _seconds in rows:
        assert float(split) + float(merge) == pytest.approx(float(total), abs=0.002)
