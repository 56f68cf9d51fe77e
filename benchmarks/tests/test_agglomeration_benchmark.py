"""The benchmark of agglomeration times all four works, and tells how far two results are apart."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import agglomeration
from benchmarks.agglomeration import OFFSETS, THRESHOLDS, ours, synthetic_levels
from dacapo.utils.fragments import FragmentParameters, volume_fragments

# Gives back our segments where it is asked for the mean, and one segment of everything where not.
WATERZ = f"""
import sys
import numpy as np

def agglomerate(affinities, thresholds, fragments, scoring_function):
    assert affinities.dtype == np.float32 and affinities.shape == (3, 32, 32, 32)
    np.testing.assert_allclose(thresholds, {[1 - threshold for threshold in THRESHOLDS]})
    assert fragments is None or fragments.shape == affinities.shape[1:]
    ours = np.load(sys.argv[1] + "/ours_mean.npy")
    print("what it prints is no result")
    return list(ours if "Mean" in scoring_function else np.ones_like(ours))
"""


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    (tmp_path / "waterz.py").write_text(WATERZ)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(sys, "argv", ["agglomeration", "--edge", "32", "--waterz", sys.executable])
    agglomeration.main()
    return capsys.readouterr().out.splitlines()


def test_it_prints_times_and_differences(printed: list[str]) -> None:
    found = re.fullmatch(r"32\^3 voxels, (\d+) fragments, (\d+) edges, (\d+) histogram entries", printed[0])
    assert found is not None
    assert 1 < int(found[1]) < int(found[2]) < int(found[3])
    rows = {line[:18].strip(): list(map(float, line[18:].split())) for line in printed[2:6]}
    assert list(rows) == ["merge, mean", "all, mean", "merge, quantile", "all, quantile"]
    assert all(mine > 0 and theirs >= 0 for mine, theirs, _ in rows.values())
    differences = {
        line.split()[1]: [float(number) for number in line.split()[2:-1]]
        for line in printed
        if line.startswith("difference")
    }
    assert differences["mean:"] == [0.0] * len(THRESHOLDS)
    assert len(differences["quantile:"]) == len(THRESHOLDS)
    assert max(differences["quantile:"]) > 0.1


def test_lower_thresholds_merge_more() -> None:
    levels = synthetic_levels(32)
    fragments, count = volume_fragments(levels, OFFSETS, FragmentParameters(seed_distance=1))
    for quantile in (None, 0.5):
        for _, labels in ours(levels, fragments, quantile).values():
            numbers = [len(np.unique(one[one > 0])) for one in labels]
            assert len(numbers) == len(THRESHOLDS)
            assert count >= numbers[0] > numbers[-1] >= 1
            assert numbers == sorted(numbers, reverse=True)
