"""Read the volumes to compare, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ChannelMismatchError, EvaluationError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.utils.blocks import BlockGrid

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

CHUNK = 64
"""Edges of blocks are multiples of this where possible, since those of chunks mostly are."""


@attrs.frozen
class Volumes:
    """The volumes to compare; all in world units.

    Attributes:
        output: The segmentation to score.
        truth: The truth to compare it with.
        mask: Nothing counts where it is 0; None to count everything.
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
            EvaluationError: If they share no region, or their voxel grids do not coincide.
        """
        array = ZarrArray.open_from_array_identifier(output, mode="r")
        parts = {other.world.parts for other in (array, truth, mask) if other is not None}
        if len(parts) > 1:
            raise EvaluationError(
                f"the world coordinates of {array} count {array.world}, those of the truth {truth.world}"
                f"{'' if mask is None else f', those of the mask {mask.world}'}; open all of them with one world_unit"
            )
        return cls(array, truth, mask, scored_roi(array.roi, array.voxel_size, truth, mask))

    @property
    def voxel_size(self) -> Coordinate:
        """Size of a voxel."""
        return self.output.voxel_size

    @property
    def spacing(self) -> tuple[int | float, ...]:
        """Size of a voxel in the unit of distances."""
        return self.output.spacing

    @property
    def shape(self) -> Coordinate:
        """Shape of the region in voxels."""
        return self.roi.shape / self.voxel_size

    def blocks(self, max_voxels: int) -> tuple[Iterator[Roi], int]:
        """Return regions that tile the volume, and their number."""
        grid = BlockGrid(self.roi, block_shape(self.shape, max_voxels) * self.voxel_size)
        return iter(grid), grid.count


def block_shape(shape: Coordinate, max_voxels: int) -> Coordinate:
    """Return the shape of blocks that divide a volume, both in voxels.

    >>> block_shape(Coordinate(100, 1024, 1024), 2**24)
    (100, 256, 512)
    """
    block = [max(1, int(extent)) for extent in shape]
    while math.prod(block) > max(1, max_voxels):
        axis = block.index(max(block))
        half = -(-block[axis] // 2)
        rounded = -(-half // CHUNK) * CHUNK
        block[axis] = rounded if rounded < block[axis] else half
    return Coordinate(block)


def common_roi(roi: Roi, voxel_size: Coordinate, other: Array, what: str = "truth") -> Roi:
    """Return the region that an output shares with another array, in world units.

    Args:
        roi: The region of the output.
        voxel_size: Size of its voxels.
        other: The other array.
        what: Name of the other array, for messages.

    Raises:
        EvaluationError: If they share no region, or their voxel grids do not coincide.
    """
    if voxel_size != other.voxel_size:
        raise EvaluationError(
            f"the voxel size of the output is {voxel_size}, that of the {what} {other.voxel_size}; "
            f"resample the {what} to the voxel size of the output"
        )
    common = roi.intersect(other.roi)
    if common.empty:
        raise EvaluationError(f"the output covers {roi} and the {what} {other.roi}, which do not overlap")
    if any((roi.begin - other.roi.begin) % voxel_size):
        raise EvaluationError(
            f"the output starts at {roi.begin} and the {what} at {other.roi.begin}, so their voxels of size "
            f"{voxel_size} do not coincide; align the offsets"
        )
    return common


def scored_roi(roi: Roi, voxel_size: Coordinate, truth: Array, mask: Array | None) -> Roi:
    """Return the region that an output, a truth and a mask share; see :func:`common_roi`."""
    common = common_roi(roi, voxel_size, truth)
    if mask is None:
        return common
    masked = common.intersect(common_roi(roi, voxel_size, mask, "mask"))
    if masked.empty:
        raise EvaluationError(f"output and truth share {common}, which the mask ({mask.roi}) does not cover")
    return masked


def check_single_channel(array: Array, what: str) -> None:
    """Refuse an array with several channels where labels are expected, judging by its metadata.

    Raises:
        ChannelMismatchError: If it has several.
    """
    if "c" in array.axes and array.num_channels != 1:
        raise ChannelMismatchError(
            f"the {what} has {array.num_channels} channels where a single volume of labels is expected"
        )


def read_labels(array: Array, roi: Roi, what: str) -> npt.NDArray[Any]:
    """Read an array with at most one channel, as an array with spatial axes only.

    Raises:
        EvaluationError: If it has several channels.
    """
    try:
        check_single_channel(array, what)
    except ChannelMismatchError as error:
        raise EvaluationError(str(error)) from error
    return np.asarray(read_channels_first(array, roi)[0])
