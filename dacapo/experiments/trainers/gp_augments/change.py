"""The change of one sample by one augmentation, as operations on tensors.

For the wanted regions of a sample, an augmentation draws all random numbers and determines the regions that it needs.
The resulting `Change` holds only a few numbers and can be sent to another process before it acts on tensors. The last
augmentation draws first, and each of the others for the regions that the next one needs.
"""

from __future__ import annotations

import math
from functools import cached_property

import attrs
import torch
from funlib.geometry import Coordinate, Roi


@attrs.frozen(slots=False)
class SampleRois:
    """The regions of the arrays of a sample, in world units.

    Attributes:
        raw: Region of raw data.
        labels: Region of ground truth.
        raw_voxel_size: Voxel size of raw data.
        label_voxel_size: Voxel size of ground truth and mask.
        mask: Region of the mask, inside of that of ground truth; all of it by default.
    """

    raw: Roi
    labels: Roi
    raw_voxel_size: Coordinate
    label_voxel_size: Coordinate
    mask: Roi = attrs.field()

    @mask.default
    def _labels(self) -> Roi:
        return self.labels

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.raw_voxel_size)

    @cached_property
    def total(self) -> Roi:
        """The smallest region that contains all of them."""
        return self.raw.union(self.labels)

    @cached_property
    def step(self) -> Coordinate:
        """The least common multiple of the voxel sizes."""
        return Coordinate(
            math.lcm(int(a), int(b)) for a, b in zip(self.raw_voxel_size, self.label_voxel_size, strict=True)
        )


@attrs.define(slots=False)
class Change:
    """The change of one sample by one augmentation.

    Attributes:
        needed: The regions of the arrays before the change.
    """

    needed: SampleRois

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Return changed raw values, float32, axes channel and space; the given tensor may be overwritten."""
        return values

    def labels(self, values: torch.Tensor) -> torch.Tensor:
        """Return changed ground truth, whose last axes are space."""
        return values

    def mask(self, values: torch.Tensor) -> torch.Tensor:
        """Return a changed mask, whose last axes are space."""
        return self.labels(values)


def value_range(values: torch.Tensor) -> tuple[float, float]:
    """Return the smallest and the largest value; NaN if there is one."""
    if values.device.type == "cpu":  # numpy takes a twentieth of the time here
        return float(values.numpy().min()), float(values.numpy().max())
    low, high = torch.stack(torch.aminmax(values)).tolist()
    return low, high
