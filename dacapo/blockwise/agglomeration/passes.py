"""The passes over blocks that make a fragment graph."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import daisy.v2 as daisy
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.outputs import ORIGIN
from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.blockwise.watershed_function import read_affinities
from dacapo.compute_context import Step
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, open_identifier
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.blocks import BlockGrid, as_roi, slices_of
from dacapo.utils.fragments import FragmentParameters, Levels, as_levels, direct_channels, tile_fragments
from dacapo.utils.region_graph import region_graph

TILES, CONTACTS = "tiles", "contacts"
"""Kinds of files of the blocks."""


@attrs.define(kw_only=True, eq=False)
class FragmentPass(BlockwiseOperation):
    """A pass over the blocks of a fragment graph, whose output is the array of fragments.

    The number of a fragment is that of its tile times the voxels of a tile, plus its number in the tile, from 1 on.

    Attributes:
        input: The affinities.
        offsets: The offset of each affinity, in voxels.
        fragments: The parameters of the fragments.
        folder: Where files of blocks are written.
    """

    input: LocalArrayIdentifier
    offsets: list[list[int]]
    fragments: FragmentParameters
    folder: Path

    def parameters(self) -> dict[str, Any]:
        # The folder is that of the journal; blocks do not change the result.
        return {key: value for key, value in super().parameters().items() if key not in ("folder", "before", "after")}

    @property
    def voxel_size(self) -> Coordinate:
        """Size of a voxel."""
        return open_identifier(self.input).voxel_size

    @property
    def tiles(self) -> BlockGrid:
        """The tiles of the whole region."""
        return BlockGrid(self.region, Coordinate((self.fragments.tile,) * self.region.dims) * self.voxel_size)

    @property
    def tile_voxels(self) -> int:
        """Number of voxels of a tile."""
        return int(self.fragments.tile**self.region.dims)

    def open(self) -> None:
        self.source = open_identifier(self.input)
        self.target = ZarrArray.open_from_array_identifier(self.output, mode="a")
        self.channels = direct_channels(self.offsets)
        self.direct = [self.offsets[channel] for channel in self.channels]
        self.workspace = Workspace(self.folder)

    def levels(self, roi: Roi) -> Levels:
        """Return the affinities to direct neighbors in a region, as levels."""
        affinities, value_range = read_affinities(self.source, len(self.offsets), roi)
        return as_levels(affinities[self.channels], value_range)

    def tiles_of(self, block: Roi) -> Iterator[Roi]:
        """Yield the tiles of a block, in the order of their numbers."""
        tiles = self.tiles
        begin = (block.begin - self.region.begin) / tiles.block_shape
        end = -(-(block.end - self.region.begin) // tiles.block_shape)
        for position in itertools.product(*map(range, begin, end)):
            corner = self.region.begin + tiles.block_shape * Coordinate(position)
            yield Roi(corner, tiles.block_shape).intersect(self.region)


@attrs.define(kw_only=True, eq=False)
class CutFragments(FragmentPass):
    """Writes the fragments of a block, and a file with its tiles, how many fragments each has, and their sizes."""

    @property
    def name(self) -> str:
        return "fragments"

    @property
    def step(self) -> Step:
        return Step.SEGMENT

    def create_output(self) -> None:
        source = open_identifier(self.input)
        ZarrArray.create_from_array_identifier(
            self.output,
            [axis for axis in source.axes if axis not in ("b", "c")],
            self.region,
            None,
            source.voxel_size,
            np.uint64,
            write_size=Coordinate(map(min, self.tiles.block_shape, self.block_shape)),
            overwrite=True,
            world=source.world,
            attributes={ORIGIN: {"operation": self.name}},
        )

    def process(self, block: daisy.Block) -> None:
        write_roi = as_roi(block.write_roi)
        levels = self.levels(write_roi)
        fragments = np.zeros(levels.shape[1:], dtype=np.uint64)
        numbers, counts, sizes = [], [], [np.zeros(0, dtype=np.int64)]
        for tile in self.tiles_of(write_roi):
            where = slices_of(tile, write_roi, self.target.voxel_size)
            labels, count = tile_fragments(levels[(slice(None), *where)], self.direct, self.fragments)
            number = self.tiles.index(tile)
            fragments[where] = np.where(labels > 0, labels + np.uint64(number * self.tile_voxels), np.uint64(0))
            numbers.append(number)
            counts.append(count)
            sizes.append(np.bincount(labels.ravel(), minlength=count + 1)[1:])
        self.target[write_roi] = fragments
        self.workspace.save(
            TILES,
            self.block_index(write_roi),
            numbers=np.array(numbers, dtype=np.int64),
            counts=np.array(counts, dtype=np.int64),
            sizes=np.concatenate(sizes),
        )


@attrs.define(kw_only=True, eq=False)
class CountContacts(FragmentPass):
    """Writes a file with the contacts between the voxels of a block, and to the next voxels of later blocks."""

    @property
    def name(self) -> str:
        return "contacts"

    @property
    def step(self) -> Step:
        return Step.MATCH

    def process(self, block: daisy.Block) -> None:
        import fastremap

        write_roi, read_roi = as_roi(block.write_roi), as_roi(block.read_roi).intersect(self.region)
        fragments = self.target[read_roi]
        # Contacts are counted between small numbers in the same order.
        names, dense = fastremap.unique(fragments, return_inverse=True)
        dense = dense.reshape(fragments.shape).astype(np.uint32)
        if names[0] != 0:  # number 0 is background
            names, dense = np.concatenate([np.zeros(1, dtype=names.dtype), names]), dense + np.uint32(1)
        end = (write_roi.end - read_roi.begin) / self.target.voxel_size
        graph = region_graph(dense, self.levels(read_roi), self.direct, end)
        self.workspace.save(
            CONTACTS,
            self.block_index(write_roi),
            edges=names[graph.edges],
            starts=graph.starts,
            levels=graph.levels,
            counts=graph.counts,
        )


def whole_tiles(block_shape: Coordinate, volume_shape: Coordinate, tile: int) -> Coordinate:
    """Return a shape of blocks of whole tiles, of at least one; all in voxels.

    >>> whole_tiles(Coordinate(100, 30, 90), Coordinate(500, 40, 70), 32)
    (96, 32, 64)
    """
    rounded = (max(tile, extent // tile * tile) for extent in block_shape)
    return Coordinate(
        min(extent, volume) if math.ceil(volume / extent) == 1 else extent
        for extent, volume in zip(rounded, volume_shape, strict=True)
    )
