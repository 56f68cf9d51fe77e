"""One piece of work, done by the package and by another."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from dacapo.utils.text_table import text_table

from ..harness import Case, Timing

HEADER = ("work", "beside", "ours [ms]", "other [ms]", "ratio", "quartiles", "of the limit")


@attrs.frozen
class Comparison:
    """The same work done by the package and by another, whose time stands in place of the floor.

    Attributes:
        work: What is done.
        other: The other package.
        case: Both ways, and what must be equal.
        limit: Returns the time of the machine's limit in seconds: of its memory, or of its products of matrices.
    """

    work: str
    other: str
    case: Case
    limit: Callable[[], float]


def table(timings: list[tuple[Comparison, Timing]]) -> str:
    """Return timings as text; the last column is the limit by the time of ours."""
    rows = []
    for comparison, timing in timings:
        _, *numbers, _ = timing.row()
        ours = sorted(timing.ours)[len(timing.ours) // 2]
        rows.append([comparison.work, comparison.other, *numbers, f"{comparison.limit() / ours:.0%}"])
    return text_table(HEADER, rows)
