"""The benchmark of the memory of trainings prints a peak beside both estimates."""

from __future__ import annotations

import sys

import pytest

from benchmarks import training_memory


@pytest.mark.slow
def test_a_row_of_a_small_network(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small = training_memory.Network((28, 28), 4, 2, (2,))
    monkeypatch.setattr(training_memory, "NETWORKS", {"small": small})
    monkeypatch.setattr(sys, "argv", ["training_memory", "--trainers", "torch", "--batches", "2", "--fetchers", "1"])
    training_memory.main()
    name, trainer, batch, fetchers, peak, least, told, *ratios = capsys.readouterr().out.splitlines()[-1].split()
    assert [name, trainer, batch, fetchers] == ["small", "torch", "2", "1"]
    assert 0 < int(least) < int(peak) < int(told)
    assert [float(ratio) for ratio in ratios] == [
        pytest.approx(int(size) / int(peak), abs=0.01) for size in (least, told)
    ]
