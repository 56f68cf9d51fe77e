"""Arrays as sources of a gunpowder pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gunpowder as gp
import numpy as np

from dacapo.experiments.datasplits.datasets.arrays import read_all
from dacapo.experiments.datasplits.datasets.arrays.channels import channels_first

from .specs import Spec

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
        self.provides(self.key, self.provided_spec())

    def provided_spec(self) -> gp.ArraySpec:
        """Return region, voxel size and data type."""
        return Spec(
            roi=self.array.roi,
            voxel_size=self.array.voxel_size,
            interpolatable=self.interpolatable,
            dtype=self.array.dtype,
        )

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Read the requested region."""
        roi = request[self.key].roi
        batch = gp.Batch()
        batch[self.key] = self.wrap(self.read(roi) if roi.size else self._nothing(roi), roi)
        return batch

    def read(self, roi: Roi) -> np.ndarray[Any, Any]:
        """Return the values in a region, as the array has them."""
        return read_all([(self.array, roi)])[0]

    def wrap(self, values: np.ndarray[Any, Any], roi: Roi) -> gp.Array:
        """Return values as an array of the pipeline, with channels first."""
        spec = self.provided_spec()
        spec.roi = roi
        # A copy, because nodes change values in place and arrays in memory return views.
        return gp.Array(
            np.array(channels_first(values, self.array.channel_axis, add_missing=False), dtype=spec.dtype), spec
        )

    def _nothing(self, roi: Roi) -> np.ndarray[Any, Any]:
        extent = list(roi.shape / self.array.voxel_size)
        if self.array.channel_axis is not None:
            extent.insert(self.array.channel_axis, self.array.num_channels)
        return np.zeros(extent, dtype=self.array.dtype)
