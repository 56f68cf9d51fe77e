"""The position in the world that the attributes of an array in a container state, and those of the groups above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .containers import group_attributes
from .metadata import ArrayMetadata, Candidates
from .n5_metadata import n5_candidates
from .ome_metadata import ome_candidates
from .placement import metadata_from, stated_in
from .plain_metadata import plain_candidates
from .stored_array import StoredArray


def metadata_of(found: StoredArray, shape: tuple[int, ...], **overrides: Any) -> ArrayMetadata:
    """Read the position of an array in the world.

    Args:
        found: The array.
        shape: Its shape.
        **overrides: Values in place of those in the attributes; see :func:`.metadata_from`.

    Raises:
        MetadataError: If the attributes contradict each other or the shape.
    """
    return metadata_from(found.where, shape, _candidates(found), **overrides)


def stated_metadata(found: StoredArray) -> frozenset[str]:
    """Return which of ``axes``, ``voxel_size`` and ``offset`` the attributes of an array state."""
    return stated_in(_candidates(found))


def _candidates(found: StoredArray) -> Candidates:
    candidates = Candidates()
    if found.format == "n5":
        n5_candidates(found.where, [found.attributes, group_attributes(found.path.parent)], candidates)
    else:
        plain_candidates(found.where, found.attributes, candidates)
    names = found.header.get("dimension_names")
    if not candidates.axes and names and all(isinstance(name, str) and name for name in names):
        candidates.axes.append(("dimension_names", list(names)))
    _ome_above(found, candidates)
    return candidates


def _ome_above(found: StoredArray, candidates: Candidates) -> None:
    """Look for multiscales in the groups above an array, from the innermost up to the container."""
    parts = found.dataset.split("/") if found.dataset else []
    for depth in reversed(range(len(parts))):
        attributes = group_attributes(found.container.joinpath(*parts[:depth]))
        nested = attributes.get("ome")
        multiscales = (nested if isinstance(nested, Mapping) else attributes).get("multiscales")
        if multiscales and ome_candidates(found.where, multiscales, "/".join(parts[depth:]), candidates):
            return
