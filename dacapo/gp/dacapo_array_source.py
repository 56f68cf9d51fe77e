"""Arrays as sources of a gunpowder pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gunpowder as gp
import numpy as np

if TYPE_CHECKING:
    from funlib.geometry import Roi

    from dacapo.experiments.datasplits.datasets.arrays import Array


class DaCapoArraySource(gp.BatchProvider):  # type: ignore[misc]
    """Provide the values of an array, with its channel axis, if it has one, in front."""

    def __init__(self, array: Array, key: gp.ArrayKey, *, interpolatable: bool | None = None) -> None:
        """Set the array.

        Args:
            array: Read whenever a batch is requested. Its offset must be a multiple of its voxel size.
            key: The key under which it is provided.
            interpolatable: Whether values between voxels may be averaged; None leaves it open.
        """
        self.array = array
        self.key = key
        self.interpolatable = interpolatable

    def setup(self) -> None:
        """Announce region, voxel size and data type."""
        self.provides(
            self.key,
            gp.ArraySpec(
                roi=self.array.roi,
                voxel_size=self.array.voxel_size,
                interpolatable=self.interpolatable,
                dtype=self.array.dtype,
            ),
        )

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Read the requested region."""
        spec = self.spec[self.key].copy()
        spec.roi = request[self.key].roi
        batch = gp.Batch()
        if spec.roi.size == 0:
            channels = () if self.array.channel_axis is None else (self.array.num_channels,)
            data = np.zeros((*channels, *(spec.roi.shape / spec.voxel_size)), dtype=spec.dtype)
        else:
            # A copy, because nodes change values in place and arrays in memory return views.
            data = np.array(self.read(spec.roi), dtype=spec.dtype)
        batch[self.key] = gp.Array(data, spec)
        return batch

    def read(self, roi: Roi) -> np.ndarray[Any, Any]:
        """Return the values in a region, channels first."""
        return channels_first(self.array[roi], self.array)


def channels_first(data: np.ndarray[Any, Any], array: Array) -> np.ndarray[Any, Any]:
    """Move the channel axis of values that were read from an array to the front."""
    axis = array.channel_axis
    return data if axis is None else np.moveaxis(data, axis, 0)
