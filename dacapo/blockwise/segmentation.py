"""Segmentation of an array in blocks: what a block does, and how the blocks become one segmentation.

Three passes go over the blocks, and none of them depends on the order of blocks or repeats them with harm:

1. :class:`Segmentation` segments each block with context, and writes its segments, numbered uniquely, to an array of
   their own. What it finds in a layer around the block is kept in a file.
2. :class:`Matching` compares that layer with what the neighbors have written there, and writes down pairs of segments
   that both blocks take for one.
3. :class:`Relabeling` writes the output, after all pairs were joined.

The number of a segment is the number of its block times the voxels of a block, plus its number in the block: unique,
and below 2^63 for any array that can be stored. What is in memory grows with the segments that have a pair, by some 50
bytes for each; all else is on disk.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.blockwise_task import check_numbers, written_region
from dacapo.blockwise.identity import code_identity
from dacapo.blockwise.merging import Joined, check_min_overlap, join_all, overlapping_pairs
from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.outputs import ORIGIN
from dacapo.blockwise.record import Record, Resume, open_record
from dacapo.blockwise.running import run_stage
from dacapo.blockwise.segment_block import (
    BlockRoi,
    FoundSegments,
    check_segment_function,
    layers,
    load_segment_function,
    replaced,
    segment_region,
    slices_of,
)
from dacapo.errors import BlockwiseError, ConfigError, DtypeError, RoiError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.segmentation import grow_into

if TYPE_CHECKING:
    import daisy.v2 as daisy

SMALL = np.iinfo(np.uint64).max
"""In the table of labels: a segment that others grow into."""
_FILES_PER_FOLDER = 1000
_CHUNK_EDGES = (16, 64)
"""Chunks of the segments of single blocks have edges from one to the other, where such a number divides a block."""

Pass = TypeVar("Pass", bound="Segmentation")
Numbers = npt.NDArray[np.int64]


@attrs.define(kw_only=True, eq=False)
class Segmentation(BlockwiseOperation):
    """One segmentation in blocks, and its first pass.

    Attributes:
        input: The array to segment.
        function_file: Module with the function that segments.
        args: For the function.
        kwargs: For the function.
        voxel_size: Of input and output.
        depth: How far beyond the faces of a block its segments are compared with those of its neighbors, as far as both
            see; no further than a block.
        min_overlap: See :func:`~dacapo.blockwise.merging.overlapping_pairs`.
        absorb_below: Segments with fewer voxels are absorbed, as by :func:`~dacapo.utils.segmentation.absorb_small`.
        growth: How far, in world units, others may grow into them beyond a block.
        folder: For everything that is not the output.
    """

    fixed_blocks: ClassVar[bool] = True

    input: LocalArrayIdentifier
    function_file: str
    args: list[Any] = attrs.field(factory=list)
    kwargs: dict[str, Any] = attrs.field(factory=dict)
    voxel_size: Coordinate
    depth: Coordinate = attrs.field(default=attrs.Factory(lambda self: self.voxel_size, takes_self=True))
    min_overlap: float = 0.0
    absorb_below: int = 0
    growth: Coordinate
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
        **more: Any,
    ) -> Self:
        """Check what :func:`~dacapo.blockwise.segment_blockwise` was given; nothing is written.

        Raises:
            DacapoError: If something does not fit.
        """
        check_segment_function(function_file, more.get("args", ()), more.get("kwargs", {}))
        array = ZarrArray.open_from_array_identifier(input_identifier, mode="r")
        region = written_region(total_roi, read_roi, write_roi)
        array.check_roi(region)
        around = _as_coordinate(context, array.dims)
        is_file = Path(function_file).is_file()
        planned = cls(
            input=input_identifier,
            output=output_identifier,
            function_file=str(Path(function_file).resolve()) if is_file else str(function_file),
            region=region,
            before=write_roi.begin - read_roi.begin + around,
            after=read_roi.end - write_roi.end + around,
            block_shape=Coordinate(write_roi.shape),
            voxel_size=array.voxel_size,
            growth=around,
            **more,
        )
        planned.check()
        return planned

    def check(self) -> None:
        """Check that blocks fit together, and that their segments can be numbered.

        Raises:
            DacapoError: If not.
        """
        check_min_overlap(self.min_overlap)
        if self.absorb_below < 0:
            raise ConfigError(f"absorb_below is {self.absorb_below}; expected a number of voxels, 0 for none")
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
    def name(self) -> str:
        return "segment"

    def parameters(self) -> dict[str, Any]:
        defining = {key: value for key, value in super().parameters().items() if key != "folder"}
        return {**defining, "code": code_identity(self.function_file)}

    @property
    def block_voxels(self) -> int:
        """Number of voxels that a block writes."""
        return math.prod(int(extent) for extent in self.block_shape / self.voxel_size)

    @property
    def fragments_identifier(self) -> LocalArrayIdentifier:
        """Array of the segments of the single blocks."""
        return LocalArrayIdentifier(self.folder / "fragments.zarr", "fragments")

    def next_pass(self, cls: type[Pass]) -> Pass:
        """Return another pass of the same segmentation."""
        return cls(**{field.name: getattr(self, field.name) for field in attrs.fields(type(self))})

    def create_output(self, keep: bool = False) -> None:
        """Create the output and what the first pass writes to.

        Args:
            keep: Whether to write into the output if it is there, instead of replacing it.

        Raises:
            ConfigError: If the output that is there cannot be written in such blocks.
        """
        if not keep or not (self.output.container / self.output.dataset).exists():
            self._create(self.output, self.block_shape)
        self.check_output()
        shutil.rmtree(self.fragments_identifier.container, ignore_errors=True)
        step = self.block_shape / self.voxel_size
        chunk = Coordinate(map(_chunk_edge, step)) * self.voxel_size
        self._create(self.fragments_identifier, chunk)

    def _create(self, identifier: LocalArrayIdentifier, write_size: Coordinate) -> None:
        """Create an array of labels; whether what is there may be replaced has been checked by then."""
        axes = [axis for axis in _open(self.input).axes if axis not in ("b", "c")]
        array = ZarrArray.create_from_array_identifier(
            identifier, axes, self.region, None, self.voxel_size, np.uint64, write_size=write_size, overwrite=True
        )
        array.add_metadata({ORIGIN: {"operation": "segment_blockwise", "function": self.function_file}})

    def check_output(self) -> None:
        """Check that labels can be written to the output that is there.

        Raises:
            DacapoError: If it has other axes, voxels or values, is elsewhere, or blocks would share its chunks.
        """
        output = _open(self.output)
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

    def remove(self) -> None:
        """Delete what lies between the passes."""
        for path in (self.fragments_identifier.container, *(self.folder / name for name in ("blocks", "pairs"))):
            shutil.rmtree(path, ignore_errors=True)
        for file in self.folder.glob("*.npy"):
            file.unlink()

    def block_file(self, index: int, of: str = "blocks") -> Path:
        """Return the file of a block: its segments and the layer around it, or the pairs that it found."""
        return self.folder / of / str(index // _FILES_PER_FOLDER) / f"{index}.npz"

    def save_block(self, index: int, of: str = "blocks", **content: Any) -> None:
        """Write the file of a block, at once or not at all."""
        file = self.block_file(index, of)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.npz")
        np.savez_compressed(partial, **content)
        partial.replace(file)

    def load_block(self, index: int, *names: str, of: str = "blocks") -> list[npt.NDArray[Any]]:
        """Return content of the file of a block.

        Raises:
            BlockwiseError: If it is missing or damaged.
        """
        try:
            with np.load(self.block_file(index, of), allow_pickle=False) as loaded:
                return [np.asarray(loaded[name]) for name in names]
        except (OSError, ValueError, KeyError) as error:
            raise BlockwiseError(f"{self.block_file(index, of)} is missing or damaged: {error}") from error

    def seen(self, write_roi: Roi) -> Roi:
        """Return the region of a block and of the layer around it, as far as that is segmented and seen."""
        before, after = (Coordinate(map(min, self.depth, context)) for context in (self.before, self.after))
        return write_roi.grow(before, after).intersect(self.region)

    def layers(self, write_roi: Roi) -> Iterator[Roi]:
        """Return regions that together are the layer around a block."""
        return layers(write_roi, self.seen(write_roi))

    def open(self) -> None:
        """Load the function and open the arrays."""
        self.function = load_segment_function(self.function_file)
        self.source: Array = _open(self.input)
        self.fragments = _open(self.fragments_identifier, "a")

    def process(self, block: daisy.Block) -> None:
        """Segment a block.

        Raises:
            BlockwiseError: If the function returns no labels of the right shape.
        """
        write_roi, read_roi = _roi(block.write_roi), _roi(block.read_roi).intersect(self.source.roi)
        roi = BlockRoi(read_roi, write_roi, block.block_id)
        labels, evidence = segment_region(self.function, self.source, roi, self.args, self.kwargs)
        inside = slices_of(write_roi, read_roi, self.voxel_size)
        found = FoundSegments.of(labels[inside])
        index = self.block_index(write_roi)
        numbers = np.arange(1, len(found.ids) + 1, dtype=np.uint64) + np.uint64(index * self.block_voxels)
        self.fragments[write_roi] = found.numbered(numbers)
        parts = [labels[slices_of(layer, read_roi, self.voxel_size)].ravel() for layer in self.layers(write_roi)]
        layer = replaced(np.concatenate([np.zeros(0, np.uint64), *parts]), found.ids, numbers)
        sums = found.sums(None if evidence is None else evidence[inside])
        self.save_block(index, sizes=found.sizes, sums=sums, layer=layer)

    def merge(self) -> None:
        """Join the segments of all blocks, and write down which label each gets.

        Raises:
            DtypeError: If the output cannot hold as many labels.
            BlockwiseError: If the file of a block is missing or damaged.
        """
        if (self.folder / "labels.npy").exists():  # before an interruption
            return
        blocks = range(math.prod(self.grid))
        counts = (len(self.load_block(index, "sizes")[0]) for index in blocks)
        first = np.fromiter(itertools.accumulate(counts, initial=0), dtype=np.int64, count=len(blocks) + 1)
        _save(self.folder / "first.npy", first)
        joined = join_all(lambda: self._edges(first))
        highest = self._write_labels(first, joined)
        dtype = _open(self.output).dtype
        if highest > np.iinfo(dtype).max:
            raise DtypeError(f"there are {highest} segments, more than {dtype} can count; use an output of uint64")
        (self.folder / "labels.partial").replace(self.folder / "labels.npy")

    def _edges(self, first: Numbers) -> Iterator[Numbers]:
        """Yield the pairs of each block, with segments numbered without a gap from 0 on."""
        for index in range(len(first) - 1):
            (pairs,) = self.load_block(index, "pairs", of="pairs")
            yield dense_numbers(pairs, first, self.block_voxels)

    def _write_labels(self, first: Numbers, joined: Joined) -> int:
        """Write the label of each segment, and return the highest."""
        spare = 1  # an empty file could not be mapped into memory
        labels = np.lib.format.open_memmap(
            self.folder / "labels.partial", mode="w+", dtype=np.uint64, shape=(int(first[-1]) + spare,)
        )
        highest = 0
        totals = joined.totals(self._measures(first))
        of_roots = np.zeros(len(joined.nodes), dtype=np.uint64)
        for begin, sizes, sums in self._measures(first):
            nodes = joined.slice(begin, begin + len(sizes))
            local, roots = joined.nodes[nodes] - begin, joined.roots[nodes]
            sizes[local], sums[local] = totals[0][roots], totals[1][roots]
            first_of_all = np.ones(len(sizes), dtype=bool)
            first_of_all[local] = roots == np.arange(nodes.start, nodes.stop)
            new = first_of_all & (sizes >= self.absorb_below) & (sums >= 0)
            names = np.where(sums < 0, np.uint64(0), np.uint64(SMALL))
            names[new] = np.arange(highest + 1, highest + 1 + int(new.sum()), dtype=np.uint64)
            highest += int(new.sum())
            of_roots[roots[first_of_all[local]]] = names[local[first_of_all[local]]]
            names[local] = of_roots[roots]
            labels[begin : begin + len(sizes)] = names
        labels.flush()
        return highest

    def _measures(self, first: Numbers) -> Iterator[tuple[int, Numbers, npt.NDArray[np.float64]]]:
        """Yield for each block the number of its first segment, the sizes of all and the sums of their evidence."""
        for index in range(len(first) - 1):
            sizes, sums = self.load_block(index, "sizes", "sums")
            yield int(first[index]), sizes, sums if len(sums) else np.zeros(len(sizes))


@attrs.define(kw_only=True, eq=False)
class Matching(Segmentation):
    """The second pass: finds which segments of a block are those of its neighbors."""

    @property
    def name(self) -> str:
        return "match"

    def open(self) -> None:
        """Open the segments of the single blocks."""
        self.fragments = _open(self.fragments_identifier)

    def process(self, block: daisy.Block) -> None:
        """Write down the pairs of a block and those of its neighbors that come later."""
        write_roi = _roi(block.write_roi)
        index = self.block_index(write_roi)
        (mine,) = self.load_block(index, "layer")
        written = self.fragments[write_roi]  # read once, for all neighbors
        pairs = [np.zeros((0, 2), dtype=np.uint64)]
        for other, other_roi in self._later_neighbors(write_roi):
            (theirs,) = self.load_block(other, "layer")
            near = self.seen(write_roi).intersect(other_roi)
            facing = self.fragments[near] if not near.empty else np.zeros((0,) * near.dims, np.uint64)
            seen = [
                self._overlaps(mine, write_roi, facing, near),
                self._overlaps(theirs, other_roi, written, write_roi)[:, ::-1],
            ]
            both, count = np.unique(np.concatenate(seen), axis=0, return_counts=True)
            pairs.append(both[count == 2])
        self.save_block(index, "pairs", pairs=np.concatenate(pairs))

    def _overlaps(
        self, view: npt.NDArray[np.uint64], of: Roi, written: npt.NDArray[np.uint64], where: Roi
    ) -> npt.NDArray[np.uint64]:
        """Return which segments of a block overlap with what others have written, as far as the block sees it.

        Args:
            view: The block's labels in the layer around it, one after the other.
            of: What the block writes.
            written: What others have written.
            where: The region of that.
        """
        mine, others, at = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)], 0
        for layer in self.layers(of):
            shape = tuple(layer.shape / self.voxel_size)
            labels = view[at : at + math.prod(shape)].reshape(shape)
            at += labels.size
            part = layer.intersect(where)
            if not part.empty:
                mine.append(labels[slices_of(part, layer, self.voxel_size)].ravel())
                others.append(written[slices_of(part, where, self.voxel_size)].ravel())
        return overlapping_pairs(np.concatenate(mine), np.concatenate(others), self.min_overlap)

    def _later_neighbors(self, write_roi: Roi) -> Iterator[tuple[int, Roi]]:
        """Yield the number and the region of each block that touches one and comes after it."""
        steps = list(itertools.product((-1, 0, 1), repeat=self.region.dims))
        for step in steps[len(steps) // 2 + 1 :]:
            begin = write_roi.begin + self.block_shape * Coordinate(step)
            roi = Roi(begin, self.block_shape).intersect(self.region)
            if not roi.empty and self.region.contains(begin):
                yield self.block_index(Roi(begin, self.block_shape)), roi


@attrs.define(kw_only=True, eq=False)
class Relabeling(Segmentation):
    """The third pass: writes the joined labels of a block to the output."""

    @property
    def name(self) -> str:
        return "relabel"

    def open(self) -> None:
        """Open arrays and tables; the tables are read from disk as they are needed."""
        self.fragments = _open(self.fragments_identifier)
        self.target = _open(self.output, "a")
        self.first = np.load(self.folder / "first.npy", mmap_mode="r", allow_pickle=False)
        self.labels = np.load(self.folder / "labels.npy", mmap_mode="r", allow_pickle=False)

    def process(self, block: daisy.Block) -> None:
        """Write a block."""
        import fastremap

        write_roi = _roi(block.write_roi)
        # Without anything to grow there is no context.
        roi = _roi(block.read_roi).intersect(self.region)
        ids, rank = fastremap.unique(self.fragments[roi], return_inverse=True)
        rank = rank.reshape(tuple(roi.shape / self.voxel_size))
        table = np.zeros(len(ids), dtype=np.uint64)
        table[ids > 0] = self.labels[dense_numbers(ids[ids > 0], self.first, self.block_voxels)]
        small = table == SMALL
        table[small] = 0
        labels = table[rank]
        if small.any():
            labels = grow_into(labels, small[rank])
        self.target[write_roi] = labels[slices_of(write_roi, roi, self.voxel_size)].astype(self.target.dtype)


def run_segmentation(
    segmentation: Segmentation,
    num_workers: int,
    *,
    overwrite: bool,
    resume: Resume | None,
    into_existing: bool | None = False,
    keep: bool = False,
    **how: Any,
) -> None:
    """Do all passes over the blocks.

    Args:
        segmentation: What to do.
        num_workers: Number of workers at most.
        overwrite: Whether to replace an output of other parameters.
        resume: What becomes of earlier work with the same parameters. None keeps no record, and begins anew.
        into_existing: Whether to write into the output if it is there, see
            :func:`~dacapo.blockwise.record.open_record`.
        keep: Whether to keep the segments of the single blocks, in the folder of the record.
        **how: As for :func:`~dacapo.blockwise.running.run_stage`.

    Raises:
        DacapoError: As :func:`~dacapo.blockwise.segment_blockwise`.
    """
    check_numbers(num_workers, how.get("max_retries", 0), how.get("timeout"))  # before anything is written
    if resume is None:
        segmentation.output.container.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".segments_", dir=segmentation.output.container) as folder:
            segmentation = attrs.evolve(segmentation, folder=Path(folder).resolve())
            segmentation.create_output(into_existing is not False)
            _run_passes(segmentation, None, num_workers, how)
        return
    with open_record(
        segmentation.output,
        segmentation.parameters(),
        segmentation.blocks(),
        overwrite=overwrite,
        resume=resume,
        fixed_blocks=True,
        into_existing=into_existing,
        check=segmentation.check_output,
    ) as record:
        if record.is_complete:
            return
        segmentation = attrs.evolve(segmentation, folder=record.folder.resolve())
        record.create(functools.partial(segmentation.create_output, record.into_existing))
        _run_passes(segmentation, record, num_workers, how)
        if not keep:
            segmentation.remove()
        record.complete()


def _run_passes(segmentation: Segmentation, record: Record | None, num_workers: int, how: dict[str, Any]) -> None:
    run_stage(segmentation, record, num_workers, **how)
    how = {**how, "upstream_tasks": None}
    run_stage(segmentation.next_pass(Matching), record, num_workers, **how)
    segmentation.merge()
    growth = segmentation.growth if segmentation.absorb_below > 1 else segmentation.growth * 0
    last = attrs.evolve(segmentation.next_pass(Relabeling), before=growth, after=growth)
    run_stage(last, record, num_workers, **how)


def dense_numbers(ids: npt.NDArray[np.uint64], first: Numbers, block_voxels: int) -> Numbers:
    """Return the numbers of segments without a gap, from 0 on.

    Args:
        ids: Segments, by the number of their block times the voxels of a block, plus their number in it from 1 on.
        first: The dense number of the first segment of each block.
        block_voxels: The voxels of a block.
    """
    block, local = np.divmod(ids.astype(np.int64) - 1, block_voxels)
    return np.asarray(first[block] + local)


def _open(identifier: LocalArrayIdentifier, mode: str = "r") -> ZarrArray:
    return ZarrArray.open_from_array_identifier(identifier, mode=mode)


def _save(file: Path, array: npt.NDArray[Any]) -> None:
    partial = file.with_suffix(".partial")
    with partial.open("wb") as handle:
        np.save(handle, array)
    partial.replace(file)


def _as_coordinate(context: Sequence[int] | int, dims: int) -> Coordinate:
    values = (context,) * dims if isinstance(context, (int, np.integer)) else tuple(context)
    if len(values) != dims or any(value < 0 for value in values):
        raise ConfigError(f"context is {context}; expected a number for each of {dims} axes, or one for all, from 0 on")
    return Coordinate(values)


def _chunk_edge(block_edge: int) -> int:
    """Return the edge of chunks from which a layer of voxels can be read without reading whole blocks."""
    low, high = _CHUNK_EDGES
    edges = [edge for edge in range(low, high + 1) if block_edge % edge == 0]
    return max(edges, default=block_edge)


def _roi(roi: Any) -> Roi:
    return Roi(roi.offset, roi.shape)
