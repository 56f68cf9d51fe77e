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
from dacapo.experiments.tasks.evaluators.evaluator import Criterion, EvaluationScores, lookup
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
class InstanceEvaluationScores(EvaluationScores):
    """Hold the variation of information between a segmentation and the truth, in bits.

    It has no upper bound that would not depend on the volume.

    Attributes:
        voi_split: What is missing to know the segment where the true object is known: objects cut apart.
        voi_merge: What is missing to know the true object where the segment is known: objects run together.
    """

    criteria = list(CRITERIA)

    voi_split: float = attrs.field(default=float("nan"))
    voi_merge: float = attrs.field(default=float("nan"))

    @property
    def voi(self) -> float:
        """The variation of information: split plus merge, as Meila defines it (not their mean)."""
        return self.voi_split + self.voi_merge

    @staticmethod
    def higher_is_better(criterion: str) -> bool:
        """Return whether a higher value is better: never."""
        return lookup(CRITERIA, criterion).higher_is_better

    @staticmethod
    def bounds(criterion: str) -> tuple[float, float]:
        """Return the lowest and the highest possible value."""
        return lookup(CRITERIA, criterion).bounds

    @staticmethod
    def store_best(criterion: str) -> bool:
        """Return whether the weights with the best value are worth keeping."""
        return lookup(CRITERIA, criterion).store_best


class InstanceEvaluator(BlockEvaluator[ContingencyTable]):
    """Compare two volumes of labels by the variation of information.

    It is counted in blocks which pairs of labels meet. Memory depends on how many different pairs there are, not on the
    size of the volume.

    **Degenerate volumes** have values like any others: where the truth is empty, its background is one object, which
    segments split; where the output is empty, it merges all true objects; where both are, and in a volume of one voxel,
    all scores are 0.
    """

    criteria = ["voi_merge", "voi_split", "voi"]
    tally_type = ContingencyTable

    def __init__(self, ignore_unlabelled: bool = False, mask: Array | None = None):
        """Make an evaluator.

        Args:
            ignore_unlabelled: Whether to leave out voxels that are 0 in the truth, as where only some objects were
                traced. By default the background counts as one more object, so that a segment which reaches into it
                is an error.
            mask: Where it is 0, or does not reach, voxels are left out. Has the voxels of the truth, and no channels or
                one.
        """
        self.ignore_unlabelled = ignore_unlabelled
        self.mask = mask

    def check_truth(self, truth: Array) -> None:
        """Refuse ground truth whose labels are no whole numbers, or stand in several channels.

        Raises:
            DtypeError: If they are no whole numbers.
            ChannelMismatchError: If there are several channels.
        """
        if truth.dtype.kind not in "uib":
            raise DtypeError(f"labels have to be whole numbers, but the truth is {truth.dtype}: {truth}")
        check_single_channel(truth, "truth")

    def check_mask(self, mask: Array) -> None:
        """Refuse a mask of several channels.

        Raises:
            ChannelMismatchError: If there are several.
        """
        check_single_channel(mask, "mask")

    def open(self, output: LocalArrayIdentifier, truth: Array) -> Volumes:
        """Open what is compared, and check that it can be.

        Raises:
            EvaluationError: If it cannot.
        """
        volumes = super().open(output, truth)
        if self.blocks(volumes)[1] > 1:
            truth.fix_labels()
        return volumes

    def tally(self, volumes: Volumes, block: Roi) -> ContingencyTable:
        """Count the pairs of a segment and a true object in a block, where the mask is not 0.

        Raises:
            EvaluationError: If there are several channels.
        """
        truth = read_labels(volumes.truth, block, "truth")
        test = read_labels(volumes.output, block, "output")
        if volumes.mask is not None:
            inside = read_labels(volumes.mask, block, "mask") != 0
            if not inside.all():
                truth, test = truth[inside], test[inside]
        return ContingencyTable.of(test, truth)

    def scores_of(self, volumes: Volumes, tally: ContingencyTable) -> InstanceEvaluationScores:
        """Return the scores that follow from the pairs of all blocks.

        Raises:
            EvaluationError: If nothing is left to compare.
        """
        if not len(tally):
            raise EvaluationError(f"the mask is 0 everywhere in {volumes.roi}, so that nothing is left to score")
        compared = tally.without(second=[0]) if self.ignore_unlabelled else tally
        if not len(compared):
            raise EvaluationError(
                f"the truth has no labels to score in {volumes.roi}, and unlabelled voxels are ignored"
            )
        split, merge = variation_of_information(compared)
        return InstanceEvaluationScores(voi_split=split, voi_merge=merge)

    @property
    def score(self) -> InstanceEvaluationScores:
        """Scores without values, which know their criteria."""
        return InstanceEvaluationScores()


def voi(truth: npt.NDArray[Any], test: npt.NDArray[Any]) -> dict[str, float]:
    """Return the variation of information between labels as ``voi_split`` and ``voi_merge``, in bits.

    The background (0) counts as one more object in both.
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
        return_backwards_map: Whether to return the old ids, too.
        inplace: Whether to change ``array`` itself.

    Returns:
        The new labels, of the same type; how many there are without 0; and, if asked for, the old id by new id
        (0 at position 0).
    """
    labels = native(array)
    old_ids = fastremap.unique(labels)
    old_ids = np.concatenate([np.zeros(1, dtype=labels.dtype), old_ids[old_ids != 0]])
    # Negative ids sort before 0, which stays in front all the same.
    new_ids = {int(old): new for new, old in enumerate(old_ids)}
    relabelled = fastremap.remap(np.ascontiguousarray(labels), new_ids, preserve_missing_labels=False, in_place=False)
    if inplace:
        array[...] = relabelled
        relabelled = array
    count = len(old_ids) - 1
    return (relabelled, count, old_ids) if return_backwards_map else (relabelled, count)
