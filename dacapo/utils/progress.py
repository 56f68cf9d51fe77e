"""Progress of long work: bars on terminals and in notebooks, log lines everywhere else."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast, overload

from tqdm import tqdm

from dacapo.options import Options
from dacapo.utils.distributed import is_main

T = TypeVar("T")
Status = Callable[[], str]

logger = logging.getLogger(__name__)


@overload
def progress(
    *, total: float | None = None, desc: str = "", unit: str = "it", status: Status | None = None
) -> tqdm[None]: ...


@overload
def progress(
    iterable: Iterable[T],
    *,
    total: float | None = None,
    desc: str = "",
    unit: str = "it",
    status: Status | None = None,
) -> tqdm[T]: ...


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: float | None = None,
    desc: str = "",
    unit: str = "it",
    status: Status | None = None,
) -> tqdm[Any]:
    """Return a progress bar; only rank 0 shows it.

    On a terminal it is drawn on stderr, in a notebook below the cell. Anywhere else, such as in a batch job, a line is
    logged every so many seconds as the option ``progress_seconds`` says, so that quick work stays silent.

    Args:
        iterable: The iterable to walk through; None for a bar that is advanced by its ``update``.
        total: Number of steps, if ``iterable`` has no length.
        desc: Text before the bar.
        unit: Name of a step.
        status: Returns what a log line says beside the progress; called once for each line.

    >>> list(progress([1, 2, 3], desc="counting"))
    [1, 2, 3]
    """
    shared: dict[str, Any] = {"total": total, "desc": desc, "unit": unit}
    if not is_main():
        bar: Any = tqdm(iterable, disable=True, **shared)
    elif _in_notebook():
        bar = _notebook_bar()(iterable, **shared)
    elif sys.stderr.isatty():
        bar = tqdm(iterable, file=sys.stderr, dynamic_ncols=True, **shared)
    else:
        bar = LoggedBar(iterable, status=status, **shared)
    return cast("tqdm[Any]", bar)


class LoggedBar(tqdm):  # type: ignore[type-arg]
    """Progress as lines in the log, without a bar."""

    monitor_interval = 0

    def __init__(self, iterable: Iterable[Any] | None, status: Status | None, **how: Any) -> None:
        """Begin; the first line comes after the option ``progress_seconds``."""
        seconds = Options.instance().progress_seconds
        self._status = status
        self._first = True
        # With miniters, every step looks at the clock, which needs no thread that watches.
        how |= {"mininterval": seconds, "miniters": 1, "disable": seconds == 0, "leave": False}
        super().__init__(iterable, file=sys.stderr, **how)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Log a line; tqdm calls this when one is due."""
        if self._first:  # at the beginning
            self._first = False
        elif self.n < (self.total or self.n + 1):
            _say(self._line())

    def clear(self, nolock: bool = False) -> None:
        """Do nothing: lines in a log stay."""

    def close(self) -> None:
        """End without a last line."""
        self._first = True
        super().close()

    def _line(self) -> str:
        state = self.format_dict
        rate = state["rate"] or (state["n"] - state["initial"]) / max(state["elapsed"], 1e-9)
        parts = [f"{self.desc.removesuffix(': ')}: {state['n']} of {state['total']} {state['unit']}s"]
        if self._status is not None:
            parts.append(self._status())
        parts.append(f"{rate:.3g} {state['unit']}s/s" if rate >= 1 or not rate else f"{1 / rate:.3g} s/{state['unit']}")
        if rate and state["total"]:
            parts.append(f"{tqdm.format_interval((state['total'] - state['n']) / rate)} left")
        return ", ".join(parts)


def _say(line: str) -> None:
    """Log a line, or write it to stderr in a script that has set up no logging."""
    if logger.hasHandlers():
        logger.info("%s", line)
    else:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _notebook_bar() -> Callable[..., Any]:
    """Return the kind of bar for a notebook: a widget, or text where widgets are not installed."""
    if importlib.util.find_spec("ipywidgets") is None:
        return lambda iterable, **how: tqdm(iterable, file=sys.stderr, ncols=100, **how)
    from tqdm.notebook import tqdm as widget_bar

    return cast("Callable[..., Any]", widget_bar)
