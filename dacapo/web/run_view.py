"""What a page shows of one run, and of several beside each other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs
import numpy as np
from markupsafe import Markup

from dacapo.errors import DacapoError
from dacapo.experiments.config_differences import settings_of
from dacapo.experiments.score_book import Best, ScoreBook
from dacapo.experiments.selection import Selection
from dacapo.experiments.training_session import session_rows, sessions_of
from dacapo.utils.ranking import first_best
from dacapo.web.catalogue import Card, Catalogue
from dacapo.web.chart import Line, line_chart, number_text


@attrs.frozen
class Row:
    """The scores of one dataset with one set of parameters."""

    dataset: str
    parameters: str
    values: list[float]
    best: bool


@attrs.frozen
class Table:
    """The scores of an iteration."""

    iteration: int
    criteria: list[str]
    rows: list[Row]


@attrs.frozen
class RunView:
    """One run on a page.

    Attributes:
        card: Its line in the list.
        facts: Names and values at the top.
        settings: All settings of the config by path.
        criteria: The criteria to choose from; the first one decides by default.
        criterion: The criterion that the page is about, None if the run has none.
        best: The best by this criterion on all datasets, then by dataset and criterion.
        table: The scores of the best iteration.
        figures: Titles and charts.
        id: Anchor in a report.
        slices: Pictures in a report.
        sessions: A row of a table for each training session.
        leads: Whether it is the best of several.
    """

    card: Card
    facts: list[tuple[str, str]]
    settings: Mapping[str, str]
    criteria: list[str] = attrs.field(factory=list)
    criterion: str | None = None
    best: list[Best] = attrs.field(factory=list)
    table: Table | None = None
    figures: list[tuple[str, Markup]] = attrs.field(factory=list)
    id: str = ""
    slices: list[Any] = attrs.field(factory=list)
    sessions: list[tuple[str, ...]] = attrs.field(factory=list)
    leads: bool = False
    problem: str = ""

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.card.name


def view_run(runs: Catalogue, name: str, criterion: str | None = None, scale: str = "auto") -> RunView:
    """Return what a page shows of a run.

    Args:
        runs: The runs.
        name: Name of one.
        criterion: The criterion to show, by default the one that decides.
        scale: Scale of losses.

    Raises:
        ConfigNotFoundError: If no run of that name is stored.
    """
    card = runs.card(name)
    settings: Mapping[str, str] = {}
    problem, book = card.problem, None
    sessions: list[tuple[str, ...]] = []
    try:
        sessions = session_rows(sessions_of(name, runs.options))
        settings = settings_of(runs.config(name))
        book = runs.scores(name)
    except DacapoError as error:
        problem = str(error)
    view = RunView(card, _facts(card), settings, sessions=sessions, problem=problem)
    figures = [("Loss", loss_chart(runs, [name], scale))]
    if book is None or not book.main_criteria:
        return attrs.evolve(view, figures=figures)
    criterion = criterion if criterion in book.criteria else book.main_criteria[0]
    best = book.best_of_each(criterion)
    chosen = book.best(criterion)
    marked = None if chosen is None else chosen.iteration
    lines = [
        Line(dataset, np.array(book.iterations), book.course(criterion, number), marked=marked)
        for number, dataset in enumerate(book.datasets)
    ]
    figures.append((_title(book, criterion), line_chart(lines, "iteration", criterion, "linear", points=True)))
    table = None if chosen is None else _table(book, chosen, criterion)
    criteria = [*book.main_criteria, *(name for name in book.criteria if name not in book.main_criteria)]
    return attrs.evolve(view, criteria=criteria, criterion=criterion, best=best, table=table, figures=figures)


def compare_charts(
    runs: Catalogue, views: Sequence[RunView], criterion: str | None, scale: str = "auto"
) -> list[tuple[str, Markup]]:
    """Return titles and charts of several runs: losses, and the mean score over the datasets of each."""
    names = [view.name for view in views]
    figures = [("Loss", loss_chart(runs, names, scale))]
    lines, title = [], ""
    for view in views:
        if criterion is None or criterion not in view.criteria or view.problem:
            continue
        book = runs.scores(view.name)
        title = _title(book, criterion)
        courses = np.array([book.course(criterion, number) for number in range(len(book.datasets))])
        means = courses.mean(axis=0) if len(courses) else np.empty(0)
        chosen = book.best(criterion)
        marked = None if chosen is None else chosen.iteration
        lines.append(Line(view.name, np.array(book.iterations), means, marked=marked))
    if lines:
        figures.append((title, line_chart(lines, "iteration", f"mean {criterion}", "linear", points=True)))
    return figures


def with_leader(views: Sequence[RunView]) -> list[RunView]:
    """Mark the run with the best score, if all that have scores have the same criterion."""
    scored = [view for view in views if view.best]
    if len({view.best[0].criterion for view in scored}) != 1 or len(views) < 2:
        return list(views)
    index, found = first_best([view.best[0].value for view in scored], scored[0].best[0].higher)
    leader = scored[int(index)] if found else None
    return [attrs.evolve(view, leads=view is leader) for view in views]


def loss_chart(runs: Catalogue, names: Sequence[str], scale: str) -> Markup:
    """Return a chart of the losses of runs; the band of a single one reaches from the lowest to the highest."""
    lines = []
    for name in names:
        x, means, low, high = runs.losses(name).points()
        alone = len(names) == 1
        lines.append(Line(name, x, means, low if alone else None, high if alone else None))
    return line_chart(lines, "iteration", "loss", scale)


def ago(seconds: float | None, now: float | None = None) -> str:
    """Return a point in time in words.

    >>> [ago(1000, now) for now in (1010, 1090, 10_000, 200_000)]
    ['just now', '1 min ago', '2 h ago', '2 days ago']
    """
    if seconds is None:
        return ""
    passed = max(0.0, (time.time() if now is None else now) - seconds)
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        count = int(passed // length)
        if count >= (2 if unit == "days" else 1):
            return f"{count} {unit} ago"
    return "just now"


def _facts(card: Card) -> list[tuple[str, str]]:
    of = "" if card.wanted is None else f" of {card.wanted:,}"
    facts = [("Status", card.status), ("Trained", f"{card.trained:,}{of} iterations")]
    if card.loss is not None:
        facts.append(("Last loss", number_text(card.loss)))
    facts.append(("Validations", f"{card.validated:,}"))
    if card.changed is not None:
        facts.append(("Changed", datetime.fromtimestamp(card.changed).strftime("%Y-%m-%d %H:%M")))
    return facts + list(zip(("Task", "Architecture", "Trainer", "Data split"), card.parts, strict=False))


def _title(book: ScoreBook, criterion: str) -> str:
    better = "higher" if book.is_higher_better(criterion) else "lower"
    return f"{criterion} with the best parameters ({better} is better)"


def _table(book: ScoreBook, chosen: Selection, criterion: str) -> Table:
    """Return the scores of the chosen iteration, those of the chosen parameters marked."""
    number = book.iterations.index(chosen.iteration)
    criteria = list(dict.fromkeys([criterion, *book.criteria]))
    order = [book.criteria.index(name) for name in criteria]
    rows = [
        Row(
            dataset,
            str(parameters),
            [float(book.values[number, d, p, c]) for c in order],
            parameters == chosen.parameters,
        )
        for d, dataset in enumerate(book.datasets)
        for p, parameters in enumerate(book.parameters)
    ]
    return Table(chosen.iteration, criteria, rows)
