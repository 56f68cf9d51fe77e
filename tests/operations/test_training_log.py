"""A training in a batch job tells how far it is, and what validations found."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from dacapo.experiments.run import Run
from dacapo.options import Options
from dacapo.train import train_run
from tests.helpers.runs import affinities_run_config


def test_lines_of_a_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Options.override(runs_base_dir=tmp_path, progress_seconds=0.01):
        run = Run(affinities_run_config(tmp_path / "data", num_iterations=6, validation_interval=3))
        with caplog.at_level(logging.INFO, logger="dacapo"):
            train_run(run)
    lines = [line for line in caplog.messages if "iterations, loss" in line]
    assert len(lines) >= 3
    expected = (
        r"affinities: \d of 6 iterations, loss 0\.\d+, learning rate [\de.-]+, [\d.]+ [MG]B of memory, .*, [\d:]+ left"
    )
    assert all(re.fullmatch(expected, line) for line in lines), lines
    assert any(re.match(r"post-process \S+: \d+ of \d+ parameter sets, ", line) for line in caplog.messages)
    (header,) = (line for line in caplog.messages if line.lstrip().startswith("iteration  "))
    assert header.split() == ["iteration", "voi", "seconds", "parameters"]
    rows = [line for line in caplog.messages if re.match(r" +[36]  ", line)]
    assert [row.split()[0] for row in rows] == ["3", "6"]
    assert " best " in rows[0]
    scores = run.validation_scores
    column = scores.criteria.index("voi")
    for text, entry in zip(rows, scores.scores, strict=True):
        best = min(
            sum(per[number][column] for per in entry.scores) / len(entry.scores)
            for number in range(len(entry.scores[0]))
        )
        assert float(text.split()[1]) == pytest.approx(best, rel=1e-3)
