"""Joining segments: against connected components of the whole graph, and brute force."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import attrs
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dacapo.blockwise.scheduling.run_operation import run_stage
from dacapo.blockwise.segmentation import plan as plan_module
from dacapo.blockwise.segmentation.cross_block_merges import find_components
from dacapo.blockwise.segmentation.gathering import Gathering
from dacapo.blockwise.segmentation.joining import check_min_overlap, overlapping_pairs, roots_of
from dacapo.blockwise.segmentation.lookup_table import SMALL, FragmentTable, write_lookup_table
from dacapo.blockwise.segmentation.plan import SegmentationPlan
from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.compute_context import Execution
from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.segments import plan_of_voxels

EDGES = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40)
SMALL_EDGE = 3  # of a block, in voxels


def components(count: int, ends: np.ndarray) -> np.ndarray:
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    found: np.ndarray = connected_components(graph, directed=False)[1]
    return found


@given(EDGES)
def test_roots_are_the_components_of_the_graph(pairs: list[tuple[int, int]]) -> None:
    edges = np.array(pairs, dtype=np.uint64).reshape(-1, 2)
    expected = components(20, edges.astype(np.int64))
    firsts = {c: int(np.flatnonzero(expected == c)[0]) for c in set(expected.tolist())}
    assert roots_of(np.arange(20, dtype=np.uint64), edges).tolist() == [firsts[c] for c in expected.tolist()]


def test_long_chain_in_any_order() -> None:
    count = 3000
    edges = np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)
    np.random.default_rng(0).shuffle(edges)
    assert set(roots_of(np.arange(count), edges)) == {0}


def test_segments_with_large_numbers() -> None:
    """As in a volume of nearly 2^63 voxels."""
    top = (1 << 63) - 1
    nodes = np.array([3, top - 5, top - 1, top])
    assert roots_of(nodes, np.array([[top - 1, top - 5], [top - 5, 3]])).tolist() == [0, 0, 0, 3]
    found = find_components(nodes.astype(np.uint64), np.array([[top - 1, top - 5]]))
    assert found.tolist() == [3, top - 5, top - 5, top]


@attrs.frozen
class Blocks:
    """Files of blocks as the first two passes write them, with fragments and pairs that were made up."""

    plan: SegmentationPlan
    workspace: Workspace
    sizes: list[np.ndarray]
    sums: list[np.ndarray]
    pairs: list[tuple[int, int]]

    @classmethod
    def of(
        cls, folder: Path, grid: tuple[int, ...], fragments: int, pairs: int, seed: int, absorb_below: int
    ) -> Blocks:
        """Make blocks with up to so many fragments, and so many pairs with each later neighbor."""
        rng, one = np.random.default_rng(seed), Coordinate((1,) * len(grid))
        edge = max(SMALL_EDGE, fragments)
        region, output = (
            Roi(one * 5, one * edge * Coordinate(grid)),
            LocalArrayIdentifier(folder / "out.zarr", "labels"),
        )
        ZarrArray.create_from_array_identifier(
            output, ["z", "y", "x"][-len(grid) :], region, None, one, np.uint64, write_size=one * edge
        )
        plan = plan_of_voxels(output, region, one * edge, absorb_below=absorb_below)
        workspace, count = Workspace(folder / "work"), plan.grid.count
        counts = rng.integers(fragments // 2, fragments + 1, count)
        sizes = [rng.integers(1, 20, number) for number in counts]
        # Sums of thirds depend on the order of the summands.
        sums = [rng.integers(-3, 5, number) / 3 if rng.random() < 0.9 else np.zeros(0) for number in counts]
        all_pairs = []
        for index, block in enumerate(plan.grid):
            workspace.save("blocks", index, sizes=sizes[index], sums=sums[index])
            mine = [
                (index * plan.block_voxels + int(a), other * plan.block_voxels + int(b))
                for other in map(plan.grid.index, plan.grid.later_neighbors(block))
                if counts[index] and counts[other]
                for a, b in rng.integers(1, [counts[index] + 1, counts[other] + 1], (pairs, 2))
            ]
            workspace.save("pairs", index, pairs=np.array(mine, dtype=np.uint64).reshape(-1, 2))
            all_pairs += mine
        sums = [some if len(some) else np.zeros(number) for some, number in zip(sums, counts, strict=True)]
        return cls(plan, workspace, sizes, sums, all_pairs)

    def gather(self) -> None:
        run_stage(Gathering.of(self.plan, self.workspace.folder), None, Execution(), in_process=True)

    def labels(self) -> np.ndarray:
        """Join, and return the label of each fragment."""
        self.gather()
        write_lookup_table(self.plan, self.workspace)
        found: np.ndarray = np.load(self.workspace.labels_file)[:-1]
        self.workspace.remove()
        return found

    def expected(self) -> list[int]:
        """Return the labels by brute force."""
        names = [b * self.plan.block_voxels + i + 1 for b, sizes in enumerate(self.sizes) for i in range(len(sizes))]
        number = {name: index for index, name in enumerate(names)}
        ends = np.array([(number[a], number[b]) for a, b in self.pairs], dtype=np.int64).reshape(-1, 2)
        sizes, sums = np.concatenate(self.sizes), np.concatenate(self.sums)
        totals: dict[int, list[float]] = {}
        found = components(len(names), ends).tolist()
        for index, component in enumerate(found):
            size, total = totals.get(component, [0, 0.0])
            totals[component] = [size + sizes[index], total + sums[index]]
        labels, last = {}, 0
        for component in dict.fromkeys(found):
            size, total = totals[component]
            kept = total >= 0 and size >= self.plan.absorb_below
            last += kept
            labels[component] = last if kept else (0 if total < 0 else int(SMALL))
        return [labels[component] for component in found]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([(1, 1), (3, 4), (2, 5), (3, 2, 4), (1, 7, 2)]),
    st.sampled_from([1, 2, 5, 9, 100]),
    st.integers(0, 6),
    st.integers(0, 3),
    st.integers(0, 30),
    st.integers(0, 999),
)
def test_labels_by_brute_force_for_runs_of_any_length(
    monkeypatch: pytest.MonkeyPatch,
    grid: tuple[int, ...],
    run: int,
    fragments: int,
    pairs: int,
    absorb_below: int,
    seed: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder, monkeypatch.context() as patch:
        patch.setattr(plan_module, "_RUN", run)
        blocks = Blocks.of(Path(folder), grid, fragments, pairs, seed, absorb_below)
        assert blocks.labels().tolist() == blocks.expected()


def test_memory_of_joining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented number of bytes for each fragment that has a pair, beyond what a run takes."""
    monkeypatch.setattr(plan_module, "_RUN", 1)
    blocks = Blocks.of(tmp_path, (10, 10), 500, 400, 0, 3)
    blocks.gather()
    write_lookup_table(blocks.plan, blocks.workspace)  # compiles
    members = int(FragmentTable.of(blocks.plan, blocks.workspace).members[-1])
    assert members > 25_000
    tracemalloc.start()
    try:
        write_lookup_table(blocks.plan, blocks.workspace)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    a_run = 500 * 150
    assert peak < 32 * members + a_run + 100_000


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60), st.sampled_from([0.0, 0.2, 0.5, 0.9]))
def test_pairs_by_brute_force(voxels: list[tuple[int, int]], min_overlap: float) -> None:
    values = np.array(voxels, dtype=np.uint64).reshape(-1, 2)
    foreground = [(a, b) for a, b in voxels if a and b]
    expected = []
    for pair in sorted(set(foreground)):
        smaller = min(sum(a == pair[0] for a, _ in foreground), sum(b == pair[1] for _, b in foreground))
        if foreground.count(pair) > min_overlap * smaller:
            expected.append(list(pair))
    assert overlapping_pairs(values[:, 0], values[:, 1], min_overlap).tolist() == expected


def test_pairs_keep_all_64_bits() -> None:
    large = np.array([2**63 + 1, 2**63 + 2], dtype=np.uint64)
    assert overlapping_pairs(large, large[::-1]).tolist() == [[2**63 + 1, 2**63 + 2], [2**63 + 2, 2**63 + 1]]


@pytest.mark.parametrize("value", [-0.1, 1, 7, float("nan")])
def test_no_part_of_a_whole(value: float) -> None:
    with pytest.raises(ConfigError, match="min_overlap"):
        check_min_overlap(value)
