"""Mirror images and turns of volumes, and what they do to targets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.tasks.predictors import (
    AffinitiesPredictor,
    DistancePredictor,
    DummyPredictor,
    HotDistancePredictor,
    InnerDistancePredictor,
    OneHotPredictor,
    Predictor,
)
from dacapo.utils.symmetries import Symmetry, symmetries, unchanged_channels

STEPS = [Coordinate(row) for row in np.eye(3, dtype=int).tolist()]


def test_undoing_gives_back_the_volume() -> None:
    volume = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    found = list(symmetries("aaa", "turns"))
    assert len(set(found)) == len(found) == 48
    assert found[0].apply(volume) is not None
    assert torch.equal(found[0].apply(volume), volume)
    for symmetry in found:
        assert torch.equal(symmetry.undo(symmetry.apply(volume)), volume)


@pytest.mark.parametrize(
    ("kinds", "tta", "count"), [("zaa", "turns", 16), ("aaa", "flips", 8), ("aa", "turns", 8), ("ab", "turns", 4)]
)
def test_only_like_axes_are_exchanged(kinds: str, tta: str, count: int) -> None:
    found = list(symmetries(kinds, tta))
    assert len(found) == count
    assert all(kinds[axis] == kinds[source] for s in found for axis, source in enumerate(s.axes))


def test_an_offset_turns_as_two_voxels_do() -> None:
    volume = torch.zeros(5, 6, 7)
    one, offset = (2, 3, 2), (1, -2, 3)
    other = tuple(a + b for a, b in zip(one, offset, strict=True))
    volume[one], volume[other] = 1, 2
    for symmetry in symmetries("aaa", "turns"):
        turned = symmetry.apply(volume)
        places = [torch.nonzero(turned == value)[0] for value in (1, 2)]
        assert tuple((places[1] - places[0]).tolist()) == symmetry.turn(offset)


def cells(shape: tuple[int, ...]) -> np.ndarray:
    """Return labels with background."""
    labels = np.random.default_rng(3).integers(0, 5, tuple(-(-size // 4) for size in shape))
    return np.kron(labels, np.ones((4,) * len(shape), dtype=int))[tuple(map(slice, shape))].astype(np.uint8)


def target(predictor: Predictor, labels: np.ndarray) -> torch.Tensor:
    axes = ["z", "y", "x"][-labels.ndim :]
    ones = Coordinate((1,) * labels.ndim)
    values = NumpyArray.from_np_array(np.ascontiguousarray(labels), Roi(ones * 0, labels.shape), ones, axes)
    return torch.from_numpy(np.array(predictor.create_target(values).data[:]))


@pytest.mark.parametrize("lsds", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_targets_of_changed_labels_hold_those_of_the_labels(dims: int, lsds: bool) -> None:
    steps = [Coordinate(row[-dims:]) for row in STEPS[-dims:]]
    offsets = [*steps, *(step * -3 for step in steps), Coordinate((1, 2, 0)[-dims:])]
    predictor = AffinitiesPredictor(offsets, lsds=lsds, num_voxels=2)
    labels = cells((12, 13, 14)[-dims:])
    expected, inside = target(predictor, labels), (slice(4, -4),) * dims
    for symmetry in symmetries("a" * dims, "turns"):
        found = symmetry.undo(target(predictor, symmetry.apply(torch.from_numpy(labels)).numpy()))
        sources = predictor.channel_sources(symmetry)
        assert len(sources) == len(expected)
        assert all(source is not None for source in sources[: 2 * dims])  # those along the axes
        for channel, source in enumerate(sources):
            if source is not None:
                shift = source.shift or (0,) * dims
                moved = tuple(slice(4 + s, size - 4 + s) for s, size in zip(shift, labels.shape, strict=True))
                torch.testing.assert_close(
                    found[(source.channel, *moved)], expected[(channel, *inside)], rtol=1e-5, atol=1e-5
                )


def test_what_has_no_direction_stays() -> None:
    nothing, (turned,) = Symmetry((0, 1), (False, False)), [Symmetry((1, 0), (True, False))]
    predictors = [
        (DistancePredictor(["a", "b"], 4.0, False), 2),
        (InnerDistancePredictor(["a"], 4.0), 1),
        (HotDistancePredictor(["a", "b"], 4.0, False), 4),
        (OneHotPredictor(["a", "b", "c"]), 3),
    ]
    for (predictor, count), symmetry in itertools.product(predictors, (nothing, turned)):
        assert predictor.channel_sources(symmetry) == unchanged_channels(count)
    assert DummyPredictor(2).channel_sources(turned) is None
