"""Names of labels mean nothing, nor does the direction of an axis or the order of axes: laws of all label functions."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import numpy as np
import pytest
from funlib.geometry import Coordinate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig, MergeInstancesArrayConfig
from dacapo.experiments.tasks.evaluators.binary_segmentation_evaluator import CRITERIA
from dacapo.utils.affinities import grow_boundaries, padding, seg_to_affgraph
from dacapo.utils.binary_metrics import BinaryComparison
from dacapo.utils.distances import signed_distance
from dacapo.utils.lsds import descriptor_names, local_shape_descriptors
from dacapo.utils.segmentation import absorb_small, mutex_watershed
from dacapo.utils.voi import contingency, voi
from tests.helpers.arrays import GivenArrayConfig, build
from tests.helpers.segments import same_parts

LABELS = 4
VOXEL_SIZE = (7, 3, 2)


@attrs.frozen
class Move:
    """Some axes reversed, then all of them put into another order."""

    reversed: tuple[int, ...]
    order: tuple[int, ...]

    def volume(self, values: Any) -> Any:
        """Move a volume, whose spatial axes are the last ones."""
        leading = values.ndim - len(self.order)
        turned = np.flip(values, [leading + axis for axis in self.reversed])
        return np.ascontiguousarray(turned.transpose(*range(leading), *(leading + axis for axis in self.order)))

    def offset(self, offset: Any) -> tuple[int, ...]:
        """Move a step from voxel to voxel."""
        return tuple(-offset[axis] if axis in self.reversed else offset[axis] for axis in self.order)

    def size(self, size: Any) -> tuple[int, ...]:
        """Move what has no direction."""
        return tuple(size[axis] for axis in self.order)


shapes = st.integers(2, 3).flatmap(lambda dims: hnp.array_shapes(min_dims=dims, max_dims=dims, max_side=6))


def volumes(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Return labels in small blocks, or one by one."""
    single = hnp.arrays(np.uint8, shape, elements=st.integers(0, LABELS))
    coarse = hnp.arrays(np.uint8, tuple(-(-size // 2) for size in shape), elements=st.integers(0, LABELS))

    def enlarge(labels: Any) -> Any:
        return np.kron(labels, np.ones((2,) * len(shape), np.uint8))[tuple(map(slice, shape))]

    return single | coarse.map(enlarge)


def moves(dims: int) -> st.SearchStrategy[Move]:
    return st.builds(
        Move,
        st.sets(st.integers(0, dims - 1)).map(tuple),
        st.permutations(range(dims)).map(tuple),
    )


@st.composite
def two_volumes_and_a_move(draw: st.DrawFn) -> tuple[Any, Any, Move]:
    shape = draw(shapes)
    return draw(volumes(shape)), draw(volumes(shape)), draw(moves(len(shape)))


# Of 0 on, which is no object and keeps its name. Ids of real volumes use all 64 bits.
namings = st.lists(st.integers(1, 2**64 - 1), min_size=LABELS, max_size=LABELS, unique=True).map(
    lambda names: np.array([0, *names], np.uint64)
)
small_namings = st.permutations(range(1, 3 * LABELS)).map(lambda names: np.array([0, *names[:LABELS]], np.int64))


def offsets(dims: int) -> st.SearchStrategy[list[tuple[int, ...]]]:
    step = st.tuples(*[st.integers(-3, 3)] * dims)
    return st.lists(step.filter(any), min_size=1, max_size=4)


def without_single_voxels(segments: Any) -> Any:
    """Return segments of two and more voxels; which of the single ones mwatershed counts depends on the direction."""
    _, index, sizes = np.unique(segments, return_inverse=True, return_counts=True)
    return np.where(sizes[index.reshape(segments.shape)] > 1, segments, 0)


class TestAffinities:
    @given(two_volumes_and_a_move(), namings, st.data())
    def test_move_with_the_labels(self, case: Any, names: Any, data: st.DataObject) -> None:
        labels, _, move = case
        steps = data.draw(offsets(labels.ndim))
        moved = seg_to_affgraph(names[move.volume(labels)], [move.offset(step) for step in steps])
        np.testing.assert_array_equal(moved, move.volume(seg_to_affgraph(labels, steps)))

    @given(two_volumes_and_a_move(), st.data())
    def test_steps_there_and_back_are_the_same(self, case: Any, data: st.DataObject) -> None:
        labels, _, _ = case
        (step, *_) = data.draw(offsets(labels.ndim))
        there, back = seg_to_affgraph(labels, [step, tuple(-s for s in step)])
        assert there.sum() == back.sum()

    @given(st.integers(2, 3).flatmap(lambda dims: st.tuples(offsets(dims), moves(dims))))
    def test_padding_moves_with_the_steps(self, case: Any) -> None:
        steps, move = case
        size = VOXEL_SIZE[: len(move.order)]
        low, high = padding(steps, Coordinate(size))
        got = padding([move.offset(step) for step in steps], Coordinate(move.size(size)))
        # What reaches back is negative.
        turned = [
            (-high[axis], -low[axis]) if axis in move.reversed else (low[axis], high[axis]) for axis in move.order
        ]
        assert list(zip(*got, strict=True)) == turned

    @given(two_volumes_and_a_move(), namings, st.integers(0, 2))
    def test_boundaries_move_with_the_labels(self, case: Any, names: Any, iterations: int) -> None:
        labels, _, move = case
        moved = grow_boundaries(names[move.volume(labels)], iterations)
        np.testing.assert_array_equal(moved, names[move.volume(grow_boundaries(labels, iterations))])


class TestComparison:
    @given(two_volumes_and_a_move(), namings, namings, st.sets(st.integers(0, LABELS)), st.sets(st.integers(0, LABELS)))
    def test_voi(self, case: Any, names: Any, other_names: Any, ignored: Any, other_ignored: Any) -> None:
        one, other, move = case
        expected = voi(one, other, sorted(ignored), sorted(other_ignored))
        renamed = [int(names[label]) for label in ignored], [int(other_names[label]) for label in other_ignored]
        got = voi(names[move.volume(one)], other_names[move.volume(other)], *renamed)
        np.testing.assert_allclose(got, expected, atol=1e-12)

    @given(two_volumes_and_a_move(), namings, namings)
    def test_contingency(self, case: Any, names: Any, other_names: Any) -> None:
        one, other, move = case
        expected = contingency(one, other)
        got = contingency(names[move.volume(one)], other_names[move.volume(other)])
        for counts, same_counts in zip(expected, got, strict=True):
            assert sorted(counts) == sorted(same_counts)
            assert counts.sum() == one.size

    @given(two_volumes_and_a_move(), namings)
    def test_voi_with_oneself_is_nothing(self, case: Any, names: Any) -> None:
        labels, _, _ = case
        assert voi(labels, names[labels], ignore_groundtruth=[]) == (0.0, 0.0)

    @given(two_volumes_and_a_move(), small_namings, st.booleans())
    def test_binary_metrics(self, case: Any, names: Any, masked: bool) -> None:
        truth, test, move = case
        # Less foreground than with all labels.
        truth, test = truth * (truth > 2), test * (test > 1)
        mask = np.indices(truth.shape).sum(axis=0) % 5 > 0 if masked else None
        size = VOXEL_SIZE[: truth.ndim]
        before = BinaryComparison.of(truth, test, size, 5.0, 3.0, mask)
        moved_mask = None if mask is None else move.volume(mask)
        volumes = names[move.volume(truth)], names[move.volume(test)]
        after = BinaryComparison.of(*volumes, move.size(size), 5.0, 3.0, moved_mask)
        for name, criterion in CRITERIA.items():
            expected = pytest.approx(criterion.function(before), rel=1e-6, abs=1e-9, nan_ok=True)
            assert criterion.function(after) == expected, name


class TestShapes:
    @given(two_volumes_and_a_move(), namings)
    def test_distances(self, case: Any, names: Any) -> None:
        labels, _, move = case
        size = VOXEL_SIZE[: labels.ndim]
        moved = signed_distance(names[move.volume(labels)], move.size(size))
        np.testing.assert_allclose(moved, move.volume(signed_distance(labels, size)), rtol=1e-6)

    @given(two_volumes_and_a_move(), namings)
    def test_descriptors(self, case: Any, names: Any) -> None:
        labels, _, move = case
        dims = labels.ndim
        size, sigma = VOXEL_SIZE[:dims], (8.0, 6.0, 5.0)[:dims]
        before = move.volume(local_shape_descriptors(labels, sigma, size))
        after = local_shape_descriptors(names[move.volume(labels)], move.size(sigma), move.size(size))
        # Offsets and variances, one per axis, go with their axes; an offset that is turned round is one from the end.
        expected = before.copy()
        for new, old in enumerate(move.order):
            values = before[old]
            expected[new] = np.where(values > 0, 1 - values, 0) if old in move.reversed else values
            expected[dims + new] = before[dims + old]
        pairs = list(itertools.combinations(range(dims), 2))
        for new_pair, (i, j) in enumerate(pairs):
            old = sorted((move.order[i], move.order[j]))
            values = before[2 * dims + pairs.index((old[0], old[1]))]
            turned = (move.order[i] in move.reversed) != (move.order[j] in move.reversed)
            expected[2 * dims + new_pair] = np.where(values > 0, 1 - values, 0) if turned else values
        assert len(descriptor_names(dims)) == len(expected) == 2 * dims + len(pairs) + 1
        # Of what has no extent the correlations are rounding errors, divided by one another.
        flat = (before[dims : 2 * dims] < 0.02).any(axis=0)
        for values in (expected, after):
            values[2 * dims : -1, flat] = 0
        np.testing.assert_allclose(after, expected, atol=0.01)


class TestRelabelling:
    @pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 1, 2)])
    def test_mutex_watershed_with_steps_out_of_the_volume(self, shape: tuple[int, ...]) -> None:
        # mwatershed panics over them.
        near = [tuple(int(axis == a) for a in range(len(shape))) for axis in range(len(shape))]
        steps = [*near, *(tuple(5 * s for s in step) for step in near)]
        affinities = np.full((len(steps), *shape), 0.9)
        affinities[len(near) :] = 0.6
        segments = mutex_watershed(affinities, steps, 0.5)
        assert (segments == (1 if segments.size > 1 else 0)).all()

    @given(st.data())
    def test_mutex_watershed(self, data: st.DataObject) -> None:
        shape = data.draw(shapes)
        move = data.draw(moves(len(shape)))
        near = [tuple(int(axis == a) for a in range(len(shape))) for axis in range(len(shape))]
        steps = [*near, *(tuple(2 * s for s in step) for step in near)]
        # No two alike: between equals the order of the voxels would decide.
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        affinities = rng.permutation(len(steps) * int(np.prod(shape))).reshape(len(steps), *shape)
        affinities = (affinities + 0.25) / affinities.size
        segments = mutex_watershed(affinities, steps, 0.5)
        moved = mutex_watershed(move.volume(affinities), [move.offset(step) for step in steps], 0.5)
        assert same_parts(without_single_voxels(moved), move.volume(without_single_voxels(segments)))

    @given(two_volumes_and_a_move(), small_namings, st.integers(0, 6))
    def test_small_segments(self, case: Any, names: Any, min_size: int) -> None:
        labels, _, move = case
        result = absorb_small(labels, min_size)
        moved = absorb_small(names[move.volume(labels)], min_size)
        # Which of two neighbors at the same distance grows into a voxel is not said, but that one does.
        np.testing.assert_array_equal(moved > 0, move.volume(result > 0))
        kept = np.isin(labels, [label for label in range(1, LABELS + 1) if (labels == label).sum() >= min_size])
        np.testing.assert_array_equal(moved[move.volume(kept)], names[move.volume(labels)][move.volume(kept)])

    @given(two_volumes_and_a_move(), small_namings, small_namings)
    def test_merged_instances(self, case: Any, names: Any, other_names: Any) -> None:
        one, other, move = case

        def merged(*sources: Any) -> Any:
            configs: list[ArrayConfig] = [
                GivenArrayConfig("s", source, (1,) * source.ndim, (0,) * source.ndim, list("zyx"[: source.ndim]))
                for source in sources
            ]
            array = build(MergeInstancesArrayConfig("merged", configs))
            return array[array.roi]

        moved = merged(names[move.volume(one)], other_names[move.volume(other)])
        assert same_parts(moved, move.volume(merged(one, other)))
