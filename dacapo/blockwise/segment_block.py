"""Segments of a single block: the function that finds them, and their numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.user_modules import check_arguments, function_of, load_module
from dacapo.errors import BlockwiseError
from dacapo.experiments.datasplits.datasets.arrays import Array

FUNCTION = "segment_function"
CHECK = "check_segment_function"
"""A function that a file may have beside it: gets its arguments before anything is written, and raises if they, or what
is installed, will not do."""

SegmentFunction = Callable[..., Any]
Labels = npt.NDArray[np.uint64]


class BlockRoi(Roi):  # type: ignore[misc]  # funlib has no types
    """What a segment function is to segment: a region, and the block that it belongs to.

    Functions get it as a region, ``input_array[roi]``, or as a block, ``input_array[block.read_roi]``.

    Attributes:
        read_roi: The region, in world units.
        write_roi: What of it is kept.
        block_id: Name of the task and number of the block.
    """

    def __init__(self, read_roi: Roi, write_roi: Roi, block_id: tuple[str, int]) -> None:
        self.read_roi = Roi(read_roi.offset, read_roi.shape)
        self.write_roi = Roi(write_roi.offset, write_roi.shape)
        self.block_id = block_id
        super().__init__(read_roi.offset, read_roi.shape)


def load_segment_function(file: str | Path) -> SegmentFunction:
    """Load the function of a file that segments.

    Raises:
        ConfigError: If there is none.
    """
    return function_of(load_module(file), file, FUNCTION)


def check_segment_function(file: str | Path, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Check that the function of a file can be called with some arguments behind input and region.

    Raises:
        ConfigError: If it cannot.
        DacapoError: What the file's own check says.
    """
    check_arguments(load_segment_function(file), file, [None, None, *args], kwargs)
    check = getattr(load_module(file), CHECK, None)
    if callable(check):
        check(*args, **kwargs)


def with_parameters(file: str | Path, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments for the function of a file, with those in place of a dict ``parameters`` that it holds.

    Raises:
        ConfigError: If there is no such function.
    """
    parameters = kwargs.get("parameters")
    named = inspect.signature(load_segment_function(file)).parameters.get("parameters")
    if not isinstance(parameters, Mapping) or (named is not None and named.kind is not named.VAR_KEYWORD):
        return dict(kwargs)
    return {**{key: value for key, value in kwargs.items() if key != "parameters"}, **parameters}


def segment_region(
    function: SegmentFunction, source: Array, roi: Roi, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Labels, npt.NDArray[Any] | None]:
    """Return the labels that a function finds in a region, and evidence where it gives some.

    Raises:
        BlockwiseError: If it returns no labels of the right shape.
    """
    result = function(source, roi, *args, **kwargs)
    labels, evidence = map(np.asarray, result) if isinstance(result, tuple) else (np.asarray(result), None)
    shape = tuple(roi.shape / source.voxel_size)
    if labels.shape != shape or labels.dtype.kind not in "biu":
        raise BlockwiseError(
            f"{FUNCTION} returned {labels.dtype} of shape {labels.shape} for {roi}; "
            f"expected whole numbers of shape {shape}"
        )
    if evidence is not None and (evidence.shape != shape or evidence.dtype.kind not in "biuf"):
        raise BlockwiseError(
            f"{FUNCTION} returned evidence of {evidence.dtype} of shape {evidence.shape} for {roi}; "
            f"expected real numbers of shape {shape}"
        )
    if labels.dtype.kind == "i" and labels.min(initial=0) < 0:
        raise BlockwiseError(f"{FUNCTION} returned the label {labels.min()}; expected none below 0")
    return labels.astype(np.uint64, copy=False), evidence


@attrs.frozen
class FoundSegments:
    """The segments of what a block writes.

    Attributes:
        ids: Their labels, sorted; 0 is none.
        rank: For each voxel, in one row, the index of its label among all, the background first where there is some.
        has_background: Whether there is some.
        shape: Shape of the block.
    """

    ids: Labels
    rank: npt.NDArray[np.int64]
    has_background: bool
    shape: tuple[int, ...]

    @classmethod
    def of(cls, labels: Labels) -> FoundSegments:
        """Find the segments in the labels of a block."""
        import fastremap

        found, rank = fastremap.unique(np.ascontiguousarray(labels), return_inverse=True)
        background = len(found) > 0 and found[0] == 0
        return cls(found[int(background) :], rank.reshape(-1).astype(np.int64), bool(background), labels.shape)

    def numbered(self, numbers: Labels) -> Labels:
        """Return the block with new labels for its segments, given in the order of ``ids``."""
        table = np.concatenate([np.zeros(int(self.has_background), np.uint64), numbers.astype(np.uint64)])
        return np.asarray(table[self.rank].reshape(self.shape))

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of voxels of each segment."""
        return np.bincount(self.rank, minlength=len(self.ids) + self.has_background)[int(self.has_background) :]

    def sums(self, evidence: npt.NDArray[Any] | None) -> npt.NDArray[np.float64]:
        """Return the sum of the evidence of each segment; nothing where there is none."""
        if evidence is None:
            return np.zeros(0)
        sums = np.bincount(self.rank, evidence.ravel(), minlength=len(self.ids) + self.has_background)
        return np.asarray(sums[int(self.has_background) :], dtype=np.float64)


def replaced(labels: npt.NDArray[Any], ids: npt.NDArray[Any], numbers: npt.NDArray[Any]) -> Labels:
    """Return labels with each of some sorted ids replaced by its number, and all others by 0."""
    if not len(ids):
        return np.zeros(labels.shape, dtype=np.uint64)
    rank = np.minimum(np.searchsorted(ids, labels), len(ids) - 1)
    return np.where(ids[rank] == labels, numbers[rank].astype(np.uint64), np.uint64(0))


def layers(inner: Roi, outer: Roi) -> Iterator[Roi]:
    """Yield regions that together are what a region has around another one inside it."""
    for axis in range(outer.dims):
        begin, end = list(outer.begin), list(outer.end)
        # Along the axes before this one only what is inside, or corners would come twice.
        begin[:axis], end[:axis] = inner.begin[:axis], inner.end[:axis]
        for side in ((outer.begin[axis], inner.begin[axis]), (inner.end[axis], outer.end[axis])):
            begin[axis], end[axis] = side
            if side[0] < side[1]:
                yield Roi(begin, Coordinate(end) - Coordinate(begin))


def slices_of(part: Roi, whole: Roi, voxel_size: Coordinate) -> tuple[slice, ...]:
    """Return where a region lies in the voxels of another one."""
    begin, end = (part.begin - whole.begin) / voxel_size, (part.end - whole.begin) / voxel_size
    return tuple(slice(int(b), int(e)) for b, e in zip(begin, end, strict=True))
