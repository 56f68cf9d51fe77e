"""Metrics that compare two binary volumes, counted in voxels or measured in world units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.errors import EvaluationError
from dacapo.utils.block_distances import DistanceCounts, Mask, Spacing
from dacapo.utils.tally import Tally

NAN = float("nan")

_NUMBERS = ("size", "truth_size", "test_size", "true_positives")
_DISTANCES = ("false_positives", "false_negatives")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else NAN


@attrs.frozen(eq=False)
class BinaryCounts(Tally):
    """The counts of a part of a volume from which all metrics follow.

    Attributes:
        size: Number of counted voxels.
        truth_size: Number of voxels of the truth.
        test_size: Number of voxels of the test.
        true_positives: Number of voxels in both.
        false_positives: The voxels only in the test, by their distance to the truth.
        false_negatives: The voxels only in the truth, by their distance to the test.
    """

    size: int = 0
    truth_size: int = 0
    test_size: int = 0
    true_positives: int = 0
    false_positives: DistanceCounts = attrs.field(factory=DistanceCounts)
    false_negatives: DistanceCounts = attrs.field(factory=DistanceCounts)

    def __add__(self, other: BinaryCounts) -> BinaryCounts:
        size, of_truth, of_test, both = (getattr(self, name) + getattr(other, name) for name in _NUMBERS)
        positives = self.false_positives + other.false_positives
        return BinaryCounts(size, of_truth, of_test, both, positives, self.false_negatives + other.false_negatives)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        arrays: dict[str, npt.NDArray[Any]] = {"numbers": np.array([getattr(self, name) for name in _NUMBERS])}
        for name in _DISTANCES:
            columns: DistanceCounts = getattr(self, name)
            arrays |= {f"{name}_{column}": values for column, values in columns.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> BinaryCounts:
        positives, negatives = (
            DistanceCounts(arrays[f"{name}_distances"], arrays[f"{name}_counts"]) for name in _DISTANCES
        )
        size, of_truth, of_test, both = (int(number) for number in arrays["numbers"])
        return cls(size, of_truth, of_test, both, positives, negatives)


def count_block(
    truth: Mask,
    test: Mask,
    spacing: Spacing,
    size: int,
    inner: tuple[slice, ...] = (),
    reach: float = math.inf,
) -> tuple[BinaryCounts, bool, bool]:
    """Count the voxels of a block.

    Args:
        truth: Foreground of the truth in the block and a margin around it.
        test: Foreground of the test in the same region.
        spacing: Spacing of the voxels.
        size: Number of voxels of the block to count.
        inner: The block itself, by default everything.
        reach: Squared distances, in squared units, are final up to this value; voxels beyond the margin may be nearer
            than a larger one. By default the volume ends with the margin.

    Returns:
        The counts, and whether they lack false positives and false negatives whose distance is not final.
    """
    inner_truth, inner_test = truth[inner], test[inner]
    both = int(np.count_nonzero(inner_truth & inner_test))
    of_truth, of_test = int(np.count_nonzero(inner_truth)), int(np.count_nonzero(inner_test))
    distances: list[DistanceCounts] = []
    far = []
    for errors, number, sites in (
        (inner_test & ~inner_truth, of_test - both, truth),
        (inner_truth & ~inner_test, of_truth - both, test),
    ):
        squared = distances_of(errors, sites, spacing, inner) if number else np.zeros(0, np.float32)
        final = squared <= reach if math.isfinite(reach) else np.isfinite(squared)
        distances.append(DistanceCounts.of(squared[final], spacing.unit))
        far.append(not final.all())
    return BinaryCounts(size, of_truth, of_test, both, distances[0], distances[1]), far[0], far[1]


def distances_of(errors: Mask, sites: Mask, spacing: Spacing, inner: tuple[slice, ...] = ()) -> npt.NDArray[np.float32]:
    """Return the squared distance of each error inside a block to the nearest site, infinite without sites."""
    if not sites.any():
        return np.full(np.count_nonzero(errors), np.inf, np.float32)
    return np.asarray(spacing.squared_distances(sites)[inner][errors])


@attrs.frozen(eq=False)
class BinaryComparison:
    """The comparison of a binary test volume with the truth.

    The distance of a false positive is that to the nearest voxel of the truth, the distance of a false negative that
    to the nearest voxel of the test, both between voxel centers and in world units. It is 0 for a true positive.

    **Degenerate volumes.** If a definition divides zero by zero or needs a distance to nothing, its value is NaN, which
    is never selected as a best score.

    - Truth and test both empty: the Hausdorff distance is 0, all others are NaN.
    - One of them empty: dice and jaccard are 0; the false discovery rate is 1 without truth, since every discovery is
      false, and 0 without test, since nothing was discovered; all others are NaN.
    - Truth everywhere: false positive rates are NaN, for lack of background.
    - No voxel in both: the F1 score is NaN, and so is that with tolerance if no error is tolerated.
    - Nothing inside the mask: all are NaN.

    A volume of one voxel or one slice has the values that follow from these and the definitions.

    Attributes:
        counts: The counts of the volume.
        clip_distance: Upper limit of the clipped distances, in world units.
        tol_distance: Distance of an error, in world units, up to which the criteria with tolerance forgive it.
    """

    counts: BinaryCounts
    clip_distance: float
    tol_distance: float

    @classmethod
    def of(
        cls,
        truth: npt.NDArray[Any],
        test: npt.NDArray[Any],
        voxel_size: Sequence[float],
        clip_distance: float,
        tol_distance: float,
        mask: npt.NDArray[Any] | None = None,
    ) -> BinaryComparison:
        """Compare two volumes.

        Args:
            truth: Foreground where above 0. Spatial axes only, at most three.
            test: The volume to score, of the same shape.
            voxel_size: Size of a voxel in world units, in the order of the axes.
            clip_distance: See the attributes.
            tol_distance: See the attributes.
            mask: Voxels where it is 0 are not counted, and their foreground is ignored.

        Raises:
            EvaluationError: If the shapes differ.
        """
        if truth.shape != test.shape or (mask is not None and mask.shape != truth.shape):
            raise EvaluationError(
                f"volumes of the shapes {truth.shape} (truth) and {test.shape} (test)"
                + ("" if mask is None else f" and {mask.shape} (mask)")
                + " cannot be compared voxel by voxel; crop both to the same region"
            )
        inside = None if mask is None else np.asarray(mask) != 0
        truth, test = (v > 0 if inside is None else (v > 0) & inside for v in (truth, test))
        size = truth.size if inside is None else np.count_nonzero(inside)
        counts, _, _ = count_block(truth, test, Spacing.of(voxel_size), int(size))
        return cls(counts, clip_distance, tol_distance)

    @property
    def size(self) -> int:
        """Number of counted voxels."""
        return self.counts.size

    @property
    def true_positives(self) -> int:
        """Number of voxels in both."""
        return self.counts.true_positives

    @property
    def truth_size(self) -> int:
        """Number of voxels of the truth."""
        return self.counts.truth_size

    @property
    def test_size(self) -> int:
        """Number of voxels of the test."""
        return self.counts.test_size

    @property
    def false_positives(self) -> int:
        """Number of voxels only in the test."""
        return self.test_size - self.true_positives

    @property
    def false_negatives(self) -> int:
        """Number of voxels only in the truth."""
        return self.truth_size - self.true_positives

    @property
    def true_negatives(self) -> int:
        """Number of counted voxels in neither."""
        return self.size - self.true_positives - self.false_positives - self.false_negatives

    @property
    def empty(self) -> bool:
        """Whether truth or test has no foreground."""
        return not (self.truth_size and self.test_size)

    @property
    def intolerable_false_positives(self) -> int:
        """Number of false positives beyond the tolerance."""
        return self.counts.false_positives.above(self.tol_distance)

    @property
    def intolerable_false_negatives(self) -> int:
        """Number of false negatives beyond the tolerance."""
        return self.counts.false_negatives.above(self.tol_distance)

    @property
    def tolerated_positives(self) -> int:
        """Number of correct voxels, including errors within the tolerance."""
        tolerated_false_positives = self.false_positives - self.intolerable_false_positives
        tolerated_false_negatives = self.false_negatives - self.intolerable_false_negatives
        return self.true_positives + tolerated_false_positives + tolerated_false_negatives


def dice(c: BinaryComparison) -> float:
    """Return twice the overlap over the sum of both sizes."""
    return _ratio(2 * c.true_positives, c.truth_size + c.test_size)


def jaccard(c: BinaryComparison) -> float:
    """Return the overlap over the union."""
    return _ratio(c.true_positives, c.truth_size + c.test_size - c.true_positives)


def hausdorff(c: BinaryComparison) -> float:
    """Return the largest distance from a voxel of one volume to the nearest voxel of the other, in world units."""
    if c.empty:
        return NAN if c.truth_size or c.test_size or not c.size else 0.0
    return max(c.counts.false_positives.largest, c.counts.false_negatives.largest)


def false_negative_rate(c: BinaryComparison) -> float:
    """Return the fraction of the truth that is missed: FN / (FN + TP)."""
    return NAN if c.empty else _ratio(c.false_negatives, c.truth_size)


def false_positive_rate(c: BinaryComparison) -> float:
    """Return the fraction of the true background labeled as foreground: FP / (FP + TN)."""
    return NAN if c.empty else _ratio(c.false_positives, c.false_positives + c.true_negatives)


def false_discovery_rate(c: BinaryComparison) -> float:
    """Return the fraction of the test that is wrong: FP / (FP + TP); 0 if nothing was discovered."""
    if c.truth_size and not c.test_size:
        return 0.0
    return _ratio(c.false_positives, c.test_size)


def false_negative_rate_with_tolerance(c: BinaryComparison) -> float:
    """Return the fraction of the truth that is missed by more than the tolerance."""
    return NAN if c.empty else _ratio(c.intolerable_false_negatives, c.truth_size)


def false_positive_rate_with_tolerance(c: BinaryComparison) -> float:
    """Return the false positives beyond the tolerance as a fraction of the true background."""
    return NAN if c.empty else _ratio(c.intolerable_false_positives, c.false_positives + c.true_negatives)


def voi(c: BinaryComparison) -> float:
    """Return the variation of information (split plus merge) in bits, with the background as a regular class."""
    if c.empty:
        return NAN
    joint = np.array([[c.true_negatives, c.false_positives], [c.false_negatives, c.true_positives]]) / c.size

    def entropy(p: npt.NDArray[np.float64]) -> float:
        return -float(np.sum(p[p > 0] * np.log2(p[p > 0])))

    return max(0.0, 2 * entropy(joint) - entropy(joint.sum(0)) - entropy(joint.sum(1)))


def mean_false_distance(c: BinaryComparison) -> float:
    """Return the mean of the mean false positive and the mean false negative distance."""
    return (mean_false_positive_distance(c) + mean_false_negative_distance(c)) / 2


def mean_false_negative_distance(c: BinaryComparison) -> float:
    """Return the mean distance of the voxels of the truth to the test, in world units."""
    return NAN if c.empty else c.counts.false_negatives.sum() / c.truth_size


def mean_false_positive_distance(c: BinaryComparison) -> float:
    """Return the mean distance of the voxels of the test to the truth, in world units."""
    return NAN if c.empty else c.counts.false_positives.sum() / c.test_size


def mean_false_distance_clipped(c: BinaryComparison) -> float:
    """Return the mean of the two clipped mean distances."""
    return (mean_false_positive_distance_clipped(c) + mean_false_negative_distance_clipped(c)) / 2


def mean_false_negative_distance_clipped(c: BinaryComparison) -> float:
    """Return the mean false negative distance, with each distance clipped at ``clip_distance``."""
    return NAN if c.empty else c.counts.false_negatives.sum(c.clip_distance) / c.truth_size


def mean_false_positive_distance_clipped(c: BinaryComparison) -> float:
    """Return the mean false positive distance, with each distance clipped at ``clip_distance``."""
    return NAN if c.empty else c.counts.false_positives.sum(c.clip_distance) / c.test_size


def precision(c: BinaryComparison) -> float:
    """Return the fraction of the test that is correct: TP / (TP + FP)."""
    return NAN if c.empty else _ratio(c.true_positives, c.test_size)


def recall(c: BinaryComparison) -> float:
    """Return the fraction of the truth that is found: TP / (TP + FN)."""
    return NAN if c.empty else _ratio(c.true_positives, c.truth_size)


def f1_score(c: BinaryComparison) -> float:
    """Return the harmonic mean of precision and recall; NaN if both are 0."""
    return _harmonic_mean(precision(c), recall(c))


def precision_with_tolerance(c: BinaryComparison) -> float:
    """Return the precision, counting errors within the tolerance as correct."""
    return NAN if c.empty else _ratio(c.tolerated_positives, c.tolerated_positives + c.intolerable_false_positives)


def recall_with_tolerance(c: BinaryComparison) -> float:
    """Return the recall, counting errors within the tolerance as correct."""
    return NAN if c.empty else _ratio(c.tolerated_positives, c.tolerated_positives + c.intolerable_false_negatives)


def f1_score_with_tolerance(c: BinaryComparison) -> float:
    """Return the harmonic mean of precision and recall with tolerance; NaN if both are 0."""
    return _harmonic_mean(precision_with_tolerance(c), recall_with_tolerance(c))


def _harmonic_mean(a: float, b: float) -> float:
    return _ratio(2 * a * b, a + b)
