"""The rule by which the best of several scores is chosen, used throughout the package.

NaN marks a missing score and is never the best; of equal scores the first one wins. If several scores decide together,
such as those of several classes and datasets, all candidates are judged by the mean of the same scores: see
:func:`choose`.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt


def first_best(
    values: npt.ArrayLike, higher_is_better: bool | npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return the position of the first best number along the last axis, and whether any number is not NaN.

    Infinite values are valid: even the worst of them beats NaN.

    Args:
        values: The numbers.
        higher_is_better: The direction, either of all, or one per entry of the other axes.

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
    """The best of several candidates, and the scores that decided.

    Attributes:
        index: Position of the best candidate, None if no candidate has a counting score.
        value: The mean of its counting scores.
        untrue: For each score, whether it was left out because the truth lacks its class.
        unknown: For each score, whether it was left out because no candidate has it.
        missing: For each candidate and score, whether it counts and the candidate lacks it.
    """

    index: int | None
    value: float
    untrue: npt.NDArray[np.bool_]
    unknown: npt.NDArray[np.bool_]
    missing: npt.NDArray[np.bool_]


def choose(values: npt.NDArray[Any], has_truth: npt.NDArray[np.bool_], higher_is_better: bool) -> Choice:
    """Choose the first candidate with the best mean over several scores.

    Scores without truth, and scores that no candidate has, are left out, since they cannot rank candidates. The
    remaining scores judge all candidates. A candidate that lacks some of these ranks behind all that lack fewer,
    however good its other scores are; in the mean, a missing score counts as the worst score of the other candidates.

    Args:
        values: One row for each candidate, one column for each score; NaN marks a missing score.
        has_truth: For each column, whether the score has truth to compare with.
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
