"""Signed distances against a brute-force definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import distance_transform_edt

from dacapo.errors import ConfigError, DtypeError
from dacapo.utils.distances import normalize_distances, signed_distance, trusted_distances

small_labels = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=5).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)), st.tuples(*[st.integers(1, 9)] * len(shape))
    )
)


def face_middles(labels):
    for voxel in itertools.product(*map(range, labels.shape)):
        for axis in range(labels.ndim):
            neighbor = tuple(v + (a == axis) for a, v in enumerate(voxel))
            if neighbor[axis] < labels.shape[axis] and labels[voxel] != labels[neighbor]:
                yield [v + (a == axis) / 2 for a, v in enumerate(voxel)]


@given(small_labels)
@settings(deadline=None)
def test_matches_brute_force(case):
    labels, voxel_size = case
    middles = np.array(list(face_middles(labels)))
    result = signed_distance(labels, voxel_size)
    if not len(middles):
        expected = np.full(labels.shape, min(s * v for s, v in zip(labels.shape, voxel_size, strict=True)) / 2)
    else:
        voxels = np.moveaxis(np.indices(labels.shape), 0, -1)[..., None, :]
        expected = np.linalg.norm((voxels - middles) * voxel_size, axis=-1).min(axis=-1)
    np.testing.assert_allclose(result, np.where(labels > 0, expected, -expected), rtol=1e-5)


@pytest.mark.parametrize("voxel_size", [(8, 8, 8), (40, 4, 4), (33, 7, 5)])
def test_is_to_the_last_bit_one_transform_of_all_faces(voxel_size):
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 3, (5, 6, 7)), np.ones((4, 5, 3), dtype=int)).astype(np.uint8)
    faces = np.ones([2 * size - 1 for size in labels.shape], dtype=bool)
    for axis in range(3):
        between = np.moveaxis(faces[tuple(slice(None, None, 1 if a == axis else 2) for a in range(3))], axis, 0)
        along = np.moveaxis(labels, axis, 0)
        between[1::2] = along[1:] == along[:-1]
    exact = distance_transform_edt(faces, sampling=[v / 2 for v in voxel_size])[::2, ::2, ::2]
    expected = np.where(labels > 0, exact, -exact).astype(np.float32)
    np.testing.assert_array_equal(signed_distance(labels, voxel_size), expected)


@pytest.mark.parametrize(("value", "sign"), [(0, -1), (1, 1)])
def test_without_boundary_half_the_shortest_edge_stands_in(value, sign):
    labels = np.full((4, 10), value, dtype=np.uint8)
    assert (signed_distance(labels, (8, 2)) == sign * 10).all()


def test_bool_equals_integers():
    labels = np.zeros((5, 5), dtype=bool)
    labels[1:3, 2:] = True
    np.testing.assert_array_equal(signed_distance(labels, (1, 2)), signed_distance(labels.astype(np.uint8), (1, 2)))


def test_inverting_labels_inverts_signs():
    labels = np.random.default_rng(0).integers(0, 2, (6, 7, 5)).astype(np.uint8)
    np.testing.assert_array_equal(signed_distance(1 - labels, (1, 2, 3)), -signed_distance(labels, (1, 2, 3)))


def test_float_labels_are_refused():
    with pytest.raises(DtypeError, match="float"):
        signed_distance(np.zeros((3, 3)), (1, 1))


def test_trusted_in_world_units():
    mask = np.ones((7, 9), dtype=np.uint8)
    mask[3, 3] = 0
    distances = np.random.default_rng(1).uniform(-20, 20, mask.shape).astype(np.float32)
    to_edge = distance_transform_edt(np.pad(mask, 1), sampling=(4, 2))[1:-1, 1:-1]
    expected = (mask > 0) & (to_edge >= np.abs(distances))
    np.testing.assert_array_equal(trusted_distances(distances, mask, (4, 2)), expected)


def test_nothing_annotated_nothing_trusted():
    assert not trusted_distances(np.zeros((3, 3)), np.zeros((3, 3)), (1, 1), 10).any()


def test_unknown_normalization_is_refused():
    with pytest.raises(ConfigError, match="sigmoid"):
        normalize_distances(np.zeros(3, dtype=np.float32), "sigmoid", 1)
    with pytest.raises(ConfigError, match="positive"):
        normalize_distances(np.zeros(3, dtype=np.float32), "tanh", 0)
