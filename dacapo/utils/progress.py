"""Progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar, cast, overload

from tqdm import tqdm

from dacapo.utils.distributed import is_main

T = TypeVar("T")


@overload
def progress(*, total: float | None = None, desc: str = "", unit: str = "it") -> tqdm[None]: ...


@overload
def progress(iterable: Iterable[T], *, total: float | None = None, desc: str = "", unit: str = "it") -> tqdm[T]: ...


def progress(
    iterable: Iterable[Any] | None = None, *, total: float | None = None, desc: str = "", unit: str = "it"
) -> tqdm[Any]:
    """Return a progress bar on stderr, which stays silent if stderr is not a terminal, or on ranks other than 0.

    Args:
        iterable: The iterable to walk through; None for a bar that is advanced by its ``update``.
        total: Number of steps, if ``iterable`` has no length.
        desc: Text before the bar.
        unit: Name of a step.

    >>> list(progress([1, 2, 3], desc="counting"))
    [1, 2, 3]
    """
    # None makes tqdm show the bar only on a terminal.
    disable = None if is_main() else True
    bar = tqdm(iterable, total=total, desc=desc, unit=unit, file=sys.stderr, disable=disable, dynamic_ncols=True)
    return cast("tqdm[Any]", bar)
