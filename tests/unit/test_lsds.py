"""Shape descriptors against the package that computes them, called on the whole volume at once."""

from __future__ import annotations

import numpy as np
import pytest

from dacapo.errors import ConfigError, DtypeError
from dacapo.utils.lsds import descriptor_names, local_shape_descriptors, num_descriptors


def blobs(shape, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 1, (6, len(shape))) * shape
    voxels = np.moveaxis(np.indices(shape), 0, -1)
    squared = ((voxels[..., None, :] - centres) ** 2).sum(axis=-1)
    labels = squared.argmin(axis=-1).astype(np.uint64)
    return labels * 1_000_000_007  # the first stays background


@pytest.mark.parametrize(
    ("shape", "sigma", "voxel_size", "downsample"),
    [((24, 30), (6, 6), (2, 2), 1), ((24, 32), (8, 8), (4, 2), 2), ((12, 14, 16), (4, 4, 4), (2, 2, 1), 1)],
)
def test_matches_the_package(shape, sigma, voxel_size, downsample):
    from lsd.train import LsdExtractor

    labels = blobs(shape)
    expected = LsdExtractor(sigma, downsample=downsample).get_descriptors(labels, voxel_size=voxel_size)
    result = local_shape_descriptors(labels, sigma, voxel_size, downsample)
    assert result.shape == (num_descriptors(len(shape)), *shape)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected)


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


@pytest.mark.parametrize("dims", [2, 3])
def test_names(dims):
    names = descriptor_names(dims)
    assert len(set(names)) == num_descriptors(dims)


def test_refusals():
    with pytest.raises(DtypeError):
        local_shape_descriptors(np.zeros((4, 4)), (1, 1), (1, 1))
    with pytest.raises(ConfigError):
        num_descriptors(4)
