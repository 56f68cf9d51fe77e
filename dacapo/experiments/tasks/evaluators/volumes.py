"""Reading what is to be compared, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import EvaluationError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.utils.blocks import count_blocks, iterate_blocks

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

CHUNK = 64
"""Edges of blocks are multiples of this where they can be, as edges of chunks mostly are."""


@attrs.frozen
class Volumes:
    """What is compared, and where; all in world units.

    Attributes:
        output: What is judged.
        truth: What it is compared with.
        mask: Where it is 0, nothing counts; None to count everything.
        roi: The region that all of them cover.
    """

    output: Array
    truth: Array
    mask: Array | None
    roi: Roi

    @classmethod
    def open(cls, output: LocalArrayIdentifier, truth: Array, mask: Array | None) -> Volumes:
        """Open an output for comparison with the truth.

        Raises:
            EvaluationError: If they share no region, or their voxels do not coincide.
        """
        array = ZarrArray.open_from_array_identifier(output, mode="r")
        return cls(array, truth, mask, scored_roi(array, truth, mask))

    @property
    def voxel_size(self) -> Coordinate:
        """Size of a voxel."""
        return self.output.voxel_size

    @property
    def shape(self) -> Coordinate:
        """Shape of the region in voxels."""
        return self.roi.shape / self.voxel_size

    def blocks(self, max_voxels: int) -> tuple[Iterator[Roi], int]:
        """Return regions that cover all without overlap, and their number."""
        shape = block_shape(self.shape, max_voxels)
        return iterate_blocks(self.roi, shape, self.voxel_size), count_blocks(self.shape, shape)


def block_shape(shape: Coordinate, max_voxels: int) -> Coordinate:
    """Return the shape of blocks to cut a volume into, both in voxels.

    >>> block_shape(Coordinate(100, 1024, 1024), 2**24)
    Coordinate(100, 256, 512)
    """
    block = [max(1, int(extent)) for extent in shape]
    while math.prod(block) > max(1, max_voxels):
        axis = block.index(max(block))
        half = -(-block[axis] // 2)
        rounded = -(-half // CHUNK) * CHUNK
        block[axis] = rounded if rounded < block[axis] else half
    return Coordinate(block)


def common_roi(output: Array, truth: Array) -> Roi:
    """Return the region that an output and the truth share, in world units.

    Raises:
        EvaluationError: If they share none, or their voxels do not coincide.
    """
    if output.voxel_size != truth.voxel_size:
        raise EvaluationError(
            f"the output has voxels of size {output.voxel_size} and the truth of {truth.voxel_size}; "
            "resample the truth to the voxel size of the output"
        )
    roi = output.roi.intersect(truth.roi)
    if roi.empty:
        raise EvaluationError(f"the output covers {output.roi} and the truth {truth.roi}, which do not overlap")
    shift = (output.roi.begin - truth.roi.begin) % truth.voxel_size
    if any(shift):
        raise EvaluationError(
            f"the output starts at {output.roi.begin} and the truth at {truth.roi.begin}, so that voxels of size "
            f"{truth.voxel_size} do not coincide; align the offsets"
        )
    return roi


def scored_roi(output: Array, truth: Array, mask: Array | None) -> Roi:
    """Return the region that an output, a truth and a mask share, in world units.

    Raises:
        EvaluationError: If they share none, or their voxels do not coincide.
    """
    roi = common_roi(output, truth)
    if mask is None:
        return roi
    masked = roi.intersect(common_roi(output, mask))
    if masked.empty:
        raise EvaluationError(f"output and truth share {roi}, which the mask ({mask.roi}) does not cover")
    return masked


def read_channels_first(array: Array, roi: Roi) -> npt.NDArray[Any]:
    """Return the values of an array in a region, the channel axis first where it has one."""
    values: npt.NDArray[Any] = np.asarray(array[roi])
    return np.moveaxis(values, array.axes.index("c"), 0) if "c" in array.axes else values


def read_labels(array: Array, roi: Roi, what: str) -> npt.NDArray[Any]:
    """Return the values of an array without channels, or with a single one, as an array of spatial axes only.

    Raises:
        EvaluationError: If there are several channels.
    """
    values = read_channels_first(array, roi)
    if "c" not in array.axes:
        return values
    if values.shape[0] != 1:
        raise EvaluationError(f"the {what} has {values.shape[0]} channels where a single volume of labels is expected")
    return np.asarray(values[0])
