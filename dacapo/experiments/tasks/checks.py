"""Checks shared by the configs of several tasks; each returns the problem as a sentence, or None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import TaskConfig


def first_problem(config: TaskConfig, verdict: tuple[bool, str], *problems: str | None) -> tuple[bool, str]:
    """Return the verdict of the base class, or of the first problem found."""
    if not verdict[0]:
        return verdict
    for problem in problems:
        if problem is not None:
            return False, f"{type(config).__name__} {config.name!r}: {problem}"
    return verdict


def names_problem(field: str, names: Sequence[str]) -> str | None:
    """Check that channels or classes have names, all different."""
    if not names:
        return f"{field} is empty, but needs at least one name"
    if len(set(names)) < len(names):
        return f"{field} {list(names)} must all differ, but a name occurs twice"
    return None


def limits_problem(field: str, clipmin: float, clipmax: float) -> str | None:
    """Check the limits of a fraction."""
    prefix = f"{field}_" if field else ""
    if not 0 <= clipmin < clipmax <= 1:
        return (
            f"{prefix}clipmin is {clipmin} and {prefix}clipmax is {clipmax}, "
            "but they are limits of a fraction and need 0 <= clipmin < clipmax <= 1"
        )
    return None


def distances_problem(clip_distance: float, tol_distance: float, scale_factor: float | None = None) -> str | None:
    """Check distances in world units; the scale must be positive, the others nonnegative."""
    for field, distance in (("clip_distance", clip_distance), ("tol_distance", tol_distance)):
        if not distance >= 0:
            return f"{field} is {distance}, but a distance in world units must not be negative"
    if scale_factor is not None and not scale_factor > 0:
        return f"scale_factor is {scale_factor}, but must be a positive distance in world units"
    return None
