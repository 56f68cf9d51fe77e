"""Targets and weights of tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import edt
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate
from lsd.train import LsdExtractor
from scipy.ndimage import find_objects

from dacapo.experiments.tasks.predictors import AffinitiesPredictor, HotDistancePredictor, OneHotPredictor
from dacapo.utils.balance_weights import balance_weights
from dacapo.utils.distances import signed_distance
from dacapo.utils.lsds import local_shape_descriptors

from .data import DIRECT, LONG_RANGE, VOXEL_SIZE, blobs, cells, in_memory, with_background
from .harness import Case, Setting

Values = npt.NDArray[Any]
SCALE = 40.0


def equal(ours: Values, floor: Values) -> None:
    np.testing.assert_array_equal(ours, floor)


def close(ours: Values, floor: Values, tolerance: float) -> None:
    np.testing.assert_allclose(ours, floor, atol=tolerance)


def affinities(labels: Values, offsets: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    """Return the affinities of non-negative offsets by shifted comparison."""
    result = np.zeros((len(offsets), *labels.shape), dtype=np.float32)
    for channel, offset in zip(result, offsets, strict=True):
        here = labels[tuple(slice(0, n - o) for n, o in zip(labels.shape, offset, strict=True))]
        there = labels[tuple(slice(o, None) for o in offset)]
        channel[tuple(slice(0, n) for n in here.shape)] = (here == there) & (here > 0)
    return result


def counted_weights(classes: Values, mask: Values | None, counts: list[Values]) -> npt.NDArray[np.float32]:
    """Return weights of 0 and 1 by bincount and a lookup; ``counts`` holds two numbers per class and is added to."""
    masked = classes if mask is None else classes[mask]
    counts[0] += np.bincount(masked.ravel(), minlength=2)
    counts[1] += masked.size
    lookup = (1 / (2 * np.clip(counts[0] / counts[1], 0.05, 0.95))).astype(np.float32)
    weights = lookup[classes]
    return weights if mask is None else weights * mask


def no_counts() -> list[Values]:
    return [np.zeros(2), np.ones(2)]


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


def doubled_grid_distance(labels: Values) -> Values:
    """Return signed distances by one distance transform on the grid of twice the resolution, faces in its middle."""
    grid = np.ones([2 * n - 1 for n in labels.shape], dtype=bool)
    for axis in range(labels.ndim):
        faces = np.moveaxis(grid[tuple(slice(None, None, 1 if a == axis else 2) for a in range(labels.ndim))], axis, 0)
        along = np.moveaxis(labels, axis, 0)
        faces[1::2] = along[1:] == along[:-1]
    distance = edt.edt(grid, anisotropy=tuple(v / 2 for v in VOXEL_SIZE))[(slice(None, None, 2),) * labels.ndim]
    return np.where(labels > 0, distance, -distance)


def distance(setting: Setting) -> Case:
    labels = (blobs(setting.size(88, 32)) > 0).astype(np.uint8)
    return Case(
        lambda: signed_distance(labels, VOXEL_SIZE),
        lambda: doubled_grid_distance(labels),
        partial(close, tolerance=1e-4),
        "1.2",
    )


def hot_distance(setting: Setting) -> Case:
    labels = (blobs(setting.size(88, 32)) > 0).astype(np.uint8)
    predictor = HotDistancePredictor(["inside"], SCALE, mask_distances=False)
    gt = in_memory(labels)

    def floor() -> Values:
        return np.stack([labels.astype(np.float32), np.tanh(doubled_grid_distance(labels) / np.float32(SCALE))])

    return Case(lambda: predictor.create_target(gt).data, floor, partial(close, tolerance=1e-5), "1.2")


def shape_descriptors(labels: Values, sigma: float) -> npt.NDArray[np.float32]:
    """Return local shape descriptors: Gaussian moments inside each label's bounding box, as matrix products.

    Args:
        labels: Three axes.
        sigma: Of the Gaussian, in voxels.
    """
    result = np.zeros((10, *labels.shape), dtype=np.float32)
    for label, box in enumerate(find_objects(labels.astype(np.int32)), start=1):
        if box is None:
            continue
        inside = labels[box] == label
        result[(slice(None), *box)][:, inside] = _descriptors(inside, sigma)[:, inside]
    return np.clip(result, 0, 1, out=result)


def _descriptors(inside: npt.NDArray[np.bool_], sigma: float) -> npt.NDArray[np.float32]:
    powers = [_gaussian_moments(n, sigma) for n in inside.shape]
    # The moments of each total power up to 2, axis by axis; every product moves the first axis to the end.
    moments: dict[tuple[int, ...], Values] = {(): inside.astype(np.float32)}
    for axis in range(3):
        moments = {
            (*done, power): np.tensordot(values, powers[axis][power], axes=(0, 1))
            for done, values in moments.items()
            for power in range(3 - sum(done))
        }
    mass = np.where(moments[0, 0, 0] > 0, moments[0, 0, 0], 1)
    unit = [tuple(int(a == axis) for a in range(3)) for axis in range(3)]
    mean = np.stack([moments[u] for u in unit]) / mass

    def covariance(a: int, b: int) -> Values:
        power = tuple(p + q for p, q in zip(unit[a], unit[b], strict=True))
        return moments[power] / mass - mean[a] * mean[b]

    variance = np.maximum(np.stack([covariance(a, a) for a in range(3)]), 1e-3)
    correlation = [covariance(a, b) / np.sqrt(variance[a] * variance[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    return np.concatenate(
        [mean / sigma * 0.5 + 0.5, variance / sigma**2, np.stack(correlation) * 0.5 + 0.5, moments[0, 0, 0][np.newaxis]]
    ).astype(np.float32, copy=False)


def _gaussian_moments(size: int, sigma: float) -> list[npt.NDArray[np.float32]]:
    """Return the matrices, shape (to, from), of a Gaussian times the 0th, 1st and 2nd power of the distance."""
    step = np.arange(size)[None, :] - np.arange(size)[:, None]
    radius = int(3 * sigma + 0.5)
    total = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).sum()
    gaussian = np.where(np.abs(step) <= radius, np.exp(-0.5 * (step / sigma) ** 2) / total, 0)
    return [(gaussian * step**power).astype(np.float32) for power in range(3)]


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
