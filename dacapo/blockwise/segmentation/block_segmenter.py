"""Segmenting blocks in a Daisy task of the user.

Unlike :func:`.run_segmentation`, this needs no plan: blocks may lie anywhere. A fragment is named by the place of its
first voxel in the output, which makes names unique. The workers share a folder. In a copy of all fragments, a block
finds those that other blocks have written around it; a file for each block lists its fragments and the pairs that
overlap.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import daisy.v2 as daisy
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.journal.identity import array_identity, code_identity
from dacapo.blockwise.outputs import ORIGIN, in_form_of
from dacapo.blockwise.segmentation.fragments import FoundSegments, Labels, replaced
from dacapo.blockwise.segmentation.joining import overlapping_pairs
from dacapo.blockwise.segmentation.segment_function import (
    BlockRoi,
    SegmentFunction,
    check_segment_function,
    load_segment_function,
    segment_region,
)
from dacapo.errors import ConfigError, DtypeError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray, open_identifier
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.files import is_folder
from dacapo.utils.blocks import as_roi, shell, slices_of
from dacapo.utils.wording import in_channels

BLOCK_FILE = "block_{}.npz"
_FRAGMENTS = "fragments.zarr"


@attrs.frozen
class BlockSegmenter:
    """Segments blocks, and notes the pairs of segments that overlap with those of neighbors.

    Attributes:
        function: Finds the segments of a region.
        parameters: For the function.
        source: The array to segment.
        output: The array for the fragments.
        fragments: A copy of them, which holds nothing from earlier work.
        folder: The folder that workers share.
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
        """Open the arrays, in a folder that other workers may use.

        Raises:
            ArrayNotFoundError: If an array does not exist.
            ConfigError: If the function is missing or takes other parameters, or the folder belongs to other work.
            DtypeError: If the output cannot hold the names of the segments.
        """
        check_segment_function(function_file, [], parameters)
        opened = ZarrArray.open_from_array_identifier(output)
        voxels = int(np.prod(opened.data.shape))
        channels = opened.num_channels or 1
        if channels != 1 or opened.dtype.kind not in "iu" or voxels > np.iinfo(opened.dtype).max:
            raise DtypeError(
                f"{opened} holds {opened.dtype} in {in_channels(channels)}; the segments of {voxels} voxels need "
                "whole numbers as large as that, such as uint64, and a single channel"
            )
        what = {
            "inputs": [array_identity(source), array_identity(output)],
            "code": code_identity(function_file),
            "parameters": dict(parameters),
        }
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        fragments = _shared_array(folder, opened, digest)
        array = open_identifier(source)
        return cls(load_segment_function(function_file), parameters, array, opened, fragments, folder)

    def process(self, block: daisy.Block) -> None:
        """Segment a block.

        Raises:
            BlockwiseError: If the function returns no labels of the right shape.
        """
        voxel_size = self.output.voxel_size
        write_roi = as_roi(block.write_roi).intersect(self.output.roi)
        read_roi = as_roi(block.read_roi).intersect(self.source.roi)
        if write_roi.empty:
            return
        roi = BlockRoi(read_roi, write_roi, block.block_id)
        labels, evidence = segment_region(self.function, self.source, roi, [], self.parameters)
        inside = slices_of(write_roi, read_roi, voxel_size)
        found = FoundSegments.of(labels[inside])
        nodes = self._names(found, write_roi)
        fragments = found.numbered(nodes)
        self.fragments[write_roi] = fragments
        self.output[write_roi] = in_form_of(self.output, fragments.astype(self.output.dtype), None)
        # Written first, compared second: of two neighbors that run at the same time, at least one sees the other.
        pairs = [np.zeros((0, 2), np.uint64)]
        seen = write_roi.grow(voxel_size, voxel_size).intersect(read_roi).intersect(self.output.roi)
        for region in shell(write_roi, seen):
            mine = replaced(labels[slices_of(region, read_roi, voxel_size)], found.ids, nodes)
            pairs.append(overlapping_pairs(mine, self.fragments[region]))
        sums = found.sums(None if evidence is None else evidence[inside])
        partial = self.folder / f".{os.getpid()}.npz"
        np.savez_compressed(partial, nodes=nodes, edges=np.unique(np.concatenate(pairs), axis=0), sums=sums)
        partial.replace(self.folder / BLOCK_FILE.format(block.block_id[1]))

    def _names(self, found: FoundSegments, write_roi: Roi) -> Labels:
        """Return the name of each segment: the index of its first voxel in the output, in C order from 1 on."""
        _, first = np.unique(found.rank, return_index=True)
        inside = np.unravel_index(first[int(found.has_background) :], found.shape)
        begin = (write_roi.begin - self.output.roi.begin) / self.output.voxel_size
        places = [positions + int(start) for positions, start in zip(inside, begin, strict=True)]
        return np.ravel_multi_index(places, self.fragments.data.shape).astype(np.uint64) + np.uint64(1)


def _shared_array(folder: Path, like: ZarrArray, digest: str) -> ZarrArray:
    """Return the array that workers share; the first worker creates it.

    Raises:
        ConfigError: If the folder belongs to other work.
    """
    shared = LocalArrayIdentifier(folder / _FRAGMENTS, "fragments")
    if not is_folder(shared.container):
        folder.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(prefix=".", dir=folder))
        chunks = [chunk for axis, chunk in zip(like.axes, like.chunks, strict=True) if axis != "c"]
        ZarrArray.create_from_array_identifier(
            LocalArrayIdentifier(own / _FRAGMENTS, "fragments"),
            [axis for axis in like.axes if axis != "c"],
            like.roi,
            None,
            like.voxel_size,
            np.uint64,
            write_size=Coordinate(chunks) * like.voxel_size,
            world=like.world,
            attributes={ORIGIN: {"operation": "segment_worker", "of": digest}},
        )
        try:
            (own / _FRAGMENTS).rename(shared.container)
        except OSError:
            if not is_folder(shared.container):  # else another worker was faster
                raise
        finally:
            shutil.rmtree(own)
    opened = ZarrArray.open_from_array_identifier(shared)
    if opened.attrs[ORIGIN]["of"] != digest:
        raise ConfigError(f"{folder} holds the segments of other data, code or parameters; give an empty folder")
    return opened
