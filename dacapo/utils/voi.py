"""Variation of information between two segmentations in memory; see :mod:`dacapo.utils.contingency`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dacapo.utils.contingency import ContingencyTable, variation_of_information


def voi(
    reconstruction: npt.NDArray[np.integer],
    groundtruth: npt.NDArray[np.integer],
    ignore_reconstruction: Sequence[int] = (),
    ignore_groundtruth: Sequence[int] = (0,),
) -> tuple[float, float]:
    """Return the two parts of the variation of information, in bits.

    Args:
        reconstruction: Labels to score, of any shape.
        groundtruth: True labels, of the same shape.
        ignore_reconstruction: Voxels with these labels in ``reconstruction`` are ignored.
        ignore_groundtruth: Voxels with these labels in ``groundtruth`` are ignored.

    Returns:
        ``(split, merge)``: H(reconstruction | groundtruth), which grows as true objects are split, and
        H(groundtruth | reconstruction), which grows as they are merged. Both are NaN if no voxel is left to compare.

    Raises:
        EvaluationError: If the shapes differ.
        DtypeError: If the labels are not integers.
    """
    table = ContingencyTable.of(np.asarray(reconstruction), np.asarray(groundtruth))
    return variation_of_information(table.without(ignore_reconstruction, ignore_groundtruth))


def contingency(
    labels_a: npt.NDArray[np.integer], labels_b: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the voxels of each pair of labels, and of each label alone.

    Returns only counts above zero, in no particular order: those of pairs, of labels in ``labels_a`` and of labels in
    ``labels_b``.
    """
    table = ContingencyTable.of(labels_a, labels_b)
    return table.counts, table.first_counts, table.second_counts
