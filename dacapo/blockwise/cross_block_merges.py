"""Segmentation in two tasks of the user: the segments of single blocks first, then the joined ones in their place.

Unlike in :mod:`dacapo.blockwise.segmentation`, nothing has to be known of how the blocks lie. A segment is named by the
place of its first voxel in the output, so names are unique, whatever the blocks. The workers share a folder: in it lies
a copy of the segments, in which each block finds those around it that other blocks have written already, and a file for
each block with its segments, and with the pairs that lie over one another.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.identity import array_identity, code_identity
from dacapo.blockwise.merging import join_all, overlapping_pairs
from dacapo.blockwise.outputs import ORIGIN
from dacapo.blockwise.segment_block import (
    BlockRoi,
    FoundSegments,
    Labels,
    SegmentFunction,
    check_segment_function,
    layers,
    load_segment_function,
    replaced,
    segment_region,
    slices_of,
)
from dacapo.errors import BlockwiseError, ConfigError, DtypeError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

if TYPE_CHECKING:
    import daisy.v2 as daisy

_FRAGMENTS = "fragments.zarr"
_BLOCK = "block_{}.npz"


@attrs.frozen
class BlockSegmenter:
    """Segments blocks, and finds out which segments are those of neighbors.

    Attributes:
        function: Finds the segments of a region.
        parameters: For the function.
        source: The array to segment.
        output: Where the segments of single blocks are written.
        fragments: A copy of them, in which there is nothing from before.
        folder: That of the workers.
    """

    function: SegmentFunction
    parameters: Mapping[str, Any]
    source: Array
    output: ZarrArray
    fragments: ZarrArray
    folder: Path

    @classmethod
    def open(
        cls,
        source: LocalArrayIdentifier,
        output: LocalArrayIdentifier,
        folder: Path,
        function_file: str,
        parameters: Mapping[str, Any],
    ) -> BlockSegmenter:
        """Open everything, in a folder that other workers may use.

        Raises:
            ArrayNotFoundError: If an array does not exist.
            ConfigError: If there is no such function, it takes other parameters, or the folder is that of other work.
            DtypeError: If the output cannot hold the names of the segments.
        """
        check_segment_function(function_file, [], parameters)
        opened = ZarrArray.open_from_array_identifier(output)
        voxels = int(np.prod(opened.data.shape))
        if opened.channel_axis is not None or opened.dtype.kind not in "iu" or voxels > np.iinfo(opened.dtype).max:
            raise DtypeError(
                f"{opened} holds {opened.dtype} with axes {opened.axes}; the segments of {voxels} voxels need whole "
                "numbers as large as that, such as uint64, and no channel axis"
            )
        what = {
            "inputs": [array_identity(source), array_identity(output)],
            "code": code_identity(function_file),
            "parameters": dict(parameters),
        }
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        fragments = _shared_array(folder, opened, digest)
        array = ZarrArray.open_from_array_identifier(source, mode="r")
        return cls(load_segment_function(function_file), parameters, array, opened, fragments, folder)

    def process(self, block: daisy.Block) -> None:
        """Segment a block.

        Raises:
            BlockwiseError: If the function returns no labels of the right shape.
        """
        voxel_size = self.output.voxel_size
        write_roi = Roi(block.write_roi.offset, block.write_roi.shape).intersect(self.output.roi)
        read_roi = Roi(block.read_roi.offset, block.read_roi.shape).intersect(self.source.roi)
        if write_roi.empty:
            return
        roi = BlockRoi(read_roi, write_roi, block.block_id)
        labels, evidence = segment_region(self.function, self.source, roi, [], self.parameters)
        inside = slices_of(write_roi, read_roi, voxel_size)
        found = FoundSegments.of(labels[inside])
        nodes = self._names(found, write_roi)
        fragments = found.numbered(nodes)
        self.fragments[write_roi] = fragments
        self.output[write_roi] = fragments.astype(self.output.dtype)
        # Of two neighbors that are segmented at the same time, the one that has written later sees the other.
        pairs = [np.zeros((0, 2), np.uint64)]
        seen = write_roi.grow(voxel_size, voxel_size).intersect(read_roi).intersect(self.output.roi)
        for layer in layers(write_roi, seen):
            mine = replaced(labels[slices_of(layer, read_roi, voxel_size)], found.ids, nodes)
            pairs.append(overlapping_pairs(mine, self.fragments[layer]))
        sums = found.sums(None if evidence is None else evidence[inside])
        partial = self.folder / f".{os.getpid()}.npz"
        np.savez_compressed(partial, nodes=nodes, edges=np.unique(np.concatenate(pairs), axis=0), sums=sums)
        partial.replace(self.folder / _BLOCK.format(block.block_id[1]))

    def _names(self, found: FoundSegments, write_roi: Roi) -> Labels:
        """Return for each segment the place of its first voxel among those of the output, from 1 on."""
        _, first = np.unique(found.rank, return_index=True)
        inside = np.unravel_index(first[int(found.has_background) :], found.shape)
        begin = (write_roi.begin - self.output.roi.begin) / self.output.voxel_size
        places = [positions + int(start) for positions, start in zip(inside, begin, strict=True)]
        return np.ravel_multi_index(places, self.output.data.shape).astype(np.uint64) + np.uint64(1)


def _shared_array(folder: Path, like: ZarrArray, digest: str) -> ZarrArray:
    """Return the array that workers share; the first one creates it.

    Raises:
        ConfigError: If the folder is that of other work.
    """
    shared = LocalArrayIdentifier(folder / _FRAGMENTS, "fragments")
    if not shared.container.exists():
        folder.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(prefix=".", dir=folder))
        array = ZarrArray.create_from_array_identifier(
            LocalArrayIdentifier(own / _FRAGMENTS, "fragments"),
            like.axes,
            like.roi,
            None,
            like.voxel_size,
            np.uint64,
            write_size=Coordinate(like.data.chunks) * like.voxel_size,
        )
        array.add_metadata({ORIGIN: {"operation": "segment_worker", "of": digest}})
        try:
            (own / _FRAGMENTS).rename(shared.container)
        except OSError:
            if not shared.container.exists():  # else another worker was faster
                raise
        finally:
            shutil.rmtree(own)
    opened = ZarrArray.open_from_array_identifier(shared)
    if opened.attrs[ORIGIN]["of"] != digest:
        raise ConfigError(f"{folder} holds the segments of other data, code or parameters; give an empty folder")
    return opened


def block_contents(folder: Path) -> Iterable[dict[str, npt.NDArray[Any]]]:
    """Yield what the files of blocks hold: those of the segment worker, or those that a segmentation has kept.

    Raises:
        BlockwiseError: If one is damaged, or there is none.
    """
    files = [*sorted(folder.glob(_BLOCK.format("*"))), *sorted(folder.glob("pairs/*/*.npz"))]
    if not files:
        raise BlockwiseError(f"{folder} holds no segments of blocks; run the segment worker first, with this folder")
    for file in files:
        try:
            with np.load(file, allow_pickle=False) as loaded:
                content = {name: np.asarray(loaded[name]) for name in loaded}
                edges = content["edges"] if "edges" in content else content["pairs"]
                nodes = content["nodes"] if "nodes" in content else np.unique(edges)
        except (OSError, ValueError, KeyError) as error:
            raise BlockwiseError(f"{file} is missing or damaged: {error}") from error
        yield {"nodes": nodes, "edges": edges.reshape(-1, 2), "sums": content.get("sums", np.zeros(0))}


def read_cross_block_merges(tmpdir: Path | str) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the segments of all blocks, and which of them are one.

    Args:
        tmpdir: Folder of the segment worker, or one that :func:`dacapo.blockwise.segment_blockwise` has kept; of that
            only the segments are known that have a pair.

    Returns:
        The segments, sorted, and one row (segment, other segment) per pair.

    Raises:
        BlockwiseError: If the folder holds none, or a file in it is damaged.
    """
    contents = list(block_contents(Path(tmpdir)))
    nodes = np.unique(np.concatenate([content["nodes"] for content in contents]))
    return nodes, np.concatenate([content["edges"] for content in contents])


def find_components(nodes: npt.NDArray[Any], edges: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return for each node the least one of those that edges join it to.

    Args:
        nodes: Segments, of any order; each once.
        edges: Pairs of them, one per row.

    Raises:
        ConfigError: If an edge has an end that is no node.

    >>> find_components(np.array([7, 1, 3, 5]), np.array([[5, 3], [7, 5]])).tolist()
    [3, 1, 3, 3]
    """
    nodes, edges = np.asarray(nodes), np.asarray(edges).reshape(-1, 2)
    unknown = np.setdiff1d(edges, nodes)
    if len(unknown):
        raise ConfigError(f"edges join {unknown[:5].tolist()}, which are no nodes")
    joined = join_all(lambda: [edges])
    components = nodes.copy()
    has_pair = np.isin(nodes, joined.nodes)
    rank = np.searchsorted(joined.nodes, nodes[has_pair])
    components[has_pair] = joined.nodes[joined.roots[rank]].astype(nodes.dtype)
    return components


def without_doubtful(folder: Path, nodes: npt.NDArray[Any], components: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return components with 0 for those whose evidence sums up to less than 0 over all blocks."""
    parts = [(content["nodes"], content["sums"]) for content in block_contents(folder) if len(content["sums"])]
    if not parts:
        return components
    some, sums = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    order = np.argsort(nodes)
    _, index = np.unique(components, return_inverse=True)
    of_parts = index[order[np.searchsorted(nodes, some, sorter=order)]]
    totals = np.bincount(of_parts, sums, minlength=index.max(initial=-1) + 1)
    return np.where(totals[index] < 0, components.dtype.type(0), components)
