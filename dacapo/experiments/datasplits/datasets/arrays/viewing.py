"""Showing arrays in neuroglancer, in place and without copying them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import MissingDependencyError

from .axes import NON_SPATIAL_AXES

if TYPE_CHECKING:
    from .array import Array

# Integers this wide are labels, everything else is shown as an image.
LABEL_BYTES = 4


class VoxelReader:
    """An array that is indexed by slices of voxels and reads only those.

    Args:
        array: What to read.
    """

    def __init__(self, array: Array) -> None:
        self.array = array
        spatial = iter(array.roi.shape / array.voxel_size)
        channels = 0 if array.channel_axis is None else int(array.num_channels or 0)
        self.shape = tuple(channels if axis == "c" else 1 if axis == "b" else int(next(spatial)) for axis in array.axes)
        self.ndim = len(self.shape)
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Read voxels; each slice has a step of one."""
        limits = [part.indices(size) for part, size in zip(index, self.shape, strict=True)]
        inside = [limit for limit, axis in zip(limits, self.array.axes, strict=True) if axis not in NON_SPATIAL_AXES]
        begin, end = (Coordinate(limit[side] for limit in inside) for side in (0, 1))
        voxel_size = self.array.voxel_size
        values = self.array[Roi(self.array.roi.offset + begin * voxel_size, (end - begin) * voxel_size)]
        others = tuple(
            slice(*limit) if axis in NON_SPATIAL_AXES else slice(None)
            for limit, axis in zip(limits, self.array.axes, strict=True)
        )
        return np.asarray(values[others])


def neuroglancer_source(array: Array, unit: str = "nm") -> Any:
    """Return a ``neuroglancer.LocalVolume`` that shows an array at its place in the world.

    Add it to a viewer with ``state.layers[name] = source``. Unsigned integers of 32 and 64 bits are shown as
    segmentations, other types as images.

    Args:
        array: What to show; voxels are read as the viewer asks for them.
        unit: Unit of the world.

    Raises:
        MissingDependencyError: If neuroglancer is not installed.
    """
    try:
        import neuroglancer
    except ImportError as error:
        raise MissingDependencyError(
            "showing arrays needs neuroglancer; install it with: pip install 'dacapo[neuroglancer]'"
        ) from error
    voxel_size, offset = iter(array.voxel_size), iter(array.roi.offset / array.voxel_size)
    dimensions, voxel_offset = {}, []
    for axis in array.axes:
        if axis in NON_SPATIAL_AXES:
            dimensions[f"{axis}^"] = (1, "")
            voxel_offset.append(0)
        else:
            dimensions[axis] = (int(next(voxel_size)), unit)
            voxel_offset.append(int(next(offset)))
    kind = np.dtype(array.dtype)
    labels = kind.kind == "u" and kind.itemsize >= LABEL_BYTES
    return neuroglancer.LocalVolume(
        VoxelReader(array),
        dimensions=neuroglancer.CoordinateSpace(
            names=list(dimensions),
            units=[unit_ for _, unit_ in dimensions.values()],
            scales=[scale for scale, _ in dimensions.values()],
        ),
        voxel_offset=voxel_offset,
        volume_type="segmentation" if labels else "image",
    )
