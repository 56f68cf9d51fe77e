"""Comparison of instance segmentations by the variation of information."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, overload

import attrs
import fastremap
import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.errors import DtypeError, EvaluationError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.tasks.evaluators.block_evaluator import BlockEvaluator
from dacapo.experiments.tasks.evaluators.evaluator import Criterion, TabulatedScores
from dacapo.experiments.tasks.evaluators.volumes import Volumes, check_single_channel, read_labels
from dacapo.utils.byte_order import native
from dacapo.utils.contingency import ContingencyTable, variation_of_information

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

CRITERIA = {
    "voi_split": Criterion(higher_is_better=False, bounds=(0.0, math.inf), store_best=True),
    "voi_merge": Criterion(higher_is_better=False, bounds=(0.0, math.inf), store_best=True),
    "voi": Criterion(higher_is_better=False, bounds=(0.0, math.inf), store_best=True),
}


@attrs.define
class InstanceEvaluationScores(TabulatedScores):
    """Hold the variation of information between a segmentation and the truth, in bits (Meila 2007).

    Its upper bound depends on the volume, so it counts as unbounded.

    Attributes:
        voi_split: Conditional entropy of the segment given the true object: objects that are cut apart.
        voi_merge: Conditional entropy of the true object given the segment: objects that are merged.
    """

    table = CRITERIA
    criteria = list(CRITERIA)

    voi_split: float = attrs.field(default=float("nan"))
    voi_merge: float = attrs.field(default=float("nan"))

    @property
    def voi(self) -> float:
        """The variation of information: the sum of split and merge, as Meila defines it (not their mean)."""
        return self.voi_split + self.voi_merge


class InstanceEvaluator(BlockEvaluator[ContingencyTable]):
    """Compare two volumes of labels by the variation of information.

    Blocks count the pairs of labels that occur together. Memory depends on the number of different pairs, not on the
    size of the volume.

    **Degenerate volumes** have regular values: in an empty truth the background is one object, which segments split; an
    empty output merges all true objects; if both are empty, or the volume is a single voxel, all scores are 0.
    """

    criteria = ["voi_merge", "voi_split", "voi"]
    tally_type = ContingencyTable

    def __init__(self, ignore_unlabelled: bool = False, mask: Array | None = None):
        """Set how unlabeled and masked voxels count.

        Args:
            ignore_unlabelled: Whether to ignore voxels that are 0 in the truth, for volumes in which only some objects
                were traced. By default the background counts as an object, so a segment that reaches into it is an
                error.
            mask: Voxels are ignored where it is 0 or does not reach. On the voxel grid of the truth, with at most one
                channel.
        """
        self.ignore_unlabelled = ignore_unlabelled
        self.mask = mask

    def check_truth(self, truth: Array) -> None:
        if truth.dtype.kind not in "uib":
            raise DtypeError(f"labels must be integers, but the truth is {truth.dtype}: {truth}")
        check_single_channel(truth, "truth")

    def check_mask(self, mask: Array) -> None:
        check_single_channel(mask, "mask")

    def open(self, output: LocalArrayIdentifier, truth: Array) -> Volumes:
        volumes = super().open(output, truth)
        if self.blocks(volumes)[1] > 1:
            truth.fix_labels()
        return volumes

    def tally(self, volumes: Volumes, block: Roi) -> ContingencyTable:
        truth = read_labels(volumes.truth, block, "truth")
        test = read_labels(volumes.output, block, "output")
        if volumes.mask is not None:
            inside = read_labels(volumes.mask, block, "mask") != 0
            if not inside.all():
                truth, test = truth[inside], test[inside]
        return ContingencyTable.of(test, truth)

    def scores_of(self, volumes: Volumes, tally: ContingencyTable) -> InstanceEvaluationScores:
        if not len(tally):
            raise EvaluationError(f"the mask is 0 everywhere in {volumes.roi}, which leaves nothing to score")
        compared = tally.without(second=[0]) if self.ignore_unlabelled else tally
        if not len(compared):
            raise EvaluationError(
                f"the truth has no labels to score in {volumes.roi}, and unlabeled voxels are ignored"
            )
        split, merge = variation_of_information(compared)
        return InstanceEvaluationScores(voi_split=split, voi_merge=merge)

    @property
    def score(self) -> InstanceEvaluationScores:
        return InstanceEvaluationScores()


def voi(truth: npt.NDArray[Any], test: npt.NDArray[Any]) -> dict[str, float]:
    """Return the variation of information between labels as ``voi_split`` and ``voi_merge``, in bits.

    The background (0) counts as an object in both.
    """
    split, merge = variation_of_information(ContingencyTable.of(np.asarray(test), np.asarray(truth)))
    return {"voi_split": split, "voi_merge": merge}


@overload
def relabel(
    array: npt.NDArray[Any], return_backwards_map: Literal[False] = False, inplace: bool = False
) -> tuple[npt.NDArray[Any], int]: ...
@overload
def relabel(
    array: npt.NDArray[Any], return_backwards_map: Literal[True], inplace: bool = False
) -> tuple[npt.NDArray[Any], int, npt.NDArray[Any]]: ...
def relabel(
    array: npt.NDArray[Any], return_backwards_map: bool = False, inplace: bool = False
) -> tuple[npt.NDArray[Any], int] | tuple[npt.NDArray[Any], int, npt.NDArray[Any]]:
    """Renumber labels to 1, 2, ... in the order of their ids; 0 stays 0.

    Args:
        array: Labels.
        return_backwards_map: Whether to return the old ids too.
        inplace: Whether to change ``array`` itself.

    Returns:
        The new labels, of the same type; their number without 0; and, on request, the old id by new id
        (0 at position 0).
    """
    labels = native(array)
    old_ids = fastremap.unique(labels)
    old_ids = np.concatenate([np.zeros(1, dtype=labels.dtype), old_ids[old_ids != 0]])
    # Negative ids sort before 0; move 0 to the front.
    new_ids = {int(old): new for new, old in enumerate(old_ids)}
    relabeled = fastremap.remap(np.ascontiguousarray(labels), new_ids, preserve_missing_labels=False, in_place=False)
    if inplace:
        array[...] = relabeled
        relabeled = array
    count = len(old_ids) - 1
    return (relabeled, count, old_ids) if return_backwards_map else (relabeled, count)
