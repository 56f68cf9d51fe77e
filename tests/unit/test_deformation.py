"""Elastic deformation: how far it moves what, in voxels, with one field for all arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gunpowder as gp
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi
from scipy.stats import kstest

from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.trainers import ElasticAugmentConfig
from dacapo.experiments.trainers.gp_augments.change import SampleRois
from dacapo.experiments.trainers.gp_augments.elastic_config import Deformation
from dacapo.gp import DaCapoArraySource
from dacapo.utils.deformation import grid_weights

RAW, GT = gp.ArrayKey("RAW"), gp.ArrayKey("GT")
SHAPE = (24, 24)
ANISOTROPIC = Coordinate(40, 4)


def places(shape: Sequence[int], voxel_size: Coordinate, offset: Sequence[int] = (0, 0)) -> np.ndarray:
    """Return for every voxel where its center is in the world, one channel per axis."""
    axes = [o + (np.arange(n) + 0.5) * v for n, v, o in zip(shape, voxel_size, offset, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def node_displacements(config: Any, voxel_sizes: Sequence[Coordinate], seed: int) -> list[np.ndarray]:
    """Return how far the node moves every voxel of two arrays over one region, in world units."""
    total = Roi((0, 0), Coordinate(SHAPE) * voxel_sizes[0])
    sources = []
    for key, size in zip((RAW, GT), voxel_sizes, strict=True):
        # Voxels far around, so that nothing is read from beyond.
        offset = -size * 40
        shape = total.shape / size + Coordinate(80, 80)
        values = places(shape, size, offset)
        array = NumpyArray.from_np_array(values, Roi(offset, shape * size), size, ["c", "y", "x"])
        sources.append(DaCapoArraySource(array, key, interpolatable=True))
    pipeline = tuple(sources) + gp.MergeProvider() + config.node(RAW, GT)
    request = gp.BatchRequest(random_seed=seed)
    for key in (RAW, GT):
        request[key] = gp.ArraySpec(roi=total)
    with gp.build(pipeline):
        batch = pipeline.request_batch(request)
    moved = zip((RAW, GT), voxel_sizes, strict=True)
    return [batch[key].data - places(tuple(total.shape / size), size) for key, size in moved]


def torch_displacements(config: ElasticAugmentConfig, voxel_sizes: Sequence[Coordinate], seed: int) -> list[np.ndarray]:
    """Return the same for tensors."""
    total = Roi((0, 0), Coordinate(SHAPE) * voxel_sizes[0])
    change = config.torch_augment(SampleRois(total, total, *voxel_sizes), np.random.default_rng(seed))
    assert isinstance(change, Deformation)
    moved = []
    for positions, size in zip(change._source_voxels(torch.device("cpu")), voxel_sizes, strict=True):
        scale = np.reshape(size, (-1, 1, 1))
        moved.append((positions.numpy() + 0.5) * scale - places(positions.shape[1:], size))
    return moved


BOTH = pytest.mark.parametrize("displacements", [node_displacements, torch_displacements])


@BOTH
@pytest.mark.parametrize("voxel_size", [ANISOTROPIC, Coordinate(8, 8)])
def test_points_are_displaced_by_sigma_voxels_along_each_axis(displacements: Any, voxel_size: Coordinate) -> None:
    # The first grid point inside lies half a spacing behind the corner: at the center of a voxel if that is odd.
    config = ElasticAugmentConfig([5, 9], [0.5, 2.0], (0.0, 0.0))
    drawn: list[list[float]] = [[], []]
    for seed in range(40):
        moved, _ = displacements(config, (voxel_size, voxel_size), seed)
        for axis in range(2):
            at_points = moved[axis][2::5, 4::9] / voxel_size[axis]
            drawn[axis].extend(at_points.ravel().tolist())
    for values, sigma in zip(drawn, (0.5, 2.0), strict=True):
        assert len(values) == 40 * 5 * 3
        assert np.std(values) == pytest.approx(sigma, rel=0.1)
        assert kstest(np.array(values) / sigma, "norm").pvalue > 1e-3


@BOTH
def test_a_sample_of_other_voxels_is_deformed_alike_in_voxels(displacements: Any) -> None:
    config = ElasticAugmentConfig([6, 6], [1.0, 1.0], (0.0, 0.0))
    small, _ = displacements(config, (Coordinate(1, 1),) * 2, 3)
    large, _ = displacements(config, (Coordinate(30, 5),) * 2, 3)
    np.testing.assert_allclose(large / np.reshape([30, 5], (2, 1, 1)), small, atol=1e-3)


@pytest.mark.parametrize("subsample", [1, 2, 3, 5])
def test_raw_data_and_labels_of_other_voxels_are_deformed_by_one_field(subsample: int) -> None:
    config = ElasticAugmentConfig([5, 6], [0.8, 0.8], (0.0, 0.0), subsample)
    coarse, fine = torch_displacements(config, (Coordinate(12, 8), Coordinate(4, 8)), 1)
    # The middle one of three fine voxels is where the coarse one is.
    np.testing.assert_allclose(fine[:, 1::3], coarse, atol=2e-3)
    assert np.abs(coarse).max() > 4


def test_interpolation_between_places_is_linear_and_the_same_wherever_it_is_asked_for() -> None:
    places = np.linspace(3, 33, 61)
    weights = grid_weights(places, -5.0, 4.0, 12, 3.0, 6.0)
    exact = grid_weights(3 + 6.0 * np.arange(6), -5.0, 4.0, 12)
    for index in range(12):
        expected = np.interp(places, 3 + 6.0 * np.arange(6), exact[:, index])
        np.testing.assert_allclose(weights[:, index], expected, atol=1e-12)
    np.testing.assert_array_equal(grid_weights(places[7:9], -5.0, 4.0, 12, 3.0, 6.0), weights[7:9])
