"""Operations whose result at a voxel depends only on the input at that voxel."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs
import daisy.v2 as daisy
import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.outputs import ORIGIN, channels_on_disk, in_form_of
from dacapo.compute_context import Step
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray, open_identifier
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.blocks import fit_block_shape
from dacapo.utils.largest_channel import largest_channel
from dacapo.utils.quantize import comparable

# A worker takes about as long to start as to do this many voxels.
_VOXELS_PER_WORKER = 2**26


@attrs.define(kw_only=True, eq=False)
class VoxelwiseOperation(BlockwiseOperation):
    """Writes a function of the values of an array.

    Attributes:
        input: The array to read.
        dtype: Type of the result.
        num_channels: How many of the first channels of the input to use; all by default.
        metadata: Further attributes of the output.
    """

    keep_channels: ClassVar[bool] = True
    """Whether the result has the channels of the input; one channel out of several has no axis."""

    input: LocalArrayIdentifier
    dtype: str = "uint8"
    num_channels: int | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)

    @abstractmethod
    def compute(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the result for a block of values, which has all axes of the input."""
        raise NotImplementedError

    def parameters(self) -> dict[str, Any]:
        return {key: value for key, value in super().parameters().items() if key != "metadata"}

    @property
    def step(self) -> Step:
        return Step.SEGMENT

    def most_workers(self) -> int:
        source = open_identifier(self.input)
        voxels: int = math.prod(self.region.shape / source.voxel_size)
        return max(1, voxels // _VOXELS_PER_WORKER)

    def create_output(self) -> None:
        source = open_identifier(self.input)
        ZarrArray.create_from_array_identifier(
            self.output,
            [axis for axis in source.axes if axis != "c" or self.keep_channels],
            self.region,
            self._channels_of(source) if self.keep_channels else None,
            source.voxel_size,
            np.dtype(self.dtype),
            write_size=self.block_shape,
            overwrite=True,
            world=source.world,
            attributes={ORIGIN: {"operation": self.name}, **self.metadata},
        )

    def _channels_of(self, source: Array) -> int | None:
        """Return the length of the channel axis of the result: that of the input, unless only a part is used."""
        is_part = self.num_channels not in (None, source.num_channels)
        return channels_on_disk(self.num_channels) if is_part else source.num_channels

    def open(self) -> None:
        self.source = open_identifier(self.input)
        self.target = ZarrArray.open_from_array_identifier(self.output)

    def process(self, block: daisy.Block) -> None:
        roi = Roi(block.write_roi.offset, block.write_roi.shape).intersect(self.target.roi)
        if roi.empty:
            return  # the task of a user may reach beyond the output
        values = self.source[roi]
        if self.num_channels is not None:
            values = np.take(values, range(self.num_channels), axis=self.source.channel_axis)
        computed = self.compute(values)
        has_channels = self.keep_channels and self.source.channel_axis is not None
        self.target[roi] = in_form_of(self.target, computed, self.source.channel_axis if has_channels else None)


@attrs.define(kw_only=True, eq=False)
class Threshold(VoxelwiseOperation):
    """Writes 1 where values are above a threshold, and 0 elsewhere.

    Attributes:
        threshold: The threshold for the stored values.
    """

    threshold: float

    def compute(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        # Comparing integers with an integer gives the same result faster.
        exact = values.dtype.kind in "iu" and math.isfinite(self.threshold)
        limit = math.floor(self.threshold) if exact else self.threshold
        return np.asarray(comparable(values) > limit, dtype=self.dtype)


@attrs.define(kw_only=True, eq=False)
class Argmax(VoxelwiseOperation):
    """Writes the index of the largest channel, the first among equals.

    Attributes:
        axis: The channel axis of the input; None for a single channel.
    """

    keep_channels: ClassVar[bool] = False

    axis: int | None = 0

    def compute(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.axis is None:
            return np.zeros(values.shape, dtype=self.dtype)
        return np.asarray(largest_channel(values, self.axis), dtype=self.dtype)


def into(
    operation: type[VoxelwiseOperation], source: LocalArrayIdentifier, target: LocalArrayIdentifier, **fields: Any
) -> Callable[[daisy.Block], None]:
    """Return the function that applies an operation to a block of an existing array.

    Args:
        operation: The operation.
        source: The array to read.
        target: The array to write; its type is that of the result.
        **fields: Further fields of the operation.

    Raises:
        ArrayNotFoundError: If one of the arrays does not exist.
    """
    array = ZarrArray.open_from_array_identifier(target)
    opened = operation(
        input=source, output=target, region=array.roi, block_shape=array.roi.shape, dtype=array.dtype.name, **fields
    )
    opened.open()
    return opened.process


def over_all_of(array: Array, block_size: Sequence[int]) -> dict[str, Any]:
    """Return the region and the blocks of an operation on all of an array.

    Args:
        array: The array.
        block_size: Shape of a block in voxels, adapted to the array; see :func:`~dacapo.utils.blocks.fit_block_shape`.
    """
    block_shape = fit_block_shape(block_size, array.roi.shape / array.voxel_size)
    return {"region": array.roi, "block_shape": block_shape * array.voxel_size}
