"""A fragment graph on disk: making it once, and reading it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate

from dacapo.blockwise.agglomeration.passes import (
    CONTACTS,
    TILES,
    CountContacts,
    CutFragments,
    FragmentPass,
    whole_tiles,
)
from dacapo.blockwise.journal import Journal, Resume, journal_container, open_journal
from dacapo.blockwise.journal.journal import journal_folder
from dacapo.blockwise.scheduling.run_operation import run_stage
from dacapo.blockwise.segmentation.lookup_table import dense_numbers
from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.compute_context import Execution
from dacapo.experiments.datasplits.datasets.arrays import open_identifier
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.fragments import FragmentParameters, direct_channels
from dacapo.utils.region_graph import Integers, RegionGraph

SUFFIX = "_fragments"
"""Added to the name of a prediction, for the array of its fragments."""


@attrs.frozen(kw_only=True)
class FragmentGraphPlan:
    """How to make the fragment graph of a prediction.

    Attributes:
        input: The affinities.
        offsets: The offset of each affinity, in voxels.
        fragments: The parameters of the fragments.
        block_shape: Shape of a block in voxels; rounded to whole tiles.
    """

    input: LocalArrayIdentifier
    offsets: list[list[int]]
    fragments: FragmentParameters
    block_shape: Coordinate

    @property
    def block_voxels(self) -> Coordinate:
        """Shape of a block of whole tiles, in voxels."""
        array = open_identifier(self.input)
        return whole_tiles(self.block_shape, array.roi.shape / array.voxel_size, self.fragments.tile)

    def check(self) -> None:
        """Check the offsets.

        Raises:
            ConfigError: If none leads to a direct neighbor.
        """
        direct_channels(self.offsets)

    def passes(self, output: LocalArrayIdentifier, folder: Path) -> tuple[CutFragments, CountContacts]:
        """Return the two passes, with files in a folder."""
        array = open_identifier(self.input)
        shared: dict[str, Any] = {
            "input": self.input,
            "output": output,
            "offsets": self.offsets,
            "fragments": self.fragments,
            "folder": folder,
            "region": array.roi,
            "block_shape": self.block_voxels * array.voxel_size,
        }
        return CutFragments(**shared), CountContacts(**shared, after=array.voxel_size)


@attrs.frozen(eq=False)
class FragmentGraph:
    """The fragment graph of a volume.

    Attributes:
        array: The array of fragments.
        first: The dense number of the first fragment of each tile, from 0 on, and at the end the number of all.
        tile_voxels: Number of voxels of a tile.
        sizes: Number of voxels of each fragment, by dense number.
        graph: The contacts of fragments, by dense number.
    """

    array: LocalArrayIdentifier
    first: Integers
    tile_voxels: int
    sizes: Integers
    graph: RegionGraph

    @classmethod
    def read(cls, made_by: FragmentPass) -> FragmentGraph:
        """Read the files of all blocks.

        Raises:
            BlockwiseError: If one is missing or damaged.
        """
        workspace, blocks = Workspace(made_by.folder), range(made_by.grid.count)
        fragments = list(workspace.load_all(TILES, blocks, "numbers", "counts", "sizes"))
        counts = np.zeros(made_by.tiles.count + 1, dtype=np.int64)
        for numbers, of_tiles, _ in fragments:
            counts[numbers + 1] = of_tiles
        first = np.cumsum(counts)
        sizes = np.zeros(int(first[-1]), dtype=np.int64)
        for numbers, of_tiles, of_fragments in fragments:
            within = np.arange(len(of_fragments)) - np.repeat(np.cumsum(of_tiles) - of_tiles, of_tiles)
            sizes[np.repeat(first[numbers], of_tiles) + within] = of_fragments
        graphs = []
        for edges, *histograms in workspace.load_all(CONTACTS, blocks, "edges", "starts", "levels", "counts"):
            dense = dense_numbers(edges.ravel(), first, made_by.tile_voxels).reshape(-1, 2)
            graphs.append(RegionGraph(dense, *histograms))
        return cls(made_by.output, first, made_by.tile_voxels, sizes, RegionGraph.together(graphs))

    def table(self, segments: npt.NDArray[np.uint64]) -> SegmentTable:
        """Return the table that finds the segment of a fragment by its number."""
        return SegmentTable(self.first, segments, self.tile_voxels)


@attrs.frozen(eq=False)
class SegmentTable:
    """The segments of numbered fragments.

    Attributes:
        first: The dense number of the first fragment of each tile.
        segments: The segment of each fragment, by dense number.
        tile_voxels: Number of voxels of a tile.
    """

    first: Integers
    segments: npt.NDArray[np.uint64]
    tile_voxels: int

    def of(self, fragments: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Return the segment of each voxel, given its fragment; 0 for background."""
        import fastremap

        ids, rank = fastremap.unique(fragments, return_inverse=True)
        found = np.zeros(len(ids), dtype=np.uint64)
        found[ids > 0] = self.segments[dense_numbers(ids[ids > 0], self.first, self.tile_voxels)]
        return np.asarray(found[rank.reshape(fragments.shape)])


@contextmanager
def stored_graph(plan: FragmentGraphPlan, execution: Execution) -> Iterator[FragmentGraph]:
    """Make a fragment graph, or read the one that an earlier call made.

    The graph stays beside the prediction: the array of fragments, named like the prediction with ``_fragments`` added,
    and the files of its blocks in the journal of that array. An execution that keeps no journal makes a temporary one.

    Args:
        plan: How to make it.
        execution: The number of workers, the number of retries, and whether to keep earlier work.

    Yields:
        The graph.

    Raises:
        DacapoError: If the arguments do not fit, blocks fail, or the array cannot be written.
    """
    plan.check()
    if execution.resume is None:
        beside = journal_container(plan.input)
        with tempfile.TemporaryDirectory(prefix=".fragments_", dir=beside) as temporary:
            folder = Path(temporary).resolve()
            yield _made(
                plan.passes(LocalArrayIdentifier(folder / "fragments.zarr", "fragments"), folder), None, execution
            )
        return
    output = LocalArrayIdentifier(plan.input.container, plan.input.dataset + SUFFIX)
    cut, count = plan.passes(output, journal_folder(output).resolve())
    resume = Resume.NEVER if execution.resume is Resume.NEVER else Resume.ALWAYS
    with open_journal(output, cut.parameters(), cut.blocks(), overwrite=True, resume=resume) as journal:
        stages = cut.with_blocks(journal.blocks), count.with_blocks(journal.blocks)
        yield _made(stages, journal, execution)


def _made(stages: tuple[CutFragments, CountContacts], journal: Journal | None, execution: Execution) -> FragmentGraph:
    cut, count = stages
    if journal is None:
        cut.create_output()
    elif not journal.is_complete:
        journal.create(cut.create_output)
    if journal is None or not journal.is_complete:
        run_stage(cut, journal, execution)
        run_stage(count, journal, execution)
        if journal is not None:
            journal.complete()
    return FragmentGraph.read(cut)
