"""Segmentation of an array in blocks: what a block does, and how the blocks become one segmentation.

In a first pass each block is segmented with context and its segments, numbered uniquely, are written to an array of
their own. Blocks that read what others write are never done at the same time, so the second of two neighbors finds the
segments of the first and notes which of its own overlap with them. All such pairs are then joined by a union-find, and
a second pass writes the output. Either pass can repeat a block without harm.

The number of a segment is the number of its block times the voxels of a block, plus its number in the block: unique in
64 bits for any array that can be stored.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.blockwise_task import written_region
from dacapo.blockwise.merging import check_min_overlap, merged_labels, overlapping_pairs
from dacapo.blockwise.outputs import create_output
from dacapo.blockwise.worker import function_of, load_module
from dacapo.errors import BlockwiseError, ConfigError, DtypeError, RoiError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

FUNCTION = "segment_function"
_FILES_PER_FOLDER = 1000


@attrs.define
class Segmentation:
    """One segmentation in blocks; all regions in world units.

    Attributes:
        input: The array to segment.
        output: Where the segmentation goes.
        function_file: Module with the function that segments.
        region: What is segmented.
        before: How far a block reads beyond what it writes, towards lower coordinates.
        after: The same towards higher ones.
        block_shape: Extent of what a block writes.
        voxel_size: Of input and output.
        min_overlap: See :func:`~dacapo.blockwise.merging.overlapping_pairs`.
        folder: For everything that is not the output; set by :meth:`create`.
    """

    input: LocalArrayIdentifier
    output: LocalArrayIdentifier
    function_file: str
    region: Roi
    before: Coordinate
    after: Coordinate
    block_shape: Coordinate
    voxel_size: Coordinate
    min_overlap: float
    folder: Path = Path()

    @classmethod
    def plan(
        cls,
        input_identifier: LocalArrayIdentifier,
        output_identifier: LocalArrayIdentifier,
        function_file: str | Path,
        total_roi: Roi,
        read_roi: Roi,
        write_roi: Roi,
        context: Sequence[int] | int,
        min_overlap: float = 0.0,
    ) -> Segmentation:
        """Check what :func:`~dacapo.blockwise.segment_blockwise` was given; nothing is written.

        Raises:
            DacapoError: If something does not fit.
        """
        function_of(load_module(function_file), function_file, FUNCTION)
        check_min_overlap(min_overlap)
        array = ZarrArray.open_from_array_identifier(input_identifier, mode="r")
        region = written_region(total_roi, read_roi, write_roi)
        array.check_roi(region)
        around = _as_coordinate(context, array.dims)
        is_file = Path(function_file).is_file()
        planned = cls(
            input_identifier,
            output_identifier,
            str(Path(function_file).resolve()) if is_file else str(function_file),
            region,
            write_roi.begin - read_roi.begin + around,
            read_roi.end - write_roi.end + around,
            Coordinate(write_roi.shape),
            array.voxel_size,
            min_overlap,
        )
        planned._check()
        return planned

    def _check(self) -> None:
        for name, value in (("context", self.before), ("context", self.after), ("size of blocks", self.block_shape)):
            if any(value % self.voxel_size):
                raise RoiError(f"the {name} {value} is no multiple of the voxel size {self.voxel_size}")
        several = [count > 1 for count in self.grid]
        if any(
            more and min(before, after) < voxel
            for more, before, after, voxel in zip(several, self.before, self.after, self.voxel_size, strict=True)
        ):
            raise ConfigError(
                f"blocks see {self.before} and {self.after} beyond what they write; to join their segments they need "
                f"a context of at least one voxel, {self.voxel_size}"
            )
        if math.prod(self.grid) * self.block_voxels >= 1 << 63:
            raise ConfigError(f"{self.region} has too many voxels to number its segments")

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(int(-(-extent // step)) for extent, step in zip(self.region.shape, self.block_shape, strict=True))

    @property
    def block_voxels(self) -> int:
        """Number of voxels that a block writes."""
        return math.prod(self.block_shape / self.voxel_size)

    @property
    def write_roi(self) -> Roi:
        """What a block writes, relative to where it writes."""
        return Roi((0,) * self.region.dims, self.block_shape)

    @property
    def read_roi(self) -> Roi:
        """What a block reads, relative to where it writes."""
        return self.write_roi.grow(self.before, self.after)

    @property
    def read_region(self) -> Roi:
        """What all blocks read together; it may reach beyond the input."""
        return self.region.grow(self.before, self.after)

    @property
    def log_dir(self) -> Path:
        """Folder for the logs of workers."""
        return self.folder / "logs"

    @property
    def fragments(self) -> LocalArrayIdentifier:
        """Array of the segments of the single blocks."""
        return LocalArrayIdentifier(self.folder / "fragments.zarr", "fragments")

    def settings(self) -> dict[str, Any]:
        """Return all of this as JSON can hold it."""
        return {
            "input": [str(self.input.container), self.input.dataset],
            "output": [str(self.output.container), self.output.dataset],
            "function_file": self.function_file,
            "region": [list(self.region.offset), list(self.region.shape)],
            "min_overlap": self.min_overlap,
            "folder": str(self.folder),
            **{name: list(getattr(self, name)) for name in ("before", "after", "block_shape", "voxel_size")},
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Segmentation:
        """Return what :meth:`settings` described."""
        coordinates = {name: Coordinate(settings[name]) for name in ("before", "after", "block_shape", "voxel_size")}
        return cls(
            input=LocalArrayIdentifier(*settings["input"]),
            output=LocalArrayIdentifier(*settings["output"]),
            function_file=settings["function_file"],
            region=Roi(*settings["region"]),
            min_overlap=settings["min_overlap"],
            folder=Path(settings["folder"]),
            **coordinates,
        )

    def create(self, overwrite: bool = False) -> None:
        """Create the output if it is missing or to be replaced, and what the first pass writes to.

        Raises:
            OutputExistsError: If it is to be replaced but was not written by this package.
        """
        source = self.open(self.input)
        if overwrite or not (self.output.container / self.output.dataset).exists():
            self._create_array(self.output, source, overwrite)
        self._check_output(self.open(self.output))
        parent = self.output.container.resolve().parent
        name = f"{self.output.container.stem}_{self.output.dataset.replace('/', '_')}_"
        self.folder = Path(tempfile.mkdtemp(prefix=name, dir=parent))
        self._create_array(self.fragments, source, False)

    def _create_array(self, identifier: LocalArrayIdentifier, source: Array, overwrite: bool) -> None:
        origin = {"operation": "segment_blockwise", "function": self.function_file}
        create_output(identifier, source, self.region, self.block_shape, None, np.uint64, overwrite, origin)

    def _check_output(self, output: ZarrArray) -> None:
        where = f"{self.output.container}/{self.output.dataset}"
        output.check_roi(self.region)
        if output.dtype.kind not in "iu" or output.channel_axis is not None or output.voxel_size != self.voxel_size:
            raise ConfigError(
                f"{where} holds {output.dtype} with axes {output.axes} and voxel size {output.voxel_size}; "
                f"labels need whole numbers, no channel axis and voxel size {self.voxel_size}"
            )
        first = (self.region.begin - output.roi.begin) / self.voxel_size
        step = self.block_shape / self.voxel_size
        if any(
            count > 1 and (begin % chunk or size % chunk)
            for count, begin, size, chunk in zip(self.grid, first, step, output.data.chunks, strict=True)
        ):
            raise ConfigError(
                f"the chunks of {where} are {output.data.chunks} voxels, so that blocks of {step} would write to the "
                "same chunk at once; name a new output, or blocks of whole chunks"
            )

    @staticmethod
    def open(identifier: LocalArrayIdentifier, mode: str = "r") -> ZarrArray:
        """Open one of the arrays."""
        return ZarrArray.open_from_array_identifier(identifier, mode=mode)

    def remove(self) -> None:
        """Delete everything but the output."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def block_index(self, write_roi: Roi) -> int:
        """Return the number of a block, by what it writes."""
        position = (write_roi.begin - self.region.begin) / self.block_shape
        return int(np.ravel_multi_index(tuple(position), self.grid))

    def block_file(self, index: int) -> Path:
        """Return the file with the number of segments of a block and the pairs that it found."""
        return self.folder / "blocks" / str(index // _FILES_PER_FOLDER) / f"{index}.npz"

    def save_block(self, index: int, count: int, pairs: npt.NDArray[np.uint64]) -> None:
        """Write the file of a block, at once or not at all."""
        file = self.block_file(index)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.npz")
        np.savez(partial, count=count, pairs=pairs)
        partial.replace(file)

    def merge(self) -> None:
        """Join the segments of all blocks, and write down which label each gets.

        Raises:
            DtypeError: If the output cannot hold as many labels.
            BlockwiseError: If the file of a block is missing or damaged.
        """
        counts = [int(self._load_block(index, "count")) for index in range(math.prod(self.grid))]
        first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        labels = merged_labels(int(first[-1]), self._edges(first))
        highest, dtype = int(labels.max(initial=0)), self.open(self.output).dtype
        if highest > np.iinfo(dtype).max:
            raise DtypeError(f"there are {highest} segments, more than {dtype} can count; use an output of uint64")
        np.save(self.folder / "first.npy", first)
        np.save(self.folder / "labels.npy", labels)

    def _edges(self, first: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the pairs of each block, with segments numbered without a gap from 0 on."""
        for index in range(len(first) - 1):
            pairs = self._load_block(index, "pairs").astype(np.int64) - 1
            yield first[pairs // self.block_voxels] + pairs % self.block_voxels

    def _load_block(self, index: int, name: str) -> npt.NDArray[Any]:
        try:
            with np.load(self.block_file(index), allow_pickle=False) as loaded:
                return np.asarray(loaded[name])
        except (OSError, ValueError, KeyError) as error:
            raise BlockwiseError(f"{self.block_file(index)} is missing or damaged: {error}") from error


def _as_coordinate(context: Sequence[int] | int, dims: int) -> Coordinate:
    values = (context,) * dims if isinstance(context, (int, np.integer)) else tuple(context)
    if len(values) != dims or any(value < 0 for value in values):
        raise ConfigError(f"context is {context}; expected a number for each of {dims} axes, or one for all, from 0 on")
    return Coordinate(values)


class BlockSegmenter:
    """The first pass: segments a block and notes which segments of its neighbors they overlap with."""

    def __init__(self, segmentation: Segmentation, args: Sequence[Any], parameters: dict[str, Any]) -> None:
        """Load the function and open the arrays."""
        self.segmentation = segmentation
        self.function = function_of(load_module(segmentation.function_file), segmentation.function_file, FUNCTION)
        self.args, self.parameters = args, parameters
        self.input: Array = segmentation.open(segmentation.input)
        self.fragments = segmentation.open(segmentation.fragments, "a")

    def process(self, read_roi: Roi, write_roi: Roi) -> None:
        """Segment a block.

        Raises:
            BlockwiseError: If the function returns no labels of the right shape.
        """
        read_roi = read_roi.intersect(self.input.roi)
        labels = self._segment(read_roi)
        inner = labels[_slices(write_roi, read_roi, self.fragments.voxel_size)]
        ids = np.unique(inner[inner > 0])
        index = self.segmentation.block_index(write_roi)
        first = index * self.segmentation.block_voxels
        self.fragments[write_roi] = _renumber(inner, ids, first)
        pairs = self._pairs(labels, ids, first, read_roi, write_roi)
        self.segmentation.save_block(index, len(ids), pairs)

    def _segment(self, roi: Roi) -> npt.NDArray[Any]:
        labels = np.asarray(self.function(self.input, roi, *self.args, **self.parameters))
        shape = tuple(roi.shape / self.input.voxel_size)
        if labels.shape != shape or labels.dtype.kind not in "biu":
            raise BlockwiseError(
                f"{FUNCTION} returned {labels.dtype} of shape {labels.shape} for {roi}; "
                f"expected whole numbers of shape {shape}"
            )
        if labels.dtype.kind == "i" and labels.min(initial=0) < 0:
            raise BlockwiseError(f"{FUNCTION} returned the label {labels.min()}; expected none below 0")
        return labels

    def _pairs(
        self, labels: npt.NDArray[Any], ids: npt.NDArray[Any], first: int, read_roi: Roi, write_roi: Roi
    ) -> npt.NDArray[np.uint64]:
        """Return which segments overlap with those of other blocks, in the layer of voxels around the block."""
        voxel_size = self.fragments.voxel_size
        layer = write_roi.grow(voxel_size, voxel_size).intersect(read_roi).intersect(self.fragments.roi)
        others = self.fragments[layer]
        others[_slices(write_roi, layer, voxel_size)] = 0
        mine = _renumber(labels[_slices(layer, read_roi, voxel_size)], ids, first)
        return overlapping_pairs(mine, others, self.segmentation.min_overlap)


def _slices(part: Roi, whole: Roi, voxel_size: Coordinate) -> tuple[slice, ...]:
    begin, end = (part.begin - whole.begin) / voxel_size, (part.end - whole.begin) / voxel_size
    return tuple(slice(int(b), int(e)) for b, e in zip(begin, end, strict=True))


def _renumber(labels: npt.NDArray[Any], ids: npt.NDArray[Any], first: int) -> npt.NDArray[np.uint64]:
    """Return the labels with the i-th of some sorted ids replaced by first + i + 1, and all others by 0."""
    if not len(ids):
        return np.zeros(labels.shape, dtype=np.uint64)
    rank = np.minimum(np.searchsorted(ids, labels), len(ids) - 1)
    return np.where(ids[rank] == labels, rank.astype(np.uint64) + np.uint64(first + 1), np.uint64(0))


class BlockRelabeler:
    """The second pass: writes the joined labels of a block to the output."""

    def __init__(self, segmentation: Segmentation) -> None:
        """Open arrays and tables; the tables are read from disk as they are needed."""
        self.segmentation = segmentation
        self.fragments = segmentation.open(segmentation.fragments)
        self.output = segmentation.open(segmentation.output, "a")
        self.first = np.load(segmentation.folder / "first.npy", mmap_mode="r", allow_pickle=False)
        self.labels = np.load(segmentation.folder / "labels.npy", mmap_mode="r", allow_pickle=False)

    def process(self, write_roi: Roi) -> None:
        """Write a block."""
        index = self.segmentation.block_index(write_roi)
        table = np.concatenate([[0], self.labels[self.first[index] : self.first[index + 1]]]).astype(np.uint64)
        fragments = self.fragments[write_roi]
        offset = np.uint64(index * self.segmentation.block_voxels)
        self.output[write_roi] = table[np.where(fragments > 0, fragments - offset, np.uint64(0))]
