"""A second key for the values of an array."""

from __future__ import annotations

import gunpowder as gp


class CopyMask(gp.BatchFilter):  # type: ignore[misc]
    """Provide a copy of an array under another key."""

    def __init__(self, array_key: gp.ArrayKey, copy_key: gp.ArrayKey, drop_channels: bool = False) -> None:
        """Set the keys.

        Args:
            array_key: Key of the array.
            copy_key: Key of the copy.
            drop_channels: Whether to reduce all leading axes to their maximum: a voxel is masked in if any of its
                channels is.
        """
        self.array_key = array_key
        self.copy_key = copy_key
        self.drop_channels = drop_channels

    def setup(self) -> None:
        """Announce the copy."""
        self.enable_autoskip()
        self.provides(self.copy_key, self.spec[self.array_key].copy())

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Request the array in the region of the copy."""
        dependencies = gp.BatchRequest()
        dependencies[self.array_key] = request[self.copy_key].copy()
        return dependencies

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Copy the values."""
        source = batch[self.array_key]
        data = source.data.copy()
        if self.drop_channels:
            leading = data.ndim - source.spec.roi.dims
            data = data.max(axis=tuple(range(leading)))
        outputs = gp.Batch()
        outputs[self.copy_key] = gp.Array(data, source.spec.copy())
        return outputs
