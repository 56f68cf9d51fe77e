"""Scores of segmentations in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dacapo.utils.binary_metrics import BinaryComparison, dice, f1_score, hausdorff, jaccard, precision, recall
from dacapo.utils.contingency import ContingencyTable, adapted_rand
from dacapo.utils.voi import voi

from ..data import blobs, cells
from ..harness import Case, Setting
from .comparison import Comparison
from .limits import seconds_of_bytes


def close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def instances(setting: Setting, name: str) -> Comparison:
    """Compare labels, by variation of information or by the adapted Rand error."""
    from skimage import metrics

    size = setting.size(160, 40)
    truth, test = cells(size), cells(size, spacing=14, seed=1)
    if name == "VOI":
        # Theirs are the conditional entropies in the other order.
        case = Case(
            lambda: voi(test, truth), lambda: metrics.variation_of_information(truth, test)[::-1].tolist(), sorted_close
        )
    else:
        case = Case(
            lambda: adapted_rand(ContingencyTable.of(test, truth)).error,
            lambda: metrics.adapted_rand_error(truth, test)[0],
            lambda got, want: np.testing.assert_allclose(got, want, atol=1e-6),
        )
    return Comparison(f"{name}, 160^3", "scikit-image", case, lambda: seconds_of_bytes(truth, test))


def sorted_close(got: Any, expected: Any) -> None:
    close(sorted(got), sorted(expected))


def masks(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Return a truth and a test."""
    size = setting.size(128, 32)
    return blobs(size) > 0, blobs(size) + 0.5 * blobs(size, seed=1) > 0.1


def compare(truth: np.ndarray, test: np.ndarray) -> BinaryComparison:
    return BinaryComparison.of(truth, test, (1, 1, 1), 200, 0)


def by_torchmetrics(setting: Setting) -> Comparison:
    from torchmetrics.functional.classification import (
        binary_f1_score,
        binary_jaccard_index,
        binary_precision,
        binary_recall,
    )

    truth, test = masks(setting)
    tensors = torch.from_numpy(test.astype(np.uint8)), torch.from_numpy(truth.astype(np.uint8))

    def ours() -> list[float]:
        comparison = compare(truth, test)
        return [metric(comparison) for metric in (precision, recall, f1_score, jaccard)]

    def theirs() -> list[float]:
        return [float(f(*tensors)) for f in (binary_precision, binary_recall, binary_f1_score, binary_jaccard_index)]

    work = "precision, recall, F1, Jaccard; ours: and all distances, 128^3"
    return Comparison(work, "torchmetrics", Case(ours, theirs, close), lambda: seconds_of_bytes(truth, test))


def by_monai(setting: Setting) -> Comparison:
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_iou

    truth, test = masks(setting)
    tensors = [torch.from_numpy(values.astype(np.float32))[None, None] for values in (test, truth)]

    def ours() -> list[float]:
        comparison = compare(truth, test)
        return [metric(comparison) for metric in (dice, jaccard, hausdorff)]

    def theirs() -> list[float]:
        first = [float(f(*tensors)) for f in (compute_dice, compute_iou)]
        return [*first, float(compute_hausdorff_distance(*tensors, include_background=True))]

    def check(got: list[float], expected: list[float]) -> None:
        close(got[:2], expected[:2])
        # Theirs is between surfaces, ours between voxels of the volumes.
        np.testing.assert_allclose(got[2], expected[2], atol=6)

    return Comparison(
        "Dice, Jaccard, Hausdorff, 128^3", "MONAI", Case(ours, theirs, check), lambda: seconds_of_bytes(truth, test)
    )


def by_scikit_image(setting: Setting) -> Comparison:
    from skimage.metrics import hausdorff_distance

    truth, test = masks(setting)
    case = Case(lambda: hausdorff(compare(truth, test)), lambda: hausdorff_distance(truth, test), close)
    return Comparison("Hausdorff, 128^3", "scikit-image", case, lambda: seconds_of_bytes(truth, test))
