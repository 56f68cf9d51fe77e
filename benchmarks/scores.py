"""Evaluation of segmentations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import zarr

from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.tasks.evaluators import BinarySegmentationEvaluator
from dacapo.utils.voi import voi

from .arrays import on_disk
from .data import blobs, cells
from .floors import CLIP, TOLERANCE, binary_scores, plain_voi
from .harness import Case, Setting


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


def variation(setting: Setting, sparse: bool) -> Case:
    size = setting.size(160, 40)
    truth, test = cells(size), cells(size, spacing=14, seed=1)
    if sparse:
        ids = np.random.default_rng(0).integers(1, 2**63, int(max(truth.max(), test.max())) + 1, dtype=np.uint64)
        truth, test = ids[truth], ids[test]

    return Case(
        lambda: voi(test, truth),
        lambda: plain_voi(test, truth),
        lambda got, want: np.testing.assert_allclose(got, want, atol=1e-12),
        "1.1",
    )


CASES: dict[str, Callable[[Setting], Case]] = {
    "binary evaluator, 21 criteria, 128^3": binary,
    "VOI, dense ids, 160^3": partial(variation, sparse=False),
    "VOI, sparse 64-bit ids, 160^3": partial(variation, sparse=True),
}
