"""Signed distances to the boundaries of labels, and where they can be trusted.

A boundary lies between two voxels that share a face and carry different labels, in the middle of that face. So the
two voxels at a boundary are half a voxel away from it, one inside and one outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError, DtypeError

# A distance is trusted where the edge of the known region is farther away than the boundary by at least this margin,
# or farther than SATURATION at all; both in units of tanh(distance / scale).
MARGIN = 0.05
SATURATION = 0.8


def signed_distance(labels: npt.NDArray[Any], voxel_size: Sequence[float]) -> npt.NDArray[np.float32]:
    """Compute the distance of every voxel center to the nearest boundary.

    Args:
        labels: Spatial array of integers or bool, 0 is outside. A boundary also lies between two different labels.
        voxel_size: Size of a voxel along each axis.

    Returns:
        Distances in the units of ``voxel_size``, positive on labels, negative on 0. Without any boundary, half
        the shortest edge of the volume stands for the unknown distance.

    Raises:
        DtypeError: If the labels are neither integers nor bool.
    """
    if labels.dtype.kind not in "biu":
        raise DtypeError(f"distances need labels of an integer type or bool, not {labels.dtype}; threshold them first")
    distance = np.full(labels.shape, np.inf, dtype=np.float32)
    for axis in range(labels.ndim):
        _lower_to_boundary(distance, labels, voxel_size, axis)
    if np.isinf(distance.flat[0]):
        edges = [size * v for size, v in zip(labels.shape, voxel_size, strict=True)]
        distance[...] = min(edges) / 2
    np.negative(distance, out=distance, where=labels == 0)
    return distance


def _lower_to_boundary(
    distance: npt.NDArray[np.float32], labels: npt.NDArray[Any], voxel_size: Sequence[float], axis: int
) -> None:
    """Lower distances to the nearest boundary between neighbors along one axis, if there is any.

    The middles of the faces get a place of their own on a grid of twice the resolution along this axis only, which
    takes far less memory than doubling all axes at once.
    """
    import edt

    along = np.moveaxis(labels, axis, 0)
    changes = along[1:] != along[:-1]
    if not changes.any():
        return
    shape = list(labels.shape)
    shape[axis] = 2 * shape[axis] - 1
    grid = np.ones(shape, dtype=np.uint8)  # edt takes half as long again for bool
    np.moveaxis(grid, axis, 0)[1::2] = ~changes
    spacing = [v / 2 if a == axis else v for a, v in enumerate(voxel_size)]
    reached = np.moveaxis(edt.edt(grid, anisotropy=tuple(spacing)), axis, 0)[::2]
    np.minimum(distance, np.moveaxis(reached, 0, axis), out=distance)


def trusted_distances(
    distances: npt.NDArray[np.floating],
    mask: npt.NDArray[Any],
    voxel_size: Sequence[float],
    scale: float | None = None,
) -> npt.NDArray[np.bool_]:
    """Return where a distance cannot be wrong because of boundaries that nobody annotated.

    A boundary may hide right behind the edge of the annotated region. The distance of a voxel is trusted if that edge
    is farther away.

    Args:
        distances: Spatial array of signed distances in world units, or of tanh(distance / ``scale``).
        mask: Array of the same shape, not 0 where annotated. Voxels outside of the array are not annotated.
        voxel_size: World units.
        scale: The scale of the distances, None if they are in world units. With a scale, the edge has to be farther
            than the boundary by ``MARGIN``; voxels farther from the edge than ``SATURATION`` are trusted in any case.

    Returns:
        True where annotated and trusted.
    """
    import edt

    known: npt.NDArray[np.bool_] = np.asarray(mask) != 0
    to_edge: npt.NDArray[np.float32] = edt.edt(
        np.ascontiguousarray(known).view(np.uint8), anisotropy=tuple(float(v) for v in voxel_size), black_border=True
    )
    if scale is None:
        known &= to_edge >= np.abs(distances)
    else:
        edge = np.tanh(to_edge / np.float32(scale))
        known &= (edge >= SATURATION) | (edge >= np.abs(distances) + MARGIN)
    return known


def normalize_distances(
    distances: npt.NDArray[np.float32], normalize: str | None, scale: float | None
) -> npt.NDArray[np.float32]:
    """Bring distances into the range -1 to 1.

    Args:
        distances: World units.
        normalize: "tanh" for tanh(distance / ``scale``), None to leave them as they are.
        scale: World units.

    Raises:
        ConfigError: If the way is unknown, or "tanh" comes without a positive scale.
    """
    tanh_scale = scale_of(normalize, scale)
    if tanh_scale is None:
        return distances
    normalized: npt.NDArray[np.float32] = np.tanh(distances / np.float32(tanh_scale))
    return normalized


def scale_of(normalize: str | None, scale: float | None) -> float | None:
    """Return the scale of normalized distances, None for distances in world units.

    Raises:
        ConfigError: If the way is unknown, or "tanh" comes without a positive scale.
    """
    if normalize is None:
        return None
    if normalize != "tanh":
        raise ConfigError(f"unknown way to normalize distances: {normalize!r}; use 'tanh' or None")
    if scale is None or scale <= 0:
        raise ConfigError(f"distances are normalized with a positive scale, not with {scale}")
    return scale
