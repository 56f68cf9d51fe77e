"""Smaller levels of a result, block by block, and the OME-NGFF metadata that makes an image of them."""

from __future__ import annotations

import math

import attrs
import daisy.v2 as daisy
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.journal import Journal, Resume
from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.outputs import ORIGIN
from dacapo.blockwise.scheduling.run_operation import execute
from dacapo.compute_context import Execution, Step
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.axes import NON_SPATIAL_AXES
from dacapo.experiments.datasplits.datasets.arrays.ome_images import is_image, level_name, list_image
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.downsampling import METHODS

COARSEST = 256
"""Levels are added until no axis is longer than this."""
_MAX_BLOCK_BYTES = 2**25
# A worker takes about as long to start as to do this many voxels.
_VOXELS_PER_WORKER = 2**26
_KEPT = (ORIGIN, "value_range")
"""Attributes that hold for all levels."""


@attrs.define(kw_only=True, eq=False)
class Downsample(BlockwiseOperation):
    """Writes a level of an image from the level before.

    Attributes:
        input: The level before.
        factors: How many times larger voxels become, per spatial axis.
        method: ``mean`` or ``mode``.
        version: Tells this making of the input from others.
    """

    input: LocalArrayIdentifier
    factors: list[int]
    method: str
    version: str | None = None

    @property
    def step(self) -> Step:
        return Step.PYRAMID

    def most_workers(self) -> int:
        source = ZarrArray.open_from_array_identifier(self.input, mode="r")
        voxels: int = math.prod(self.region.shape / source.voxel_size)
        return max(1, voxels // _VOXELS_PER_WORKER)

    def create_output(self) -> None:
        source = ZarrArray.open_from_array_identifier(self.input, mode="r")
        ZarrArray.create_from_array_identifier(
            self.output,
            source.axes,
            self.region,
            source.num_channels,
            source.voxel_size * Coordinate(self.factors),
            source.dtype,
            write_size=self.block_shape,
            overwrite=True,
            world=source.world,
            attributes={ORIGIN: {}, **{key: source.attrs[key] for key in _KEPT if key in source.attrs}},
        )

    def open(self) -> None:
        self.source = ZarrArray.open_from_array_identifier(self.input, mode="r")
        self.target = ZarrArray.open_from_array_identifier(self.output)
        factors = iter(self.factors)
        self._factors = [1 if axis in NON_SPATIAL_AXES else next(factors) for axis in self.source.axes]

    def process(self, block: daisy.Block) -> None:
        roi = Roi(block.write_roi.offset, block.write_roi.shape).intersect(self.target.roi)
        values = self.source[roi.intersect(self.source.roi)]
        self.target[roi] = METHODS[self.method](np.asarray(values), self._factors)


def holds_labels(array: ZarrArray) -> bool:
    """Return whether the values of a segmentation are labels, which have no mean."""
    return array.dtype.kind in "biu"


def guess_labels(array: ZarrArray) -> bool | None:
    """Return whether a result of unknown meaning holds labels: large integers are, floats are not, others may be."""
    return False if array.dtype.kind == "f" else True if array.dtype.itemsize >= 4 else None


def write_image(
    identifier: LocalArrayIdentifier, execution: Execution, is_labels: bool | None, pyramid: bool = True
) -> None:
    """Write the smaller levels of an array that is finished, and list all of them as an OME-NGFF image.

    Levels are resumed like the array itself. An array whose axes the format does not allow stays as it is.

    Args:
        identifier: The array.
        execution: The number of workers, and their memory.
        is_labels: Whether to take the most frequent label of the voxels before, instead of their mean; None if values
            may be either, so that the array itself is the only level.
        pyramid: Whether to write smaller levels; otherwise the array itself is the only level.

    Raises:
        BlockwiseError: If blocks failed.
        StorageError: If it cannot be written.
    """
    method = None if is_labels is None or not pyramid else "mode" if is_labels else "mean"
    array = ZarrArray.open_from_array_identifier(identifier, mode="r")
    if not is_image(array) or not array.dataset:
        return
    levels = [(level_name(identifier.dataset, 0), array)]
    finer = identifier
    while method is not None and (factors := level_factors(array)) is not None:
        level = LocalArrayIdentifier(identifier.container, level_name(identifier.dataset, len(levels)))
        operation = _operation(array, finer, level, factors, method)
        how = attrs.evolve(execution, overwrite=True, resume=Resume.ALWAYS)
        execute(operation, how.for_blocks(_block_bytes(array, operation), operation.step))
        array, finer = ZarrArray.open_from_array_identifier(level, mode="r"), level
        levels.append((level.dataset, array))
    list_image(identifier.container, levels, method, bool(is_labels))


def level_factors(array: Array) -> list[int] | None:
    """Return by how much the voxels of the next level are larger, None if there needs to be no other.

    Only axes whose voxels are about as short as the shortest are halved, so that voxels become cubes.
    """
    shape = array.roi.shape / array.voxel_size
    if max(shape) <= COARSEST:
        return None
    shortest = min(size for size, extent in zip(array.voxel_size, shape, strict=True) if extent > 1)
    return [
        2 if size < 2 * shortest and extent > 1 else 1 for size, extent in zip(array.voxel_size, shape, strict=True)
    ]


def _operation(
    array: ZarrArray, finer: LocalArrayIdentifier, level: LocalArrayIdentifier, factors: list[int], method: str
) -> Downsample:
    voxel_size = array.voxel_size * Coordinate(factors)
    shape = Coordinate(-(-extent // size) for extent, size in zip(array.roi.shape, voxel_size, strict=True))
    block = Coordinate(min(pair) for pair in zip(_block_voxels(array), shape, strict=True))
    made = Journal.read(finer)
    return Downsample(
        input=finer,
        output=level,
        region=Roi(array.roi.offset, shape * voxel_size),
        block_shape=block * voxel_size,
        factors=factors,
        method=method,
        version=None if made is None else made.id,
    )


def _block_voxels(array: ZarrArray) -> list[int]:
    """Return the voxels of a block of the next level: those of a chunk, so that few chunks are read more than once."""
    block = [size for axis, size in zip(array.axes, array.chunks, strict=True) if axis not in NON_SPATIAL_AXES]
    while math.prod(block) * _voxel_bytes(array) > _MAX_BLOCK_BYTES:
        even = [axis for axis, size in enumerate(block) if size % 2 == 0]
        if not even:
            break
        block[max(even, key=lambda axis: block[axis])] //= 2
    return block


def _voxel_bytes(array: ZarrArray) -> int:
    return (array.num_channels or 1) * array.dtype.itemsize


def _block_bytes(array: ZarrArray, operation: Downsample) -> int:
    """Return the memory that a block takes: its input, and the numbers that are computed from it."""
    read: int = math.prod(operation.block_shape / array.voxel_size)
    return 4 * read * (array.num_channels or 1) * max(8, array.dtype.itemsize)
