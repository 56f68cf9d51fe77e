"""Compare stored runs: the fields in which their configs differ, and their best scores."""

from __future__ import annotations

import math
from typing import Any

import attrs

from dacapo.errors import ConfigError, DacapoError
from dacapo.experiments.config_differences import Difference, config_differences
from dacapo.experiments.score_book import Best
from dacapo.runs.listing import RunSummary, summary_of
from dacapo.utils.plain_json import without_nan
from dacapo.utils.ranking import first_best
from dacapo.utils.text_table import text_table
from dacapo.web.catalogue import Catalogue

_WIDEST = 48


@attrs.frozen
class ScoreRow:
    """The best score of each run by one criterion, on all its validation datasets together.

    Attributes:
        criterion: The criterion.
        higher_is_better: Whether higher scores are better.
        best: For each run, its best; None without one.
        leader: Name of the run with the best score, None unless several have one.
    """

    criterion: str
    higher_is_better: bool
    best: list[Best | None]
    leader: str | None


@attrs.frozen
class Comparison:
    """Several runs side by side.

    Attributes:
        runs: A summary of each.
        differences: Settings in which their configs differ, with the value in each; unreadable configs have none.
        scores: Their best scores by criterion. Scores of runs with different validation data do not compare.
        notes: Reasons why scores may not compare.
    """

    runs: list[RunSummary]
    differences: list[Difference]
    scores: list[ScoreRow]
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """Names of the runs."""
        return [run.name for run in self.runs]

    def as_plain(self) -> dict[str, Any]:
        """Return plain values, for JSON; what belongs to a run is keyed by its name."""
        scores = [
            {
                "criterion": row.criterion,
                "higher_is_better": row.higher_is_better,
                "best": {n: b and attrs.asdict(b) for n, b in zip(self.names, row.best, strict=True)},
                "leader": row.leader,
            }
            for row in self.scores
        ]
        differences = [
            {"place": one.place, "values": dict(zip(self.names, one.values, strict=True))} for one in self.differences
        ]
        runs = [run.as_plain() for run in self.runs]
        return without_nan(  # type: ignore[no-any-return]
            {"runs": runs, "differences": differences, "scores": scores, "notes": self.notes}
        )

    def __str__(self) -> str:
        """Return two tables: progress and scores, of which the best are marked by ``*``, and differing settings."""
        rows = [
            ["trained", *(run.progress + run.early for run in self.runs)],
            ["last loss", *("" if run.loss is None else f"{run.loss:.4g}" for run in self.runs)],
        ]
        for row in self.scores:
            arrow = "higher" if row.higher_is_better else "lower"
            rows.append([f"{row.criterion} ({arrow} is better)", *self._cells(row)])
        settings = [
            [one.place, *("-" if value is None else _short(value) for value in one.values)] for one in self.differences
        ]
        same = "The configs differ in nothing but their names."
        tables = [text_table(["", *self.names], rows)]
        tables.append(text_table(["setting", *self.names], settings) if settings else same)
        problems = [f"{run.name}: {' '.join(run.problem.split())}" for run in self.runs if run.problem]
        return "\n\n".join([*tables, *self.notes, *problems])

    def _cells(self, row: ScoreRow) -> list[str]:
        return [
            "" if best is None else f"{best.value:.4g} at {best.iteration}{' *' if name == row.leader else ''}"
            for name, best in zip(self.names, row.best, strict=True)
        ]


def compare_runs(*names: str) -> Comparison:
    """Return the differences between stored runs, and their best scores side by side.

    Args:
        *names: Names of at least two runs.

    Raises:
        ConfigNotFoundError: If no run of a name is stored.
        ConfigError: If fewer than two different names are given.
    """
    distinct = list(dict.fromkeys(names))
    if len(distinct) < 2:
        raise ConfigError(f"a comparison needs the names of at least two runs, got {', '.join(names) or 'none'}")
    runs = Catalogue()
    for name in distinct:
        runs.configs.run_config_state(name)  # raises an error if it is not stored
    summaries = [summary_of(runs, name) for name in distinct]
    bests = [_bests(runs, name) for name in distinct]
    criteria = dict.fromkeys(criterion for found in bests for criterion in found)
    return Comparison(
        summaries,
        _differences(runs, distinct),
        [_row(criterion, distinct, [found.get(criterion) for found in bests]) for criterion in criteria],
        _notes(runs, distinct),
    )


def _bests(runs: Catalogue, name: str) -> dict[str, Best]:
    """Return the best by each main criterion, on all validation datasets."""
    try:
        book = runs.scores(name)
    except DacapoError:  # the summary says why
        return {}
    found: dict[str, Best] = {}
    for best in book.best_of_each(book.main_criteria[0]) if book.main_criteria else []:
        found.setdefault(best.criterion, best)  # the first one is on all
    return found


def _row(criterion: str, names: list[str], bests: list[Best | None]) -> ScoreRow:
    higher = next(best.higher for best in bests if best is not None)
    index, found = first_best([math.nan if best is None else best.value for best in bests], higher)
    several = sum(best is not None for best in bests) > 1
    return ScoreRow(criterion, higher, bests, names[int(index)] if found and several else None)


def _differences(runs: Catalogue, names: list[str]) -> list[Difference]:
    configs = {}
    for name in names:
        try:
            configs[name] = runs.config(name)
        except DacapoError:  # the summary says why
            continue
    places = {name: number for number, name in enumerate(configs)}
    found = config_differences(list(configs.values()))
    return [
        Difference(one.place, [one.values[places[name]] if name in places else None for name in names]) for one in found
    ]


def _notes(runs: Catalogue, names: list[str]) -> list[str]:
    data = {}
    for name in names:
        try:
            data[name] = runs.scores(name).datasets
        except DacapoError:  # the summary says why
            continue
    scored = {name: datasets for name, datasets in data.items() if datasets}
    if len({tuple(datasets) for datasets in scored.values()}) < 2:
        return []
    listed = "; ".join(f"{name}: {', '.join(datasets)}" for name, datasets in scored.items())
    return [f"Scores do not compare, since the runs are validated on different datasets ({listed})."]


def _short(value: str) -> str:
    return value if len(value) <= _WIDEST else f"{value[: _WIDEST - 3]}..."
