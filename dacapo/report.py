"""A report on runs: one HTML file that holds everything inside itself, to read, print, send and keep."""

from __future__ import annotations

import datetime
import logging
from importlib.metadata import version
from pathlib import Path

import attrs

from dacapo.errors import ConfigError, DacapoError
from dacapo.experiments.config_differences import config_differences
from dacapo.options import Options
from dacapo.store.files import write_text
from dacapo.web.catalogue import Catalogue
from dacapo.web.pages import inside_page, render
from dacapo.web.run_view import RunView, compare_charts, view_run, with_leader
from dacapo.web.slices import Slices, slices_of

logger = logging.getLogger(__name__)


def report(
    *runs: str,
    output: Path | str | None = None,
    criterion: str | None = None,
    predict: bool = True,
    title: str | None = None,
) -> Path:
    """Write a report on stored runs, and return its path.

    It is one HTML file of some hundred kilobytes that needs no network: losses, scores by dataset, parameters and
    criterion, what is best and why, configs and their differences, and sections through the validation data with truth,
    prediction and the best segmentation side by side.

    Args:
        *runs: Names of the runs.
        output: The file, by default ``<run>.html`` or ``runs.html`` in the working directory; it is replaced.
        criterion: The criterion that decides, by default the variation of information, or the first of the task.
        predict: Whether to predict the sections with the best checkpoint, of which validation keeps segmentations only.
        title: Title of the report.

    Raises:
        ConfigNotFoundError: If no run of a name is stored.
        ConfigError: If no run is given, or none has the criterion.
        StorageError: If the file cannot be written.
    """
    if not runs:
        raise ConfigError("report needs the name of at least one run; dacapo runs lists them")
    found, names = Catalogue(), list(dict.fromkeys(runs))
    views = [view_run(found, name, criterion) for name in names]
    if criterion is not None and not any(criterion in view.criteria for view in views):
        known = sorted({name for view in views for name in view.criteria})
        raise ConfigError(f"no run has the criterion {criterion!r}; known are {', '.join(known) or 'none'}")
    views = with_leader(
        [
            attrs.evolve(view, id=f"run-{number}", slices=_slices(found, view, predict))
            for number, view in enumerate(views, start=1)
        ]
    )
    path = Path(output) if output is not None else Path(f"{names[0] if len(names) == 1 else 'runs'}.html")
    page = render(
        "report.html",
        **inside_page(),
        title=title or (f"Report on {names[0]}" if len(names) == 1 else f"Report on {len(names)} runs"),
        place="",
        date=datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
        version=version("dacapo"),
        runs=views,
        figures=compare_charts(found, views, views[0].criterion) if len(views) > 1 else [],
        differences=config_differences([found.config(view.name) for view in views if view.settings]),
    )
    write_text(path, page)
    return path


def _slices(found: Catalogue, view: RunView, predict: bool) -> list[Slices]:
    if view.problem:
        return []
    book = found.scores(view.name)
    try:
        return slices_of(book, view.criterion, Options.instance(), predict)
    except DacapoError as error:
        logger.warning("run %s: the data of the report cannot be shown: %s", view.name, error)
        return [Slices("Validation data", problem=str(error))]
