"""Variation of information between two segmentations.

Meila, "Comparing clusterings: an information based distance", Journal of Multivariate Analysis 98 (2007).
"""

from __future__ import annotations

from collections.abc import Sequence

import fastremap
import numpy as np
import numpy.typing as npt

from dacapo.errors import DtypeError, EvaluationError


def voi(
    reconstruction: npt.NDArray[np.integer],
    groundtruth: npt.NDArray[np.integer],
    ignore_reconstruction: Sequence[int] = (),
    ignore_groundtruth: Sequence[int] = (0,),
) -> tuple[float, float]:
    """Return the two parts of the variation of information, in bits.

    Args:
        reconstruction: Labels to judge, of any shape.
        groundtruth: True labels, of the same shape.
        ignore_reconstruction: Voxels with these labels in ``reconstruction`` are left out.
        ignore_groundtruth: Voxels with these labels in ``groundtruth`` are left out.

    Returns:
        ``(split, merge)``: H(reconstruction | groundtruth), which grows as true objects are cut apart, and
        H(groundtruth | reconstruction), which grows as they run together. Both are NaN if no voxel is left to compare.

    Raises:
        EvaluationError: If the shapes differ.
        DtypeError: If the labels are not whole numbers.
    """
    reconstruction, groundtruth = _flat_labels(reconstruction, groundtruth)
    keep = np.ones(reconstruction.shape, dtype=bool)
    for labels, ignored in ((reconstruction, ignore_reconstruction), (groundtruth, ignore_groundtruth)):
        for label in ignored:
            keep &= labels != label
    if not keep.all():
        reconstruction, groundtruth = reconstruction[keep], groundtruth[keep]
    if not reconstruction.size:
        return float("nan"), float("nan")
    joint, in_reconstruction, in_groundtruth = contingency(reconstruction, groundtruth)
    total = float(reconstruction.size)
    h_joint, h_reconstruction, h_groundtruth = (
        _entropy(counts, total) for counts in (joint, in_reconstruction, in_groundtruth)
    )
    # Differences of entropies that are equal on paper may come out as -1e-16.
    return max(0.0, h_joint - h_groundtruth), max(0.0, h_joint - h_reconstruction)


def contingency(
    labels_a: npt.NDArray[np.integer], labels_b: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count in how many voxels each pair of labels, and each label alone, occurs.

    Only counts above zero are returned, in no particular order: those of pairs, of labels in ``labels_a`` and of labels
    in ``labels_b``.
    """
    dense_a, _ = fastremap.renumber(np.ascontiguousarray(labels_a.ravel()), preserve_zero=False)
    dense_b, ids_b = fastremap.renumber(np.ascontiguousarray(labels_b.ravel()), preserve_zero=False)
    # New ids count from 1, so a pair is below (labels in a + 1) * (labels in b + 1), which 64 bits hold.
    pairs = dense_a.astype(np.uint64) * np.uint64(len(ids_b) + 1) + dense_b.astype(np.uint64)
    _, joint = fastremap.unique(pairs, return_counts=True)
    counts_a, counts_b = np.bincount(dense_a)[1:], np.bincount(dense_b)[1:]
    return np.asarray(joint, dtype=np.int64), counts_a, counts_b


def _flat_labels(
    reconstruction: npt.NDArray[np.integer], groundtruth: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    reconstruction, groundtruth = np.asarray(reconstruction), np.asarray(groundtruth)
    if reconstruction.shape != groundtruth.shape:
        raise EvaluationError(
            f"a reconstruction of shape {reconstruction.shape} cannot be compared with a truth of shape "
            f"{groundtruth.shape}; cut out the same region of both"
        )
    for name, labels in (("reconstruction", reconstruction), ("truth", groundtruth)):
        if labels.dtype.kind not in "uib":
            raise DtypeError(f"labels have to be whole numbers, but the {name} is {labels.dtype}")
    as_labels = [a.view(np.uint8) if a.dtype == bool else a for a in (reconstruction, groundtruth)]
    return as_labels[0].ravel(), as_labels[1].ravel()


def _entropy(counts: npt.NDArray[np.int64], total: float) -> float:
    probabilities = counts / total
    return -float(np.sum(probabilities * np.log2(probabilities)))
