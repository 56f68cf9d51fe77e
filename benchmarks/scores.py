"""Evaluation of segmentations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import edt
import fastremap
import numpy as np
import numpy.typing as npt
import zarr

from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.tasks.evaluators import BinarySegmentationEvaluator
from dacapo.utils.voi import voi

from .data import VOXEL_SIZE, blobs, cells, on_disk
from .harness import Case, Setting

CLIP, TOLERANCE = 200.0, 16.0


def binary(setting: Setting) -> Case:
    size = setting.size(128, 32)
    truth = blobs(size) > 0
    test = blobs(size) + 0.5 * blobs(size, seed=1) > 0.1
    output = on_disk(setting.folder, "test", test.astype(np.uint8))
    array = ZarrArray.open_from_array_identifier(on_disk(setting.folder, "truth", truth.astype(np.uint8)), mode="r")
    evaluator = BinarySegmentationEvaluator(CLIP, TOLERANCE, None)

    def floor() -> dict[str, float]:
        container = zarr.open(str(output.container), mode="r")
        return binary_scores(container["truth"][:] > 0, container["test"][:] > 0)

    def check(scores: Any, expected: dict[str, float]) -> None:
        np.testing.assert_equal(set(scores.criteria), set(expected))
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(scores, name), value, rtol=1e-5, err_msg=name)

    return Case(lambda: evaluator.evaluate(output, array), floor, check)


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


def variation(setting: Setting, sparse: bool) -> Case:
    size = setting.size(160, 40)
    truth, test = cells(size), cells(size, spacing=14, seed=1)
    if sparse:
        ids = np.random.default_rng(0).integers(1, 2**63, int(max(truth.max(), test.max())) + 1, dtype=np.uint64)
        truth, test = ids[truth], ids[test]

    def floor() -> tuple[float, float]:
        a, b = (fastremap.renumber(labels.ravel(), preserve_zero=False)[0] for labels in (test, truth))
        columns = int(b.max()) + 1
        pairs = a.astype(np.int64) * columns + b
        joint = np.bincount(pairs) / pairs.size
        h_joint, h_test, h_truth = (entropy(p) for p in (joint, np.bincount(a) / a.size, np.bincount(b) / b.size))
        return h_joint - h_truth, h_joint - h_test

    return Case(
        lambda: voi(test, truth), floor, lambda got, want: np.testing.assert_allclose(got, want, atol=1e-12), "1.1"
    )


def entropy(probabilities: npt.NDArray[np.float64]) -> float:
    positive = probabilities[probabilities > 0]
    return -float(np.sum(positive * np.log2(positive)))


CASES: dict[str, Callable[[Setting], Case]] = {
    "binary evaluator, 21 criteria, 128^3": binary,
    "VOI, dense ids, 160^3": partial(variation, sparse=False),
    "VOI, sparse 64-bit ids, 160^3": partial(variation, sparse=True),
}
