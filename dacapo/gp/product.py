"""The product of two arrays."""

from __future__ import annotations

import gunpowder as gp


class Product(gp.BatchFilter):  # type: ignore[misc]
    """Multiply two arrays voxel by voxel, such as a weight and a mask."""

    def __init__(self, x1_key: gp.ArrayKey, x2_key: gp.ArrayKey, y_key: gp.ArrayKey) -> None:
        """Set the keys of both factors and of the product. An array without channels applies to all channels."""
        self.x1_key = x1_key
        self.x2_key = x2_key
        self.y_key = y_key

    def setup(self) -> None:
        """Announce the product."""
        self.enable_autoskip()
        spec = self.spec[self.x1_key].copy()
        spec.dtype = None
        self.provides(self.y_key, spec)

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Request both factors in the region of the product."""
        dependencies = gp.BatchRequest()
        for key in (self.x1_key, self.x2_key):
            spec = self.spec[key].copy()
            spec.roi = request[self.y_key].roi
            dependencies[key] = spec
        return dependencies

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Multiply."""
        spec = self.spec[self.y_key].copy()
        spec.roi = request[self.y_key].roi
        outputs = gp.Batch()
        outputs[self.y_key] = gp.Array(batch[self.x1_key].data * batch[self.x2_key].data, spec)
        return outputs
