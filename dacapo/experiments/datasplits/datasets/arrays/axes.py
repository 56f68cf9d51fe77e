"""Names of axes."""

from __future__ import annotations

import re
from collections.abc import Sequence

NON_SPATIAL_AXES = ("b", "c")
"""Names of the axes without an extent in the world: batch and channel."""

TIME_AXES = ("t", "time")
"""Names of the axis whose entries are points in time, which are counted; select one to get an image in space."""

CHUNK_EDGE = {1: 2**18, 2: 512, 3: 64}
"""Edge length in voxels of a chunk that a viewer loads quickly, by the number of spatial axes."""

# All axes in one word, such as zyx, czyx or c^zyx.
_WORD = re.compile(r"(?:[bctzyx]\^?)+", re.IGNORECASE)


def axis_names(given: str | Sequence[str]) -> list[str]:
    """Return the name of each axis, from any supported notation.

    Supported are a list of names, one word with a letter per axis, and a list that holds such a word. A ``^`` marks a
    nonspatial axis: ``b^`` is the batch, any other the channels.

    >>> axis_names(["c^", "z", "y", "x"]), axis_names(["zyx"]), axis_names("c, y, x")
    (['c', 'z', 'y', 'x'], ['z', 'y', 'x'], ['c', 'y', 'x'])
    """
    names = re.split(r"[\s,]+", given.strip()) if isinstance(given, str) else [str(name) for name in given]
    if len(names) == 1 and _WORD.fullmatch(names[0]):
        names = re.findall(r".\^?", names[0].lower()) if len(names[0].rstrip("^")) > 1 else names
    return [name if not name.endswith("^") else "b" if name == "b^" else "c" for name in names]


def spatial_axes_of(axes: list[str]) -> list[str]:
    """Return the axes with an extent in the world, in order."""
    return [axis for axis in axes if axis not in NON_SPATIAL_AXES]
