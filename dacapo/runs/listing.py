"""List stored runs with their progress and their best scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs

from dacapo.errors import ConfigError
from dacapo.store.create_store import create_weights_store
from dacapo.store.files import status as status_of
from dacapo.store.run_folder import CHECKPOINTS, PARTS, run_folder
from dacapo.store.training_lock import Holder, holder_of
from dacapo.utils.plain_json import without_nan
from dacapo.utils.text_table import text_table
from dacapo.web.catalogue import Card, Catalogue

STATES = ("new", "running", "stopped", "finished")
ORDERS = ("name", "changed", "trained", "score")


@attrs.frozen
class RunSummary:
    """One line in the list of runs.

    Attributes:
        name: Name of the run.
        status: ``new``, ``running`` if a process trains it now, ``stopped`` or ``finished``, which may be early.
        trained: Number of iterations so far.
        iterations: Number of all iterations, None if the config is unreadable.
        checkpoint: Iteration of the latest checkpoint.
        loss: The last loss.
        validated: Iteration of the last validation.
        criterion: The criterion of the best score.
        score: The best score.
        best: Its iteration.
        higher_is_better: Whether higher scores are better.
        changed: When it last stored something, in seconds since 1970; None if it never did. Databases do not know, so
            there it is the time of the files.
        holder: The process that trains it, or has locked it for other work.
        task: Kind of the task; ``architecture`` and ``trainer`` likewise.
        datasplit: Name of the data split.
        ended_early: Whether training ended early, because it no longer improved.
        problem: Why something of the run cannot be shown.
    """

    name: str
    status: str
    trained: int
    iterations: int | None
    checkpoint: int | None
    loss: float | None
    validated: int | None
    criterion: str | None
    score: float | None
    best: int | None
    higher_is_better: bool
    changed: float | None
    holder: Holder | None
    task: str = ""
    architecture: str = ""
    trainer: str = ""
    datasplit: str = ""
    ended_early: bool = False
    problem: str = ""

    def as_plain(self) -> dict[str, Any]:
        """Return plain values, for JSON; the time as in ISO 8601."""
        plain = attrs.asdict(self)
        changed = None if self.changed is None else datetime.fromtimestamp(self.changed).astimezone()
        plain["changed"] = changed and changed.isoformat(timespec="seconds")
        return without_nan(plain)  # type: ignore[no-any-return]

    @property
    def progress(self) -> str:
        """The iterations so far and in all, in words."""
        return f"{self.trained} of {'?' if self.iterations is None else self.iterations}"

    @property
    def early(self) -> str:
        """The end of a sentence that says that training ended early; empty if it did not."""
        return ", ended early" if self.ended_early else ""

    @property
    def date(self) -> str:
        """When it last stored something, in words."""
        return "" if self.changed is None else datetime.fromtimestamp(self.changed).strftime("%Y-%m-%d %H:%M")

    @property
    def best_text(self) -> str:
        """The best score in words."""
        return "" if self.score is None else f"{self.criterion} {self.score:.4g} at {self.best}"


def list_runs(
    *patterns: str,
    task: str | None = None,
    architecture: str | None = None,
    trainer: str | None = None,
    datasplit: str | None = None,
    status: str | None = None,
    sort: str = "name",
) -> list[RunSummary]:
    """Return a summary of each stored run, or of those that all filters let through.

    Args:
        *patterns: Names, or patterns of names such as ``cells_*``; one of them has to match.
        task: Name of the task's config; ``architecture``, ``trainer`` and ``datasplit`` likewise.
        architecture: See ``task``.
        trainer: See ``task``.
        datasplit: See ``task``.
        status: One of :data:`STATES`.
        sort: One of :data:`ORDERS`: by name, the last changed first, the longest trained first, or the best score
            first, grouped by criterion.

    Returns:
        The summaries. A run with an unreadable config or record is listed too; its ``problem`` says why.

    Raises:
        ConfigError: If the status or order is unknown.
    """
    for value, known, what in ((status, STATES, "status"), (sort, ORDERS, "order")):
        if value is not None and value not in known:
            raise ConfigError(f"unknown {what} {value!r} of runs; known are {', '.join(known)}")
    runs = Catalogue()
    wanted = {"task": task, "architecture": architecture, "trainer": trainer, "datasplit": datasplit}
    names = runs.configs.retrieve_run_config_names(
        **{f"{part}_names": [name] for part, name in wanted.items() if name is not None}
    )
    if patterns:
        names = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    found = [summary_of(runs, name) for name in names]
    return _sorted([one for one in found if status in (None, one.status)], sort)


def summary_of(runs: Catalogue, name: str) -> RunSummary:
    """Return the summary of one run."""
    card = runs.card(name)
    holder = holder_of(name, runs.options)
    return RunSummary(
        name,
        _status(card, holder),
        card.trained,
        card.wanted,
        create_weights_store(runs.options).latest_iteration(name),
        card.loss,
        card.last_validated,
        card.criterion,
        card.score,
        card.best,
        card.higher,
        card.changed if card.changed is not None else _last_written(run_folder(name, runs.options)),
        holder,
        ended_early=card.ended_early,
        problem=card.problem,
        **dict(zip(("task", "architecture", "trainer", "datasplit"), card.parts, strict=False)),
    )


def run_list(summaries: Sequence[RunSummary]) -> str:
    """Return a table of runs as text, with a line for each problem."""
    header = ["run", "status", "trained", "validated", "best score", "changed", "locked by"]
    rows = [
        [
            one.name,
            one.status,
            one.progress + one.early,
            "" if one.validated is None else str(one.validated),
            one.best_text,
            one.date,
            "" if one.holder is None else f"{one.holder} ({one.holder.use})",
        ]
        for one in summaries
    ]
    problems = [f"{one.name}: {' '.join(one.problem.split())}" for one in summaries if one.problem]
    return "\n".join([text_table(header, rows), *problems])


def _last_written(folder: Path) -> float | None:
    """Return when a part of the folder of a run was last written; a new file changes the time of its folder."""
    parts = (folder / part for part in (*PARTS, f"{CHECKPOINTS}/iterations"))
    found = [status_of(part) for part in parts]
    return max((one.st_mtime for one in found if one is not None), default=None)


def _status(card: Card, holder: Holder | None) -> str:
    if holder is not None and holder.use == "trained":
        return "running"
    if card.ended_early or (card.wanted is not None and card.trained >= card.wanted):
        return "finished"
    return "stopped" if card.trained else "new"


def _sorted(found: list[RunSummary], order: str) -> list[RunSummary]:
    if order == "changed":
        return sorted(found, key=lambda one: -(one.changed or 0.0))
    if order == "trained":
        return sorted(found, key=lambda one: -one.trained)
    if order == "score":
        return sorted(found, key=_rank)
    return found


def _rank(one: RunSummary) -> tuple[bool, str, float]:
    if one.score is None or math.isnan(one.score):
        return True, "", 0.0
    return False, one.criterion or "", -one.score if one.higher_is_better else one.score
