"""Targets and weights of tasks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from funlib.geometry import Coordinate
from lsd.train import LsdExtractor

from dacapo.experiments.tasks.predictors import AffinitiesPredictor, HotDistancePredictor, OneHotPredictor
from dacapo.utils.balance_weights import balance_weights
from dacapo.utils.distances import signed_distance
from dacapo.utils.lsds import local_shape_descriptors

from .arrays import in_memory
from .data import DIRECT, LONG_RANGE, VOXEL_SIZE, blobs, cells, with_background
from .floors import SCALE, Values, affinities, counted_weights, doubled_grid_distance, no_counts, shape_descriptors
from .harness import Case, Setting


def equal(ours: Values, floor: Values) -> None:
    np.testing.assert_array_equal(ours, floor)


def close(ours: Values, floor: Values, tolerance: float) -> None:
    np.testing.assert_allclose(ours, floor, atol=tolerance)


def affinity_target(setting: Setting) -> Case:
    labels = with_background(cells(setting.size(88, 32)))
    offsets = DIRECT + LONG_RANGE
    predictor = AffinitiesPredictor([Coordinate(offset) for offset in offsets], lsds=False)
    gt, mask = in_memory(labels), in_memory(np.ones(labels.shape, dtype=np.uint8))

    def ours() -> tuple[Values, Values]:
        target = predictor.create_target(gt)
        return target.data, predictor.create_weight(gt, target, mask)[0].data

    def floor() -> tuple[Values, Values]:
        target = affinities(labels, offsets)
        annotated = mask.data != 0
        return target, np.stack([counted_weights(c.astype(np.uint8), annotated, no_counts()) for c in target])

    def check(results: tuple[Values, Values], expected: tuple[Values, Values]) -> None:
        equal(results[0], expected[0])
        close(results[1], expected[1], 1e-6)

    return Case(ours, floor, check, "2")


def weights(setting: Setting) -> Case:
    classes = (blobs(setting.size(88, 32)) > 0.5).astype(np.uint8)
    return Case(
        lambda: balance_weights(classes, 2)[0],
        lambda: counted_weights(classes, None, no_counts()),
        partial(close, tolerance=1e-6),
        "2",
    )


def one_hot(setting: Setting) -> Case:
    labels = (cells(setting.size(88, 32)) % 6).astype(np.uint8)
    predictor = OneHotPredictor([str(index) for index in range(6)])
    gt = in_memory(labels)

    def floor() -> Values:
        result = np.empty((6, *labels.shape), dtype=np.uint8)
        for index, channel in enumerate(result):
            channel[:] = labels == index
        return result

    return Case(lambda: predictor.create_target(gt).data, floor, equal, "1.2")


def distance(setting: Setting) -> Case:
    labels = (blobs(setting.size(88, 32)) > 0).astype(np.uint8)
    return Case(
        lambda: signed_distance(labels, VOXEL_SIZE),
        lambda: doubled_grid_distance(labels),
        equal,
        "1.2",
    )


def hot_distance(setting: Setting) -> Case:
    labels = (blobs(setting.size(88, 32)) > 0).astype(np.uint8)
    predictor = HotDistancePredictor(["inside"], SCALE, mask_distances=False)
    gt = in_memory(labels)

    def floor() -> Values:
        return np.stack([labels.astype(np.float32), np.tanh(doubled_grid_distance(labels) / np.float32(SCALE))])

    return Case(lambda: predictor.create_target(gt).data, floor, equal, "1.2")


def descriptors(setting: Setting, size: int) -> Case:
    sigma = setting.size(10, 4)
    labels = with_background(cells(setting.size(size, 24)))
    predictor = AffinitiesPredictor([Coordinate(offset) for offset in DIRECT], lsds=True, num_voxels=sigma)
    gt, mask = in_memory(labels), in_memory(np.ones(labels.shape, dtype=np.uint8))

    def ours() -> Values:
        target = predictor.create_target(gt)
        weight = predictor.create_weight(gt, target, mask)[0]
        return np.concatenate([target.data, weight.data])

    def floor() -> Values:
        target = affinities(labels, DIRECT)
        annotated = mask.data != 0
        weight = [counted_weights(channel.astype(np.uint8), annotated, no_counts()) for channel in target]
        weight += [counted_weights((labels > 0).astype(np.uint8), annotated, no_counts())] * 10
        return np.concatenate([target, shape_descriptors(labels, sigma), np.stack(weight)])

    return Case(ours, floor, partial(close, tolerance=1e-5), "1.5")


def descriptors_by_package(setting: Setting) -> Case:
    """Compute descriptors; the floor is the package that they come from, called once for the whole volume."""
    sigma = [setting.size(10, 4) * v for v in VOXEL_SIZE]
    labels = with_background(cells(setting.size(48, 24)))
    extractor = LsdExtractor(sigma)
    return Case(
        lambda: local_shape_descriptors(labels, sigma, VOXEL_SIZE),
        lambda: extractor.get_descriptors(labels, voxel_size=VOXEL_SIZE),
        partial(close, tolerance=1e-3),  # the package loses digits, see the tests of ours
        "1.5",
    )


CASES: dict[str, Callable[[Setting], Case]] = {
    "affinities, target and weight, 88^3": affinity_target,
    "balance weights, 88^3": weights,
    "one-hot of 6 classes, 88^3": one_hot,
    "signed distance, 88^3": distance,
    "hot distance, 88^3": hot_distance,
    "affinities and LSDs, target and weight, 64^3": partial(descriptors, size=64),
    "affinities and LSDs, target and weight, 88^3": partial(descriptors, size=88),
    "LSDs, beside the package lsds, 48^3": descriptors_by_package,
}
