"""Arrays as sources of a gunpowder pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gunpowder as gp
import numpy as np

from dacapo.experiments.datasplits.datasets.arrays import Read
from dacapo.experiments.datasplits.datasets.arrays.channels import read_all_channels_first

from .specs import Spec

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets.arrays import Array


class DaCapoArraySource(gp.BatchProvider):  # type: ignore[misc]
    """Provide the values of an array, with its channel axis, if it has one, in front."""

    def __init__(self, array: Array, key: gp.ArrayKey, *, interpolatable: bool | None = None) -> None:
        """Set the array.

        Args:
            array: Read at every request. Its offset must be a multiple of its voxel size.
            key: Key of the values.
            interpolatable: Whether values between voxels may be averaged; None leaves it open.
        """
        self.array = array
        self.key = key
        self.interpolatable = interpolatable

    def setup(self) -> None:
        """Announce region, voxel size and data type."""
        self.provides(self.key, self._spec_of_array())

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Read the requested region."""
        spec = self._spec_of_array()
        spec.roi = request[self.key].roi
        if spec.roi.size:
            # A copy, because nodes change values in place and arrays in memory return views.
            values = np.array(read_all_channels_first([Read(self.array, spec.roi)])[0], dtype=spec.dtype)
        else:
            channels = [] if self.array.channel_axis is None else [self.array.num_channels]
            values = np.zeros((*channels, *(spec.roi.shape / spec.voxel_size)), dtype=spec.dtype)
        batch = gp.Batch()
        batch[self.key] = gp.Array(values, spec)
        return batch

    def _spec_of_array(self) -> Spec:
        return Spec(
            roi=self.array.roi,
            voxel_size=self.array.voxel_size,
            interpolatable=self.interpolatable,
            dtype=self.array.dtype,
        )
