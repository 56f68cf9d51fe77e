"""The plain ways to do what the package does, with NumPy, SciPy and the like; nothing here imports the package."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import edt
import fastremap
import numpy as np
import numpy.typing as npt
import zarr
from scipy.ndimage import find_objects, map_coordinates, zoom
from scipy.spatial.transform import Rotation

from .data import DIRECT, LONG_RANGE, VOXEL_SIZE

Values = npt.NDArray[Any]
OFFSETS = DIRECT + LONG_RANGE
REACH = 4  # the longest offset, which is how far ground truth is needed behind a sample
SAMPLES = 2
SCALE = 40.0
SPACING, DISPLACEMENT = 16, 1.0  # voxels
CLIP, TOLERANCE = 200.0, 16.0


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


def doubled_grid_distance(labels: Values) -> Values:
    """Return signed distances by one distance transform on the grid of twice the resolution, faces in its middle."""
    grid = np.ones([2 * n - 1 for n in labels.shape], dtype=bool)
    for axis in range(labels.ndim):
        faces = np.moveaxis(grid[tuple(slice(None, None, 1 if a == axis else 2) for a in range(labels.ndim))], axis, 0)
        along = np.moveaxis(labels, axis, 0)
        faces[1::2] = along[1:] == along[:-1]
    distance = edt.edt(grid, anisotropy=tuple(v / 2 for v in VOXEL_SIZE))[(slice(None, None, 2),) * labels.ndim]
    return np.where(labels > 0, distance, -distance)


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


class Batch(NamedTuple):
    """Raw data, target and weight, each with the axes sample, channel, space."""

    raw: Values
    target: Values
    weight: Values


class PlainBatches:
    """Makes batches from arrays in memory with NumPy and SciPy.

    Args:
        raw: The whole image.
        labels: Labels of the same shape.
        input_size: Edge of a raw sample.
        output_size: Edge of a target, in the middle of it.
        affinity: Whether to make affinities, or else distances.
        sigma: Radius of the descriptors beside affinities, voxels; 0 without any.
    """

    def __init__(
        self, raw: Values, labels: Values, input_size: int, output_size: int, affinity: bool, sigma: int = 0
    ) -> None:
        self.input_size, self.output_size, self.affinity, self.sigma = input_size, output_size, affinity, sigma
        self.context = (input_size - output_size) // 2
        # How far ground truth is needed before and behind a target.
        self.reach = (3 * sigma, 3 * sigma) if sigma else (0, REACH if affinity else 0)
        # Wide enough for whatever a sample reaches for, as in the package.
        self.margin = input_size + max(self.reach)
        self.raw = np.pad(raw, self.margin, mode="reflect")
        self.labels = np.pad(labels.astype(np.int32), self.margin)
        self.mask = np.pad(np.ones(labels.shape, dtype=np.uint8), self.margin)
        self.rng = np.random.default_rng(0)
        self.forget()

    def forget(self) -> None:
        """Start counting classes anew."""
        self.counts = [no_counts() for _ in range(len(OFFSETS) + 1)]

    def draw(self) -> Values:
        """Return where in the padded volume a raw sample begins, such that its target lies in the volume."""
        extent = self.raw.shape[0] - 2 * self.margin
        return self.rng.integers(0, extent - self.output_size + 1, 3) + self.margin - self.context

    def plain(self) -> Batch:
        """Return samples as they are."""
        return self.at([self.draw() for _ in range(SAMPLES)])

    def at(self, corners: list[Values]) -> Batch:
        """Return the samples that begin at the given corners."""
        samples = []
        for corner in corners:
            raw = self.raw[box(corner, self.input_size)]
            where = box(corner + self.context - self.reach[0], self.output_size + sum(self.reach))
            samples.append((raw[np.newaxis], *self.learn(self.labels[where], self.mask[where])))
        return self._batch(samples)

    def learn(self, labels: Values, mask: Values) -> tuple[Values, Values, Values]:
        """Return the target of labels, its classes, and where these are known."""
        objects = (labels > 0).astype(np.uint8)[np.newaxis]
        if self.affinity:
            target = affinities(labels, OFFSETS)
            classes = target.astype(np.uint8)
        else:
            target = np.tanh(doubled_grid_distance(labels) / np.float32(SCALE))[np.newaxis]
            classes = objects
        if self.sigma:
            target = np.concatenate([target, shape_descriptors(labels, self.sigma)])
            classes = np.concatenate([classes, objects])
        annotated = (mask != 0).astype(np.uint8)
        # An affinity is known where a voxel and its partner are.
        known = affinities(annotated, OFFSETS) if self.affinity else annotated[np.newaxis]
        if self.sigma:
            known = np.concatenate([known, annotated[np.newaxis]])
        inner = (slice(None), *(slice(self.reach[0], self.reach[0] + self.output_size),) * 3)
        return target[inner], classes[inner], known[inner] > 0

    def _batch(self, samples: list[tuple[Values, ...]]) -> Batch:
        """Return a batch whose classes are counted over all samples before they are weighted."""
        raw, target, classes, known = (np.stack(values) for values in zip(*samples, strict=True))
        weights = [counted_weights(classes[:, c], known[:, c], self.counts[c]) for c in range(classes.shape[1])]
        if self.sigma:
            weights += weights[-1:] * 9
        arrays = raw, target, np.stack(weights, axis=1)
        return Batch(*(np.ascontiguousarray(values, dtype=np.float32) for values in arrays))

    def augmented(self) -> Batch:
        """Return samples after all augmentations."""
        return self._batch([self._augmented_sample(self.draw()) for _ in range(SAMPLES)])

    def _augmented_sample(self, corner: Values) -> tuple[Values, ...]:
        sides = self.context - self.reach[0], self.context + self.output_size + self.reach[1]
        begin, end = min(0, sides[0]), max(self.input_size, sides[1])
        around = self._deformation(end - begin) + (corner + begin).reshape(3, 1, 1, 1).astype(np.float32)
        # Before there are targets, whose channels stand for directions.
        flips = (slice(None), *(slice(None, None, int(step)) for step in self.rng.choice((-1, 1), 3)))
        around = np.ascontiguousarray(around[flips].transpose(0, *(self.rng.permutation(3) + 1)))
        seen, inner = (
            around[(slice(None), *(slice(first - begin, last - begin),) * 3)]
            for first, last in ((0, self.input_size), sides)
        )
        raw = map_coordinates(self.raw, seen, order=1)
        labels, mask = (map_coordinates(values, inner, order=0) for values in (self.labels, self.mask))
        return (self._intensities(raw)[np.newaxis], *self.learn(labels, mask))

    def _deformation(self, size: int) -> Values:
        """Return where the voxels of a cube come from: randomly rotated, and displaced by a smooth field."""
        knots = -(-size // SPACING) + 1
        grid = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32) - size / 2] * 3, indexing="ij"))
        matrix = Rotation.random(random_state=int(self.rng.integers(2**31))).as_matrix().astype(np.float32)
        field = self.rng.normal(0, DISPLACEMENT, (3, *(knots,) * 3)).astype(np.float32)
        smooth = np.stack([zoom(component, size / knots, order=3) for component in field])
        return np.tensordot(matrix, grid, axes=1) + smooth + np.float32(size / 2)

    def _intensities(self, raw: Values) -> Values:
        mean = raw.mean()
        raw = np.clip((raw - mean) * self.rng.uniform(0.8, 1.2) + mean + self.rng.uniform(-0.1, 0.1), 0, 1)
        low, high = raw.min(), raw.max()
        raw = ((raw - low) / (high - low)) ** self.rng.uniform(0.8, 1.25) * (high - low) + low
        return np.clip(raw + self.rng.normal(0, 0.001**0.5, raw.shape), 0, 1).astype(np.float32)


def box(corner: Values, size: int) -> tuple[slice, ...]:
    """Return the cube that begins at a corner."""
    return tuple(slice(int(begin), int(begin) + size) for begin in corner)


def binary_scores(truth: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return the 21 scores from one pair of distance maps."""
    tp, fp, fn = (int(np.count_nonzero(part)) for part in (truth & test, test & ~truth, truth & ~test))
    tn = truth.size - tp - fp - fn
    of_test = edt.edt(~truth, anisotropy=VOXEL_SIZE)[test]
    of_truth = edt.edt(~test, anisotropy=VOXEL_SIZE)[truth]
    far_fp, far_fn = (int(np.count_nonzero(d > TOLERANCE)) for d in (of_test, of_truth))
    tolerated = tp + (fp - far_fp) + (fn - far_fn)
    means = [float(d.mean(dtype=np.float64)) for d in (of_truth, of_test)]
    clipped = [float(np.minimum(d, CLIP).mean(dtype=np.float64)) for d in (of_truth, of_test)]
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    near_precision, near_recall = tolerated / (tolerated + far_fp), tolerated / (tolerated + far_fn)
    joint = np.array([[tn, fp], [fn, tp]]) / truth.size
    h_joint, h_truth, h_test = (-np.sum(p * np.log2(p)) for p in (joint, joint.sum(1), joint.sum(0)))
    return {
        "dice": 2 * tp / (2 * tp + fp + fn),
        "jaccard": tp / (tp + fp + fn),
        "hausdorff": float(max(of_test.max(), of_truth.max())),
        "false_negative_rate": fn / (fn + tp),
        "false_negative_rate_with_tolerance": far_fn / (fn + tp),
        "false_positive_rate": fp / (fp + tn),
        "false_discovery_rate": fp / (fp + tp),
        "false_positive_rate_with_tolerance": far_fp / (fp + tn),
        "voi": 2 * h_joint - h_truth - h_test,
        "mean_false_distance": sum(means) / 2,
        "mean_false_negative_distance": means[0],
        "mean_false_positive_distance": means[1],
        "mean_false_distance_clipped": sum(clipped) / 2,
        "mean_false_negative_distance_clipped": clipped[0],
        "mean_false_positive_distance_clipped": clipped[1],
        "precision_with_tolerance": near_precision,
        "recall_with_tolerance": near_recall,
        "f1_score_with_tolerance": 2 * near_precision * near_recall / (near_precision + near_recall),
        "precision": precision,
        "recall": recall,
        "f1_score": 2 * precision * recall / (precision + recall),
    }


def plain_voi(test: Values, truth: Values) -> tuple[float, float]:
    """Return the split and merge part of the variation of information, from a table of pairs."""
    a, b = (fastremap.renumber(labels.ravel(), preserve_zero=False)[0] for labels in (test, truth))
    columns = int(b.max()) + 1
    pairs = a.astype(np.int64) * columns + b
    joint = np.bincount(pairs) / pairs.size
    h_joint, h_test, h_truth = (entropy(p) for p in (joint, np.bincount(a) / a.size, np.bincount(b) / b.size))
    return h_joint - h_truth, h_joint - h_test


def entropy(probabilities: npt.NDArray[np.float64]) -> float:
    positive = probabilities[probabilities > 0]
    return -float(np.sum(positive * np.log2(positive)))


def boxes(shape: tuple[int, ...], block: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Return the blocks that cover a volume."""
    for begin in itertools.product(*(range(0, n, b) for n, b in zip(shape, block, strict=True))):
        yield tuple(slice(s, min(s + b, n)) for s, b, n in zip(begin, block, shape, strict=True))


def read_with_context(source: Any, box: tuple[slice, ...], context: int) -> Values:
    """Read a block and what lies around it, reflected at the border of the volume."""
    wanted = [(side.start - context, side.stop + context) for side in box]
    inside = tuple(slice(max(0, b), min(e, n)) for (b, e), n in zip(wanted, source.shape, strict=True))
    missing = [(s.start - b, e - s.stop) for (b, e), s in zip(wanted, inside, strict=True)]
    return np.pad(source[inside], missing, mode="reflect")


def create_like(name: str, array: Any, shape: tuple[int, ...], dtype: Any, folder: Any) -> Any:
    """Create the array that a floor writes, in chunks and with the compression of ours."""
    return zarr.create(
        shape=shape,
        chunks=array.chunks,
        dtype=dtype,
        compressor=array.compressor,
        store=zarr.DirectoryStore(str(folder / "floor.zarr")),
        path=name,
        overwrite=True,
    )
