"""Contingency tables of two segmentations, and the scores that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import fastremap
import numpy as np
import numpy.typing as npt

from dacapo.errors import DtypeError, EvaluationError
from dacapo.utils.byte_order import native
from dacapo.utils.tally import Tally

Ids = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

# Pairs are counted in an array with one entry per possible pair, unless these far outnumber the voxels.
_SPARE = 4


@attrs.frozen(eq=False)
class ContingencyTable(Tally):
    """Number of voxels for each pair of labels that occurs, one from each segmentation.

    The table does not depend on how the volume was divided: pairs are sorted and unique, and all counts are above 0.
    It takes 24 bytes per pair.

    Attributes:
        first: Labels of the first segmentation; negative ones reinterpreted as unsigned.
        second: Labels of the second one.
        counts: Number of voxels with both labels.
    """

    first: Ids = attrs.field(factory=lambda: np.zeros(0, np.uint64))
    second: Ids = attrs.field(factory=lambda: np.zeros(0, np.uint64))
    counts: Counts = attrs.field(factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> ContingencyTable:
        """Count the pairs of labels at equal positions.

        Args:
            first: Labels, of any shape; integers or bool.
            second: Labels of the same shape.

        Raises:
            EvaluationError: If the shapes differ.
            DtypeError: If the labels are not integers.
        """
        check_labels(first, second)
        if not first.size:
            return cls()
        return cls(*_count(*_runs(first.ravel(), second.ravel())))

    def __add__(self, other: ContingencyTable) -> ContingencyTable:
        pairs = (np.concatenate([getattr(t, name) for t in (self, other)]) for name in ("first", "second", "counts"))
        return ContingencyTable(*_sum_equal(*pairs))

    def __len__(self) -> int:
        """Return the number of different pairs."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """Number of voxels."""
        return int(self.counts.sum())

    @property
    def first_counts(self) -> Counts:
        """Number of voxels of each label of the first segmentation, by ascending label."""
        return _sums(self.first, self.counts)

    @property
    def second_counts(self) -> Counts:
        """Number of voxels of each label of the second segmentation, by ascending label."""
        order = np.argsort(self.second, kind="stable")
        return _sums(self.second[order], self.counts[order])

    def without(self, first: Sequence[int] = (), second: Sequence[int] = ()) -> ContingencyTable:
        """Return the table of the voxels without the given labels."""
        keep = np.ones(len(self), dtype=bool)
        for labels, ignored in ((self.first, first), (self.second, second)):
            for label in ignored:
                keep &= labels != np.uint64(label % 2**64)
        return self if keep.all() else ContingencyTable(self.first[keep], self.second[keep], self.counts[keep])

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"first": self.first, "second": self.second, "counts": self.counts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> ContingencyTable:
        return cls(arrays["first"], arrays["second"], arrays["counts"])


def check_labels(reconstruction: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
    """Check that two arrays can be compared as labels.

    Raises:
        EvaluationError: If the shapes differ.
        DtypeError: If the labels are not integers.
    """
    if reconstruction.shape != truth.shape:
        raise EvaluationError(
            f"a reconstruction of shape {reconstruction.shape} cannot be compared with a truth of shape "
            f"{truth.shape}; crop both to the same region"
        )
    for name, labels in (("reconstruction", reconstruction), ("truth", truth)):
        if labels.dtype.kind not in "uib":
            raise DtypeError(f"labels must be integers, but the {name} is {labels.dtype}")


def variation_of_information(table: ContingencyTable) -> tuple[float, float]:
    """Return H(first | second) and H(second | first) in bits; NaN for an empty table.

    Meila, "Comparing clusterings: an information based distance", Journal of Multivariate Analysis 98 (2007).
    """
    if not len(table):
        return math.nan, math.nan
    joint, first, second = (_entropy(counts) for counts in (table.counts, table.first_counts, table.second_counts))
    # Differences of mathematically equal entropies may come out as -1e-16.
    return max(0.0, joint - second), max(0.0, joint - first)


@attrs.frozen
class AdaptedRand:
    """Agreement on which pairs of voxels belong together.

    Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for connectomics", Frontiers
    in Neuroanatomy 9 (2015), with pairs of two different voxels.

    Attributes:
        precision: Fraction of the pairs joined in the first segmentation that the second one joins too.
        recall: Fraction of the pairs joined in the second segmentation that the first one joins too.
    """

    precision: float
    recall: float

    @property
    def error(self) -> float:
        """One minus the harmonic mean of precision and recall."""
        if self.precision == 0 and self.recall == 0:
            return 1.0
        return 1 - 2 * self.precision * self.recall / (self.precision + self.recall)


def adapted_rand(table: ContingencyTable) -> AdaptedRand:
    """Return the adapted Rand scores of the first segmentation compared with the second, usually the truth.

    Background counts as an object unless the table was made :meth:`~ContingencyTable.without` it. A fraction of zero
    pairs is NaN.
    """
    joint, first, second = (_pairs(counts) for counts in (table.counts, table.first_counts, table.second_counts))
    return AdaptedRand(joint / first if first else math.nan, joint / second if second else math.nan)


def _pairs(counts: Counts) -> int:
    """Return the number of ordered pairs of different voxels with the same label; may exceed 64 bits."""
    sizes, number = np.unique(counts, return_counts=True)
    return sum(int(n) * int(size) * (int(size) - 1) for size, n in zip(sizes, number, strict=True))


def _entropy(counts: Counts) -> float:
    # Sum in the order of size, so that the result does not depend on the order of labels.
    sizes, number = np.unique(counts, return_counts=True)
    probabilities = sizes / float(counts.sum())
    return -float(np.sum(number * probabilities * np.log2(probabilities)))


def _runs(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Counts]:
    """Return the runs of equal pairs of labels: the labels of each run, and its length in voxels.

    Labels rarely change from voxel to voxel, so runs leave less to sort.
    """
    begins = np.empty(first.size, dtype=bool)
    begins[0] = True
    np.not_equal(first[1:], first[:-1], out=begins[1:])
    begins[1:] |= second[1:] != second[:-1]
    index = np.flatnonzero(begins)
    return first[index], second[index], np.diff(index, append=first.size)


def _count(first: npt.NDArray[Any], second: npt.NDArray[Any], lengths: Counts) -> tuple[Ids, Ids, Counts]:
    dense_first, ids_first = _numbered(first)
    dense_second, ids_second = _numbered(second)
    width = len(ids_second)
    # Both counts of labels are below the number of voxels, so 64 bits suffice to number the pairs.
    pairs = dense_first.astype(np.int64) * width + dense_second
    possible = len(ids_first) * width
    if possible <= _SPARE * len(pairs):
        sums = np.bincount(pairs, weights=lengths, minlength=possible)  # exact: doubles represent all voxel counts
        found = np.flatnonzero(sums)
        counts = sums[found].astype(np.int64)
    else:
        order = np.argsort(pairs)
        pairs = pairs[order]
        found, counts = pairs[_begins(pairs)], _sums(pairs, lengths[order])
    by_id = ids_first[found // width], ids_second[found % width], counts
    return _sum_equal(*by_id)


def _numbered(labels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Ids]:
    """Return labels renumbered from 0 without gaps, and the label of each number."""
    plain = labels.view(np.uint8) if labels.dtype == bool else native(labels)
    numbers, mapping = fastremap.renumber(plain, preserve_zero=False)
    ids = np.empty(len(mapping), dtype=np.uint64)
    # Convert in the original type, in which negative labels are meaningful.
    labels_of = np.fromiter(mapping.keys(), dtype=plain.dtype, count=len(mapping))
    ids[np.fromiter(mapping.values(), dtype=np.int64, count=len(mapping)) - 1] = labels_of.astype(np.uint64)
    return numbers - 1, ids


def _sum_equal(first: Ids, second: Ids, counts: Counts) -> tuple[Ids, Ids, Counts]:
    """Sort pairs, and merge equal ones."""
    order = np.lexsort((second, first))
    first, second, counts = first[order], second[order], counts[order]
    index = np.flatnonzero(_begins(first) | _begins(second))
    return first[index], second[index], np.add.reduceat(counts, index) if len(index) else counts


def _begins(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return the mask of values that differ from their predecessor."""
    begins = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=begins[1:])
    return begins


def _sums(values: npt.NDArray[Any], counts: Counts) -> Counts:
    """Return the sum of the counts of each distinct value of a sorted array."""
    if not len(values):
        return np.zeros(0, np.int64)
    return np.asarray(np.add.reduceat(counts, np.flatnonzero(_begins(values))))
