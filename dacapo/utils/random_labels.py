"""Grow labels, fill the space between them, and find their borders.

Distances are between voxel centers. A spacing is the distance of neighboring voxels along each axis, in the unit of
the other distances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[Any]


def dilate_labels(labels: Labels, radii: Mapping[int, float], spacing: Sequence[float]) -> Labels:
    """Grow labels into the background, each by its own radius.

    Args:
        labels: Labels, with 0 as background.
        radii: Radius by label; labels without a radius stay unchanged.
        spacing: Distance of neighboring voxels along each axis.

    Returns:
        New labels. If several labels reach a background voxel, the nearest one wins, then the smallest.
    """
    from scipy.ndimage import distance_transform_edt, find_objects

    grown = labels.copy()
    nearest = np.where(labels == 0, np.inf, 0.0)
    kinds, compact = np.unique(labels, return_inverse=True)
    boxes = find_objects(compact.reshape(labels.shape) + 1, len(kinds))
    for kind, box in zip(kinds.tolist(), boxes, strict=True):
        if kind == 0 or kind not in radii:
            continue
        reach = [int(radii[kind] / step) for step in spacing]
        around = tuple(slice(max(0, s.start - r), s.stop + r) for s, r in zip(box, reach, strict=True))
        distance = distance_transform_edt(labels[around] != kind, sampling=spacing)
        wins = (distance <= radii[kind]) & (distance < nearest[around])
        grown[around][wins] = kind
        nearest[around][wins] = distance[wins]
    return grown


def fill_background(labels: Labels, spacing: Sequence[float], background: int = 0) -> Labels:
    """Assign the nearest label to each background voxel; without labels nothing changes.

    Args:
        labels: Labels.
        spacing: Distance of neighboring voxels along each axis.
        background: The label to fill.
    """
    from scipy.ndimage import distance_transform_edt

    empty = labels == background
    if empty.all() or not empty.any():
        return labels.copy()
    places = distance_transform_edt(empty, sampling=spacing, return_distances=False, return_indices=True)
    filled: Labels = labels[tuple(places)]
    return filled


def membranes(labels: Labels, thickness: float, spacing: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Return the voxels of objects within a given distance of a voxel that is not of the same object.

    Args:
        labels: Labels, with 0 as background, which has no membrane. The end of the volume is not a border.
        thickness: The distance, in the unit of the spacing.
        spacing: Distance of neighboring voxels along each axis.
    """
    import edt

    _, compact = np.unique(labels, return_inverse=True)
    # For distances, the background counts as an object too.
    objects = np.ascontiguousarray(compact.reshape(labels.shape) + 1, dtype=np.uint32)
    distance = edt.edt(objects, anisotropy=tuple(map(float, spacing)), black_border=False)
    inside: npt.NDArray[np.bool_] = (labels != 0) & (distance <= thickness * (1 + 1e-6))
    return inside
