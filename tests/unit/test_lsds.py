"""Shape descriptors against their definition: Gaussian moments of each label over the whole volume."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from funlib.geometry import Roi
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from dacapo.errors import ConfigError, DtypeError
from dacapo.utils.lsds import LsdExtractor, descriptor_names, local_shape_descriptors, num_descriptors
from tests.helpers.golden_data import item_arrays, items


def blobs(shape, seed=0, count=6):
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, 1, (count, len(shape))) * shape
    voxels = np.moveaxis(np.indices(shape), 0, -1)
    squared = ((voxels[..., None, :] - centers) ** 2).sum(axis=-1)
    labels = squared.argmin(axis=-1).astype(np.uint64)
    return labels * 1_000_000_007  # the first stays background


def definition(labels, sigma, voxel_size, downsample=1):
    """Compute descriptors in double precision, one label after the other, each on the whole volume."""
    dims = labels.ndim
    step = np.array(voxel_size) * downsample
    result = np.zeros((num_descriptors(dims), *labels.shape))
    for label in np.unique(labels[labels > 0]):
        mask = (labels == label)[(slice(None, None, downsample),) * dims].astype(np.float64)
        coords = np.moveaxis(np.moveaxis(np.indices(mask.shape), 0, -1) * step, -1, 0)

        def total(values, mask=mask):
            return gaussian_filter(values * mask, np.array(sigma) / step, mode="constant", truncate=3)

        mass = total(1.0)
        safe = np.where(mass > 0, mass, 1)
        mean = [np.where(mass > 0, total(c) / safe, c) for c in coords]

        def covariance(a, b, coords=coords, mean=mean, total=total, safe=safe, mass=mass):
            return np.where(mass > 0, total(coords[a] * coords[b]) / safe - mean[a] * mean[b], 0)

        variance = [np.maximum(covariance(a, a), 1e-3) for a in range(dims)]
        channels = [
            *((m - c) / s * 0.5 + 0.5 for m, c, s in zip(mean, coords, sigma, strict=True)),
            *(v / s**2 for v, s in zip(variance, sigma, strict=True)),
            *(
                covariance(a, b) / np.sqrt(variance[a] * variance[b]) * 0.5 + 0.5
                for a, b in itertools.combinations(range(dims), 2)
            ),
            mass,
        ]
        full = np.kron(channels, np.ones((1, *(downsample,) * dims)))[(slice(None), *map(slice, labels.shape))]
        result += np.clip(full, 0, 1) * (labels == label)
    return result


CASES = [
    ((24, 30), (6, 6), (2, 2), 1),
    ((24, 32), (8, 8), (4, 2), 2),
    ((23, 31), (4, 6), (1, 2), 3),
    ((12, 14, 16), (4, 4, 4), (2, 2, 1), 1),
    ((13, 15, 11), (40, 30, 20), (8, 5, 4), 2),
    ((11, 12, 13), (400, 400, 400), (40, 8, 8), 1),
]


@pytest.mark.parametrize(("shape", "sigma", "voxel_size", "downsample"), CASES)
def test_matches_the_definition(shape, sigma, voxel_size, downsample):
    labels = blobs(shape)
    result = local_shape_descriptors(labels, sigma, voxel_size, downsample)
    assert result.shape == (num_descriptors(len(shape)), *shape)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, definition(labels, sigma, voxel_size, downsample), atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "sigma"),
    [
        (blobs((200, 150), count=3), (5, 5)),  # wider than what is computed at once
        (blobs((3, 170, 90), count=3), (3, 9, 4)),
        (np.ones((40, 300), dtype=np.uint8), (25, 25)),
        (np.arange(1, 901).reshape(30, 30).repeat(2, axis=1), (3, 3)),  # many of the same form, computed together
        (np.kron([[1, 0], [0, 1]], np.ones((90, 90), dtype=int)), (4, 4)),  # with tiles in which there is nothing
    ],
)
def test_large_and_many_objects_match_the_definition(labels, sigma):
    expected = definition(labels, sigma, (1,) * labels.ndim)
    np.testing.assert_allclose(local_shape_descriptors(labels, sigma, (1,) * labels.ndim), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["lsds_2d", "lsds_3d", "lsds_downsampled_2d"])
def test_recorded_labels_match_the_definition(name):
    item, labels = items("affinities_predictor")[name], item_arrays("affinities_predictor", name)["gt0"]
    arguments = item["sigma"], item["voxel_size"], item["parameters"].get("downsample_lsds", 1)
    result = local_shape_descriptors(labels, *arguments)
    np.testing.assert_allclose(result, definition(labels, *arguments), atol=1e-6)


@given(st.integers(0, 2**32), st.integers(2, 3), st.integers(1, 3), st.integers(1, 4))
def test_scattered_voxels_match_the_definition(seed, dims, downsample, sigma):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, rng.integers(1, 9, dims)).astype(np.uint16)
    result = local_shape_descriptors(labels, (sigma,) * dims, (1,) * dims, downsample)
    # A voxel that is not picked may be far from all of its object, whose coordinates are then large next to their
    # variance.
    tolerance = 1e-5 if downsample == 1 else 1e-3
    np.testing.assert_allclose(result, definition(labels, (sigma,) * dims, (1,) * dims, downsample), atol=tolerance)


@pytest.mark.parametrize(("shape", "sigma", "voxel_size", "downsample"), CASES[:2] + CASES[3:4])
def test_matches_the_package_of_that_name(shape, sigma, voxel_size, downsample):
    from lsd.train import LsdExtractor as Theirs

    labels = blobs(shape)
    expected = Theirs(sigma, downsample=downsample).get_descriptors(labels, voxel_size=voxel_size)
    np.testing.assert_allclose(local_shape_descriptors(labels, sigma, voxel_size, downsample), expected, atol=1e-4)


def test_is_closer_to_the_definition_than_the_package_of_that_name():
    # That multiplies coordinates counted from where the volume begins, and loses digits far from there.
    from lsd.train import LsdExtractor as Theirs

    labels = blobs((6, 8, 120), count=30)
    arguments = (64, 64, 64), (8, 8, 8)
    exact = definition(labels, *arguments)
    theirs = np.abs(Theirs(arguments[0]).get_descriptors(labels, voxel_size=arguments[1]) - exact).max()
    ours = np.abs(local_shape_descriptors(labels, *arguments) - exact).max()
    assert ours < 2e-6
    assert ours < theirs / 10


def test_where_no_picked_voxel_is_near():
    labels = np.zeros((12, 12), dtype=np.uint8)
    labels[1, 1] = 1
    descriptors = local_shape_descriptors(labels, (1, 1), (1, 1), downsample=2)[:, 1, 1]
    np.testing.assert_allclose(descriptors, [0.5, 0.5, 1e-3, 1e-3, 0.5, 0], atol=1e-6)


def test_shapes_that_downsampling_does_not_divide():
    labels = blobs((15, 17))
    assert local_shape_descriptors(labels, (4, 4), (1, 1), downsample=2).shape == (6, 15, 17)


def test_bool_and_empty():
    assert not local_shape_descriptors(np.zeros((6, 6), dtype=bool), (2, 2), (1, 1)).any()
    labels = np.zeros((6, 6), dtype=bool)
    labels[2:4, 2:4] = True
    np.testing.assert_array_equal(
        local_shape_descriptors(labels, (2, 2), (1, 1)),
        local_shape_descriptors(labels.astype(np.int64), (2, 2), (1, 1)),
    )


def test_labels_stay_as_they_are():
    labels = blobs((8, 9))
    before = labels.copy()
    local_shape_descriptors(labels, (2, 2), (1, 1))
    np.testing.assert_array_equal(labels, before)


def test_extractor_selects():
    labels = blobs((18, 20))
    extractor = LsdExtractor((4, 4))
    whole = extractor.get_descriptors(labels, voxel_size=(2, 1))
    np.testing.assert_array_equal(whole, local_shape_descriptors(labels, (4, 4), (2, 1)))
    one = int(labels.max())
    part = extractor.get_descriptors(labels, components="05", voxel_size=(2, 1), roi=Roi((4, 0), (8, 20)), labels=[one])
    np.testing.assert_array_equal(part, (whole * (labels == one))[[0, 5], 4:12])
    assert extractor.get_context() == (12, 12)


@pytest.mark.parametrize("dims", [2, 3])
def test_names(dims):
    names = descriptor_names(dims)
    assert len(set(names)) == num_descriptors(dims)


def test_refusals():
    with pytest.raises(DtypeError):
        local_shape_descriptors(np.zeros((4, 4)), (1, 1), (1, 1))
    with pytest.raises(ConfigError):
        num_descriptors(4)


@pytest.mark.parametrize("downsample", [1, 3])
def test_a_region_has_the_descriptors_that_all_have_there(downsample: int) -> None:
    labels = blobs((20, 17, 23))
    whole = local_shape_descriptors(labels, (3.0,) * 3, (1,) * 3, downsample)
    for region in ((slice(4, 13), slice(0, 5), slice(10, 23)), (slice(7, 11),) * 3):
        part = local_shape_descriptors(labels, (3.0,) * 3, (1,) * 3, downsample, region)
        np.testing.assert_allclose(part, whole[(slice(None), *region)], atol=1e-5)
        assert part.any()
