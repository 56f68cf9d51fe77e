"""Metrics that compare two binary volumes, counted in voxels or measured in world units."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import edt
import numpy as np
import numpy.typing as npt

from dacapo.errors import EvaluationError

NAN = float("nan")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else NAN


class BinaryComparison:
    """Compare a binary test volume with the truth; everything is computed when it is first asked for.

    The distance of a false positive is that to the nearest voxel of the truth, the distance of a false negative that
    to the nearest voxel of the test, both between voxel centers and in world units.

    **Degenerate volumes.** No value is made up where a definition divides nothing by nothing or asks for the distance
    to nothing; it is NaN then, which no best score is chosen by.

    - Truth and test both empty: the Hausdorff distance is 0, all others are NaN.
    - One of them empty: dice and jaccard are 0; the false discovery rate is 1 without truth, as every discovery is
      false, and 0 without test, as nothing was discovered; all others are NaN.
    - Truth everywhere: false positive rates are NaN, for lack of background.
    - No voxel in both: the F1 score is NaN, and so is that with tolerance where none of them is tolerated.
    - Nothing inside the mask: all are NaN.

    A volume of one voxel or one slice has the values that follow from these and the definitions.
    """

    def __init__(
        self,
        truth: npt.NDArray[Any],
        test: npt.NDArray[Any],
        voxel_size: Sequence[float],
        clip_distance: float,
        tol_distance: float,
        mask: npt.NDArray[Any] | None = None,
    ):
        """Take the volumes to compare.

        Args:
            truth: What is above 0 is foreground. Spatial axes only, at most three.
            test: What is judged, of the same shape.
            voxel_size: Size of a voxel in world units, in the order of the axes.
            clip_distance: The clipped distances count at most this, in world units.
            tol_distance: Errors at most this far off, in world units, are forgiven by the criteria with tolerance.
            mask: What is 0 there is not counted, and foreground there is as if it were not there.

        Raises:
            EvaluationError: If the shapes differ.
        """
        if truth.shape != test.shape or (mask is not None and mask.shape != truth.shape):
            raise EvaluationError(
                f"volumes of the shapes {truth.shape} (truth) and {test.shape} (test)"
                + ("" if mask is None else f" and {mask.shape} (mask)")
                + " cannot be compared voxel by voxel; cut out the same region"
            )
        inside = None if mask is None else np.asarray(mask) > 0
        self.truth, self.test = (
            np.ascontiguousarray(v > 0 if inside is None else (v > 0) & inside) for v in (truth, test)
        )
        self.size = int(self.truth.size if inside is None else np.count_nonzero(inside))
        self.voxel_size = tuple(float(v) for v in voxel_size)
        self.clip_distance = float(clip_distance)
        self.tol_distance = float(tol_distance)

    @cached_property
    def true_positives(self) -> int:
        """Number of voxels in both."""
        return int(np.count_nonzero(self.truth & self.test))

    @cached_property
    def truth_size(self) -> int:
        """Number of voxels of the truth."""
        return int(np.count_nonzero(self.truth))

    @cached_property
    def test_size(self) -> int:
        """Number of voxels of the test."""
        return int(np.count_nonzero(self.test))

    @property
    def false_positives(self) -> int:
        """Number of voxels in the test only."""
        return self.test_size - self.true_positives

    @property
    def false_negatives(self) -> int:
        """Number of voxels in the truth only."""
        return self.truth_size - self.true_positives

    @property
    def true_negatives(self) -> int:
        """Number of counted voxels in neither."""
        return self.size - self.true_positives - self.false_positives - self.false_negatives

    @property
    def empty(self) -> bool:
        """Whether truth or test has no foreground."""
        return not (self.truth_size and self.test_size)

    @cached_property
    def false_positive_distances(self) -> npt.NDArray[np.float64]:
        """Distance to the truth of every voxel of the test; 0 for true positives."""
        return self._distances(self.test, self.truth)

    @cached_property
    def false_negative_distances(self) -> npt.NDArray[np.float64]:
        """Distance to the test of every voxel of the truth; 0 for true positives."""
        return self._distances(self.truth, self.test)

    @cached_property
    def intolerable_false_positives(self) -> int:
        """Number of false positives farther off than the tolerance."""
        return int(np.count_nonzero(self.false_positive_distances > self.tol_distance))

    @cached_property
    def intolerable_false_negatives(self) -> int:
        """Number of false negatives farther off than the tolerance."""
        return int(np.count_nonzero(self.false_negative_distances > self.tol_distance))

    @property
    def tolerated_positives(self) -> int:
        """Number of voxels that are right, counting errors within the tolerance as right."""
        tolerated_false_positives = self.false_positives - self.intolerable_false_positives
        tolerated_false_negatives = self.false_negatives - self.intolerable_false_negatives
        return self.true_positives + tolerated_false_positives + tolerated_false_negatives

    def _distances(self, of: npt.NDArray[np.bool_], to: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        # In units of the smallest edge squared distances are mostly whole numbers, which 32 bits hold exactly, so that
        # a distance that equals the tolerance is not above it by rounding.
        unit = min(self.voxel_size)
        anisotropy = tuple(v / unit for v in self.voxel_size)
        # Along a single axis the unit is the voxel, and the function takes a number.
        squared = edt.edtsq(~to, anisotropy=anisotropy if to.ndim > 1 else 1.0, black_border=False)
        return np.asarray(np.sqrt(squared[of].astype(np.float64)) * unit)


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
    return float(max(c.false_positive_distances.max(), c.false_negative_distances.max()))


def false_negative_rate(c: BinaryComparison) -> float:
    """Return which part of the truth is missed: FN / (FN + TP)."""
    return NAN if c.empty else _ratio(c.false_negatives, c.truth_size)


def false_positive_rate(c: BinaryComparison) -> float:
    """Return which part of the true background is taken for foreground: FP / (FP + TN)."""
    return NAN if c.empty else _ratio(c.false_positives, c.false_positives + c.true_negatives)


def false_discovery_rate(c: BinaryComparison) -> float:
    """Return which part of the test is wrong: FP / (FP + TP); 0 if nothing was discovered."""
    if c.truth_size and not c.test_size:
        return 0.0
    return _ratio(c.false_positives, c.test_size)


def false_negative_rate_with_tolerance(c: BinaryComparison) -> float:
    """Return which part of the truth is missed by more than the tolerance."""
    return NAN if c.empty else _ratio(c.intolerable_false_negatives, c.truth_size)


def false_positive_rate_with_tolerance(c: BinaryComparison) -> float:
    """Return the false positives beyond the tolerance as a part of the true background."""
    return NAN if c.empty else _ratio(c.intolerable_false_positives, c.false_positives + c.true_negatives)


def voi(c: BinaryComparison) -> float:
    """Return the variation of information (split plus merge) in bits, the background being a class like any other."""
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
    return NAN if c.empty else float(c.false_negative_distances.mean())


def mean_false_positive_distance(c: BinaryComparison) -> float:
    """Return the mean distance of the voxels of the test to the truth, in world units."""
    return NAN if c.empty else float(c.false_positive_distances.mean())


def mean_false_distance_clipped(c: BinaryComparison) -> float:
    """Return the mean of the two clipped mean distances."""
    return (mean_false_positive_distance_clipped(c) + mean_false_negative_distance_clipped(c)) / 2


def mean_false_negative_distance_clipped(c: BinaryComparison) -> float:
    """Return the mean false negative distance, each distance counting at most ``clip_distance``."""
    return NAN if c.empty else float(np.minimum(c.false_negative_distances, c.clip_distance).mean())


def mean_false_positive_distance_clipped(c: BinaryComparison) -> float:
    """Return the mean false positive distance, each distance counting at most ``clip_distance``."""
    return NAN if c.empty else float(np.minimum(c.false_positive_distances, c.clip_distance).mean())


def precision(c: BinaryComparison) -> float:
    """Return which part of the test is right: TP / (TP + FP)."""
    return NAN if c.empty else _ratio(c.true_positives, c.test_size)


def recall(c: BinaryComparison) -> float:
    """Return which part of the truth is found: TP / (TP + FN)."""
    return NAN if c.empty else _ratio(c.true_positives, c.truth_size)


def f1_score(c: BinaryComparison) -> float:
    """Return the harmonic mean of precision and recall; NaN if both are 0."""
    return _harmonic_mean(precision(c), recall(c))


def precision_with_tolerance(c: BinaryComparison) -> float:
    """Return the precision, errors within the tolerance counting as right."""
    return NAN if c.empty else _ratio(c.tolerated_positives, c.tolerated_positives + c.intolerable_false_positives)


def recall_with_tolerance(c: BinaryComparison) -> float:
    """Return the recall, errors within the tolerance counting as right."""
    return NAN if c.empty else _ratio(c.tolerated_positives, c.tolerated_positives + c.intolerable_false_negatives)


def f1_score_with_tolerance(c: BinaryComparison) -> float:
    """Return the harmonic mean of precision and recall with tolerance; NaN if both are 0."""
    return _harmonic_mean(precision_with_tolerance(c), recall_with_tolerance(c))


def _harmonic_mean(a: float, b: float) -> float:
    return _ratio(2 * a * b, a + b)
