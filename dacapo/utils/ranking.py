"""The one rule by which the best of several scores is chosen.

NaN, which stands for a score that is missing, is never the best, and of equal scores the first one is. Where several
scores together decide, as those of several classes and datasets, each candidate is judged by the mean of the same ones:
see :func:`choose`.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt


def first_best(
    values: npt.ArrayLike, higher_is_better: bool | npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return the position of the first best number along the last axis, and whether there is one that is not NaN.

    Infinite numbers count as numbers: even the worst of them beats NaN.

    Args:
        values: The numbers.
        higher_is_better: The direction; of all, or one for each entry of the other axes.

    >>> first_best([np.nan, 2.0, 1.0, 1.0], higher_is_better=False)
    (array(2), array(True))
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape[-1] == 0:
        return np.zeros(numbers.shape[:-1], dtype=np.intp), np.zeros(numbers.shape[:-1], dtype=bool)
    missing = np.isnan(numbers)
    signed = numbers * np.where(higher_is_better, 1.0, -1.0)[..., np.newaxis]
    finite = np.clip(signed, np.finfo(np.float64).min, np.finfo(np.float64).max)
    return np.asarray(np.where(missing, -np.inf, finite).argmax(axis=-1)), np.asarray(~missing.all(axis=-1))


@attrs.frozen(eq=False)
class Choice:
    """Which of several candidates is the best, and by which of their scores.

    Attributes:
        index: Position of the best candidate, None if there is none.
        value: The mean of its scores that count.
        untrue: For each score, whether it was left out because there is nothing to compare with.
        unknown: For each score, whether it was left out because no candidate has it.
        missing: For each candidate and score, whether it counts and the candidate lacks it.
    """

    index: int | None
    value: float
    untrue: npt.NDArray[np.bool_]
    unknown: npt.NDArray[np.bool_]
    missing: npt.NDArray[np.bool_]


def choose(values: npt.NDArray[Any], has_truth: npt.NDArray[np.bool_], higher_is_better: bool) -> Choice:
    """Choose the first candidate whose mean over several scores is the best.

    Scores without truth are left out, and those that no candidate has: both tell nothing about which one is better. All
    candidates are judged by the same scores, those that remain. A candidate that lacks some of these comes after all
    that lack fewer, however good its other scores are; for the mean, what it lacks is as bad as the worst that another
    candidate has.

    Args:
        values: One row for each candidate, one column for each score; NaN where a score is missing.
        has_truth: For each column, whether there is anything that the score could compare with.
        higher_is_better: The direction of all scores.
    """
    lacking = np.isnan(values)
    unknown = lacking.all(axis=0) & has_truth
    counted = has_truth & ~unknown
    missing = lacking & counted
    if not counted.any() or not len(values):
        return Choice(None, float("nan"), ~has_truth, unknown, missing)
    worst = (np.nanmin if higher_is_better else np.nanmax)(values[:, counted], axis=0)
    means = np.where(lacking[:, counted], worst, values[:, counted]).mean(axis=1)
    number = missing.sum(axis=1)
    index = int(first_best(np.where(number == number.min(), means, np.nan), higher_is_better)[0])
    return Choice(index, float(means[index]), ~has_truth, unknown, missing)
