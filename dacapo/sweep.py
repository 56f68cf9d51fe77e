"""Train the runs of a sweep, and compare them in one table."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dacapo.errors import ConfigError, ConfigNotFoundError, DacapoError, RunInUseError, SweepError
from dacapo.experiments.config import changes
from dacapo.experiments.loggers import Logger
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.selection import matching_criteria
from dacapo.experiments.sweep_plan import SweepPlan, SweptRun, plan_sweep
from dacapo.options import Options
from dacapo.runs.listing import RunSummary, summary_of
from dacapo.store.converter import converter
from dacapo.store.create_store import create_config_store, create_stats_store
from dacapo.store.early_end import early_end_at
from dacapo.store.trained_config import in_words
from dacapo.train import train
from dacapo.utils.plain_json import without_nan
from dacapo.utils.ranking import first_best
from dacapo.utils.text_table import text_table
from dacapo.web.catalogue import Catalogue

logger = logging.getLogger(__name__)


@attrs.frozen
class SweepRow:
    """A run of a sweep, and what it has reached.

    Attributes:
        values: The values of the fields that the sweep varies, by path.
        repetition: Number of the repetition.
        run: Progress of the run.
        criterion: The criterion of the score; None for a task without criteria.
        score: The best score over all validation datasets, None without one; ``iteration`` and ``parameters`` are
            those that it was reached with.
        iteration: The checkpoint.
        parameters: The parameters of the post-processing.
        is_best: Whether no other run of the sweep has a better score by this criterion.
        problem: Why the training failed; empty if it did not.
    """

    values: dict[str, Any]
    repetition: int
    run: RunSummary
    criterion: str | None
    score: float | None
    iteration: int | None
    parameters: str | None
    is_best: bool = False
    problem: str = ""


@attrs.frozen
class SweepResult:
    """The runs of a sweep side by side, in the order of its grid.

    Attributes:
        name: What the names of the runs begin with.
        rows: The runs.
    """

    name: str
    rows: list[SweepRow]

    @property
    def best(self) -> SweepRow | None:
        """The run with the best score; None if there is none, or the criteria differ."""
        return next((row for row in self.rows if row.is_best), None)

    def as_plain(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        rows = [
            {
                "run": row.run.name,
                "values": converter.unstructure(row.values),
                "repetition": row.repetition,
                "status": row.run.status,
                "trained": row.run.trained,
                "iterations": row.run.iterations,
                "ended_early": row.run.ended_early,
                **{name: getattr(row, name) for name in ("criterion", "score", "iteration", "parameters", "is_best")},
                "problem": row.problem or row.run.problem,
            }
            for row in self.rows
        ]
        return without_nan({"name": self.name, "runs": rows})  # type: ignore[no-any-return]

    def __str__(self) -> str:
        """Return a table, in which a star marks the best, and a line for each problem."""
        header = ["run", "status", "trained", "best score", "iteration", "parameters"]
        rows = [
            [
                row.run.name,
                row.run.status,
                row.run.progress + row.run.early,
                "" if row.score is None else f"{row.criterion} {row.score:.4g}{' *' if row.is_best else ''}",
                "" if row.iteration is None else str(row.iteration),
                row.parameters or "",
            ]
            for row in self.rows
        ]
        problems = [(row.run.name, row.problem or row.run.problem) for row in self.rows]
        lines = [f"{name}: {' '.join(problem.split())}" for name, problem in problems if problem]
        return "\n".join([text_table(header, rows), *lines])


@Options.kept()
def sweep(
    spec: Mapping[str, Any] | Path | str,
    criterion: str | None = None,
    max_memory: str | int | None = None,
    check: bool = True,
    loggers: Sequence[str | Logger] | str | Logger | None = None,
) -> SweepResult:
    """Train all combinations of some settings, one after another, and compare the runs.

    All configs are checked, then stored, then trained. Runs that are finished are skipped, those that were interrupted
    resume, and those that another process trains are left to it. A run that fails does not keep the others from being
    trained.

    Args:
        spec: The sweep, as :func:`~dacapo.experiments.sweep_plan.plan_sweep` reads it: a mapping with ``base``,
            ``grid``, ``repetitions`` and ``name``, or a file with one.
        criterion: The score to compare; by default the one that selects the best checkpoint.
        max_memory: As in :func:`dacapo.train`.
        check: As in :func:`dacapo.train`.
        loggers: As in :func:`dacapo.train`.

    Raises:
        ConfigError: If a field or value is wrong, which the message names, parts of a run do not fit together, or a run
            is stored with another config; nothing is stored or trained then.
        SweepError: If the training of a run failed; its ``result`` is what would have been returned.
        KeyboardInterrupt: If Ctrl-C or SIGTERM stopped the training; everything is saved, and the same call goes on.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError("a sweep trains in a single process; start just one, or train its runs one by one")
    plan = plan_sweep(spec)
    check_sweep(plan, criterion)
    store_sweep(plan)
    problems: dict[str, str] = {}
    for number, swept in enumerate(plan.runs, 1):
        name = swept.config.name
        if is_finished(swept.config):
            logger.info("run %d of %d, %s, is finished already", number, len(plan.runs), name)
            continue
        logger.info("run %d of %d: %s", number, len(plan.runs), name)
        try:
            train(name, max_memory, check, loggers=loggers)
        except RunInUseError as error:
            logger.warning("%s; the sweep goes on with the next run", error)
        except DacapoError as error:
            logger.error("run %s failed, the sweep goes on with the next one: %s", name, error)
            problems[name] = str(error)
    result = compare_sweep(plan, criterion, problems)
    if problems:
        failure = SweepError(f"{len(problems)} of {len(plan.runs)} runs failed: {'; '.join(problems.values())}")
        failure.result = result
        raise failure
    return result


def check_sweep(plan: SweepPlan, criterion: str | None = None) -> None:
    """Check everything about the runs of a sweep that can be checked without reading voxels.

    Raises:
        ConfigError: If a run cannot work, or is stored with another config.
        NotFoundError: If a run has no such criterion.
    """
    for swept in plan.runs:
        config = swept.config
        if criterion is not None:
            task = config.task_config.task_type(config.task_config)
            matching_criteria(task.evaluation_scores.criteria, criterion)
        _check_stored(config)
        if is_finished(config):  # its data may have moved since
            continue
        works, why = config.verify()
        if not works:
            raise ConfigError(f"run {config.name!r}: {why}")


def _check_stored(config: RunConfig) -> None:
    stored = _stored(config.name)
    other = [] if stored is None else [in_words(one) for one in changes(stored, config) if one.alters_training]
    if other:
        raise ConfigError(
            f"run {config.name!r} is stored with another config: {'; '.join(other)}. Give the sweep another name, or "
            "delete the run"
        )


def store_sweep(plan: SweepPlan) -> None:
    """Store the configs of the runs of a sweep; a stored run may get longer, but not shorter."""
    store = create_config_store()
    for swept in plan.runs:
        config, stored = swept.config, _stored(swept.config.name)
        if stored is None:
            store.store_run_config(config)
        elif stored != config:
            longest = max(stored.num_iterations, config.num_iterations)
            store.replace_run_config(attrs.evolve(config, num_iterations=longest))


def _stored(name: str) -> RunConfig | None:
    try:
        return create_config_store().retrieve_run_config(name)
    except ConfigNotFoundError:
        return None


def is_finished(config: RunConfig) -> bool:
    """Return whether a run is trained and validated to its end, or ended early before it was to be longer."""
    stats = create_stats_store()
    last = stats.last_training_stats(config.name)
    trained = 0 if last is None else last.iteration + 1
    end = early_end_at(config.name, trained)
    if end is not None and config.early_stopping is not None and config.num_iterations <= end.num_iterations:
        return True
    if trained < config.num_iterations:
        return False
    if getattr(config.datasplit_config, "validate_configs", True) in (None, []):
        return True
    return any(one.iteration == trained for one in stats.retrieve_validation_iteration_scores(config.name))


def compare_sweep(
    plan: SweepPlan, criterion: str | None = None, problems: Mapping[str, str] | None = None
) -> SweepResult:
    """Return what the runs of a sweep have reached so far.

    Args:
        plan: The sweep. Those of its runs that are not stored yet are left out, which a warning says.
        criterion: The score to compare; by default the one that selects the best checkpoint.
        problems: Why runs failed, by name.
    """
    catalogue = Catalogue()
    stored = set(catalogue.names())
    missing = [swept.config.name for swept in plan.runs if swept.config.name not in stored]
    if missing:
        logger.warning("not stored yet: %s", ", ".join(missing))
    runs = [swept for swept in plan.runs if swept.config.name in stored]
    rows = [_row(catalogue, swept, criterion, (problems or {}).get(swept.config.name, "")) for swept in runs]
    return SweepResult(plan.name, _with_best_marked(rows, catalogue))


def _with_best_marked(rows: list[SweepRow], catalogue: Catalogue) -> list[SweepRow]:
    """Mark the run with the best score, unless the runs have different criteria."""
    scored = [row for row in rows if row.score is not None and row.criterion is not None]
    criteria = {row.criterion for row in scored}
    if len(criteria) != 1:
        return rows
    book, (criterion,) = catalogue.scores(scored[0].run.name), criteria
    higher = book.is_higher_better(matching_criteria(book.criteria, str(criterion))[0])
    index, found = first_best([float("nan") if row.score is None else row.score for row in rows], higher)
    return [attrs.evolve(row, is_best=bool(found and number == index)) for number, row in enumerate(rows)]


def _row(catalogue: Catalogue, swept: SweptRun, criterion: str | None, problem: str) -> SweepRow:
    name = swept.config.name
    summary = summary_of(catalogue, name)
    wanted = criterion or summary.criterion
    best = None if wanted is None or summary.problem else catalogue.scores(name).best(wanted)
    return SweepRow(
        swept.values,
        swept.config.repetition,
        summary,
        wanted,
        None if best is None else best.value,
        None if best is None else best.iteration,
        None if best is None else str(best.parameters),
        problem=problem,
    )
