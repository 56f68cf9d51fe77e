"""Look at a run and its data before training."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dacapo.errors import DacapoError
from dacapo.experiments.datasplits import DataSplit, DataSplitConfig
from dacapo.experiments.datasplits.datasplit import place_of
from dacapo.experiments.fit import misfits

from .checks import DATA, ESTIMATES, Check
from .look import DatasetLook, Look, look_at
from .report import Finding, Report

if TYPE_CHECKING:
    from dacapo.experiments.run import Run

SECONDS = 5.0
"""Time to spend on reading voxels, about."""
PATIENCE = 4
"""After this many times as long, no other dataset is looked at."""


def preflight(run: Run, seconds: float = SECONDS) -> Report:
    """Check that the parts of a run fit together, look at its data, and estimate memory and time.

    Args:
        run: The run.
        seconds: Time to spend on reading voxels, about.
    """
    started = time.monotonic()
    misfit = [as_finding(error) for error in misfits(run)]
    return report_of(_look(run), (*DATA, *ESTIMATES), seconds, started, misfit)


def check_data(run: Run, seconds: float = SECONDS) -> Report:
    """Look at the data of a run whose parts fit together.

    Args:
        run: The run.
        seconds: Time to spend on reading voxels, about.
    """
    return report_of(_look(run), DATA, seconds, time.monotonic())


def _look(run: Run) -> Look:
    config = run.config
    found = datasets_of(run.datasplit, config.datasplit_config, "datasplit_config")
    datasets = list(found) if run.trainer.trains_on_data else []
    return Look(datasets, run.task, run.model, run.trainer, config.num_iterations)


def datasets_of(datasplit: DataSplit, config: DataSplitConfig, above: str = "") -> Iterator[DatasetLook]:
    """Yield the datasets of a datasplit, for training first.

    Args:
        datasplit: The datasplit.
        config: Its config.
        above: Path to the config; empty if it is looked at by itself.
    """
    for kind, datasets in (("train", datasplit.train), ("validate", datasplit.validate or [])):
        for index, dataset in enumerate(datasets):
            place = ".".join(filter(None, (above, place_of(config, kind, index))))
            yield DatasetLook(kind, dataset, place)


def report_of(
    look: Look, checks: Iterable[Check], seconds: float, started: float, known: Iterable[Finding] = ()
) -> Report:
    """Sample the datasets, run checks on them, and return the report.

    Args:
        look: The datasets, and what is known about the run.
        checks: The checks to run.
        seconds: Time to spend on reading voxels, about.
        started: Reading of the monotonic clock when the look began.
        known: Findings to report as well.
    """
    seen = _look_at_all(look, seconds)
    findings = [*known, *_unseen(look, seen), *(finding for check in checks for finding in check.run(look))]
    sampled = [array for part in look.datasets for array in part.sampled]
    return Report.of(findings, sampled, time.monotonic() - started)


def _look_at_all(look: Look, seconds: float) -> int:
    """Sample the datasets, and return how many; a slow store may leave no time for the last ones."""
    started = time.monotonic()
    for number, part in enumerate(look.datasets):
        if number and time.monotonic() - started > PATIENCE * seconds:
            return number
        look_at(part, look.context(part), seconds / len(look.datasets))
    return len(look.datasets)


def _unseen(look: Look, seen: int) -> Iterator[Finding]:
    """Tell that datasets were not sampled."""
    unseen = [part.place for part in look.datasets[seen:]]
    if unseen:
        message = f"reading is slow, so {len(unseen)} datasets from here on were not looked at; allow more seconds"
        yield Finding("note", "not sampled", unseen[0], message)


def as_finding(error: DacapoError) -> Finding:
    """Return an error whose message begins with the path to a field."""
    field, _, message = str(error).partition(": ")
    return Finding("error", "fit", field, message)
