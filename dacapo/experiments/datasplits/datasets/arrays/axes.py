"""Names of axes."""

from __future__ import annotations

NON_SPATIAL_AXES = ("b", "c")
"""Names of the axes that have no extent in the world: batch and channel."""


def spatial_axes_of(axes: list[str]) -> list[str]:
    """Return the axes that have an extent in the world, in their order."""
    return [axis for axis in axes if axis not in NON_SPATIAL_AXES]
