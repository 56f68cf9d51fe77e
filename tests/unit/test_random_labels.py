"""Growing, filling and finding the borders of labels, against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dacapo.utils.random_labels import dilate_labels, fill_background, membranes

SPACINGS = [(1.0, 1.0, 1.0), (2.5, 1.0, 1.0), (1.0, 2.0)]


def some_labels(dims: int, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (7, 9, 8)[:dims]
    return np.where(rng.random(shape) < 0.05, rng.integers(1, 5, shape), 0).astype(dtype)


def voxels_of(labels: np.ndarray) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, labels.shape)))


def distances_to(labels: np.ndarray, voxel: tuple[int, ...], spacing: tuple[float, ...]) -> dict[int, float]:
    """Return the distance of a voxel to each label."""
    offsets = np.moveaxis(np.indices(labels.shape), 0, -1) - voxel
    distances = np.linalg.norm(offsets * spacing, axis=-1)
    return {int(label): float(distances[labels == label].min()) for label in np.unique(labels)}


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("radii", [{1: 2.0, 2: 0.5, 3: 3.5}, {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}, {}])
def test_labels_grow_by_their_radius(spacing: tuple[float, ...], radii: dict[int, float]) -> None:
    labels = some_labels(len(spacing))
    expected = labels.copy()
    for voxel in voxels_of(labels):
        reaching = [
            (distance, label)
            for label, distance in distances_to(labels, voxel, spacing).items()
            if label and distance <= radii.get(label, -1)
        ]
        if labels[voxel] == 0 and reaching:
            expected[voxel] = min(reaching)[1]
    np.testing.assert_array_equal(dilate_labels(labels, radii, spacing), expected, strict=True)


def test_large_labels_grow_too() -> None:
    labels = np.zeros((3, 3), np.uint64)
    labels[1, 1] = 2**60
    np.testing.assert_array_equal(dilate_labels(labels, {2**60: 1}, (1, 1)) != 0, [[0, 1, 0], [1, 1, 1], [0, 1, 0]])


@pytest.mark.parametrize("background", [0, 3])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_background_becomes_what_is_nearest(spacing: tuple[float, ...], background: int) -> None:
    labels = some_labels(len(spacing), seed=1)
    filled = fill_background(labels, spacing, background)
    for voxel in voxels_of(labels):
        if labels[voxel] != background:
            assert filled[voxel] == labels[voxel]
            continue
        distances = distances_to(labels, voxel, spacing)
        del distances[background]
        assert distances[int(filled[voxel])] == min(distances.values())


def test_nothing_is_filled_without_labels() -> None:
    np.testing.assert_array_equal(fill_background(np.zeros((3, 4), int), (1, 1)), np.zeros((3, 4), int))
    np.testing.assert_array_equal(fill_background(np.ones((3, 4), int), (1, 1)), np.ones((3, 4), int))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("thickness", [0, 1, 2.5, 20])
def test_membranes_lie_in_objects_at_their_borders(spacing: tuple[float, ...], thickness: float) -> None:
    labels = dilate_labels(some_labels(len(spacing)), {1: 3, 2: 3, 3: 3}, spacing)
    found = membranes(labels, thickness, spacing)
    for voxel in voxels_of(labels):
        distances = distances_to(labels, voxel, spacing)
        own = int(labels[voxel])
        del distances[own]
        assert found[voxel] == (own != 0 and min(distances.values(), default=np.inf) <= thickness)


def test_one_object_everywhere_has_no_membrane() -> None:
    assert not membranes(np.ones((4, 5), np.uint8), 3, (1, 1)).any()
