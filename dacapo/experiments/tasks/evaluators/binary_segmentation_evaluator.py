"""Comparison of binary segmentations of one or several classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from funlib.geometry import Roi

from dacapo.errors import ChannelMismatchError, ConfigError, EvaluationError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.tasks.evaluators.binary_blocks import BinaryBlocks, BinaryTally
from dacapo.experiments.tasks.evaluators.block_evaluator import BlockEvaluator
from dacapo.experiments.tasks.evaluators.evaluator import Criterion, TabulatedScores
from dacapo.experiments.tasks.evaluators.volumes import Volumes
from dacapo.utils import binary_metrics
from dacapo.utils.binary_metrics import BinaryComparison, BinaryCounts
from dacapo.utils.wording import in_channels

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

NAN = float("nan")
FRACTION = (0.0, 1.0)
DISTANCE = (0.0, NAN)
SEPARATOR = "__"


@attrs.frozen
class BinaryCriterion(Criterion):
    """A score and the function that computes it."""

    function: Callable[[BinaryComparison], float] = attrs.field(kw_only=True)


def _criteria(*rows: tuple[Callable[[BinaryComparison], float], bool, tuple[float, float], bool]) -> dict[str, Any]:
    return {
        function.__name__: BinaryCriterion(better, bounds, best, function=function)
        for function, better, bounds, best in rows
    }


# In the order of the fields of the scores: function, higher is better, bounds, store best.
CRITERIA: dict[str, BinaryCriterion] = _criteria(
    (binary_metrics.dice, True, FRACTION, False),
    (binary_metrics.jaccard, True, FRACTION, False),
    (binary_metrics.hausdorff, False, DISTANCE, False),
    (binary_metrics.false_negative_rate, False, FRACTION, False),
    (binary_metrics.false_negative_rate_with_tolerance, False, FRACTION, False),
    (binary_metrics.false_positive_rate, False, FRACTION, False),
    (binary_metrics.false_discovery_rate, False, FRACTION, False),
    (binary_metrics.false_positive_rate_with_tolerance, False, FRACTION, False),
    (binary_metrics.voi, False, (0.0, math.inf), True),
    (binary_metrics.mean_false_distance, False, DISTANCE, False),
    (binary_metrics.mean_false_negative_distance, False, DISTANCE, False),
    (binary_metrics.mean_false_positive_distance, False, DISTANCE, False),
    (binary_metrics.mean_false_distance_clipped, False, DISTANCE, False),
    (binary_metrics.mean_false_negative_distance_clipped, False, DISTANCE, False),
    (binary_metrics.mean_false_positive_distance_clipped, False, DISTANCE, False),
    (binary_metrics.precision_with_tolerance, True, FRACTION, False),
    (binary_metrics.recall_with_tolerance, True, FRACTION, False),
    (binary_metrics.f1_score_with_tolerance, True, FRACTION, False),
    (binary_metrics.precision, True, FRACTION, False),
    (binary_metrics.recall, True, FRACTION, False),
    (binary_metrics.f1_score, True, FRACTION, True),
)


@attrs.define
class BinarySegmentationEvaluationScores(TabulatedScores):
    """Hold the scores of one class; :mod:`dacapo.utils.binary_metrics` defines them.

    Distances are in world units, ``voi`` is in bits.
    """

    table = CRITERIA
    criteria = list(CRITERIA)

    dice: float = attrs.field(default=NAN)
    jaccard: float = attrs.field(default=NAN)
    hausdorff: float = attrs.field(default=NAN)
    false_negative_rate: float = attrs.field(default=NAN)
    false_negative_rate_with_tolerance: float = attrs.field(default=NAN)
    false_positive_rate: float = attrs.field(default=NAN)
    false_discovery_rate: float = attrs.field(default=NAN)
    false_positive_rate_with_tolerance: float = attrs.field(default=NAN)
    voi: float = attrs.field(default=NAN)
    mean_false_distance: float = attrs.field(default=NAN)
    mean_false_negative_distance: float = attrs.field(default=NAN)
    mean_false_positive_distance: float = attrs.field(default=NAN)
    mean_false_distance_clipped: float = attrs.field(default=NAN)
    mean_false_negative_distance_clipped: float = attrs.field(default=NAN)
    mean_false_positive_distance_clipped: float = attrs.field(default=NAN)
    precision_with_tolerance: float = attrs.field(default=NAN)
    recall_with_tolerance: float = attrs.field(default=NAN)
    f1_score_with_tolerance: float = attrs.field(default=NAN)
    precision: float = attrs.field(default=NAN)
    recall: float = attrs.field(default=NAN)
    f1_score: float = attrs.field(default=NAN)

    @staticmethod
    def has_truth(criterion: str, values: Mapping[str, float]) -> bool:
        """Return whether the scores show that the truth has foreground."""
        return _has_foreground(values["recall"], values["false_discovery_rate"])


@attrs.define
class MultiChannelBinarySegmentationEvaluationScores(TabulatedScores):
    """Hold the scores of several classes; each is an attribute ``<channel>__<criterion>``.

    Attributes:
        channel_scores: Pairs of a channel's name and its scores.
    """

    table = CRITERIA

    channel_scores: list[tuple[str, BinarySegmentationEvaluationScores]] = attrs.field()

    def __getattr__(self, name: str) -> float:
        channel, _, criterion = name.rpartition(SEPARATOR)
        if channel and criterion in CRITERIA:
            for known, scores in self.channel_scores:
                if known == channel:
                    return float(getattr(scores, criterion))
        raise AttributeError(f"{type(self).__name__} has no score {name!r}")

    @property
    def criteria(self) -> list[str]:
        return [f"{channel}{SEPARATOR}{name}" for channel, scores in self.channel_scores for name in scores.criteria]

    @classmethod
    def describe(cls, criterion: str) -> Criterion:
        return super().describe(_without_channel(criterion))

    @staticmethod
    def has_truth(criterion: str, values: Mapping[str, float]) -> bool:
        """Return whether the scores show that the truth of the criterion's channel has foreground."""
        channel = criterion.removesuffix(_without_channel(criterion))
        return _has_foreground(values[f"{channel}recall"], values[f"{channel}false_discovery_rate"])


def _has_foreground(recall: float, false_discovery_rate: float) -> bool:
    """Return whether two scores show that the truth has foreground.

    Without it, the recall is NaN, and the false discovery rate is NaN or 1. If only the output has none, the recall is
    NaN and the false discovery rate is 0.
    """
    return not math.isnan(recall) or false_discovery_rate == 0


def _without_channel(criterion: str) -> str:
    return criterion.rpartition(SEPARATOR)[2]


class BinarySegmentationEvaluator(BlockEvaluator[BinaryTally]):
    """Compare binary volumes, channel by channel.

    Blocks are read with a margin. Distances beyond it are resolved in blocks as well (see
    :mod:`dacapo.utils.block_distances`), so that all scores are those of the whole volume.

    Everything above 0 is foreground. With ``channels``, the name of every criterion begins with its channel
    (``mito__dice``), even if there is only one; without, it does not. An array without a channel axis holds the indices
    of the channels if there are several, otherwise the only channel.
    """

    tally_type = BinaryTally
    margin: int = 32
    """Margin of the first read around a block, in edges of a voxel along its shortest axis."""

    def __init__(
        self,
        clip_distance: float,
        tol_distance: float,
        channels: Sequence[str] | None,
        mask: Array | None = None,
    ):
        """Set the distances, channels and mask.

        Args:
            clip_distance: Upper limit of the clipped distances, in world units.
            tol_distance: Distance of an error, in world units, up to which the criteria with tolerance forgive it.
            channels: Names of the channels, in the order of the channel axis; None for a volume without channels.
            mask: Nothing is scored where it is 0 or does not reach. On the voxel grid of the truth, with no channels or
                one per channel.
        """
        for name, distance in (("clip_distance", clip_distance), ("tol_distance", tol_distance)):
            if distance < 0:
                raise ConfigError(f"{name} is a distance in world units and cannot be {distance}")
        self.clip_distance = clip_distance
        self.tol_distance = tol_distance
        self.channels = list(channels) if channels else None
        self.mask = mask

    def open(self, output: LocalArrayIdentifier, truth: Array) -> Volumes:
        volumes = super().open(output, truth)
        for what, array in (("mask", volumes.mask), ("truth", truth), ("output", volumes.output)):
            if array is not None:
                self._check_channels(array, what)
        return volumes

    def check_truth(self, truth: Array) -> None:
        self._check_channels(truth, "truth")

    def check_mask(self, mask: Array) -> None:
        self._check_channels(mask, "mask")

    def tally(self, volumes: Volumes, block: Roi) -> BinaryTally:
        return self._blocks_of(volumes).tally(block)

    def scores_of(
        self, volumes: Volumes, tally: BinaryTally
    ) -> BinarySegmentationEvaluationScores | MultiChannelBinarySegmentationEvaluationScores:
        if volumes.mask is not None and not any(counts.size for counts in tally.counts):
            raise EvaluationError(f"the mask is 0 everywhere in {volumes.roi}, which leaves nothing to score")
        by_channel = [self._score(counts) for counts in self._blocks_of(volumes).completed(tally)]
        if self.channels is None:
            return by_channel[0]
        return MultiChannelBinarySegmentationEvaluationScores(list(zip(self.channels, by_channel, strict=True)))

    @property
    def criteria(self) -> list[str]:
        names = ["jaccard", "voi"]
        if self.channels is None:
            return names
        return [f"{channel}{SEPARATOR}{name}" for channel in self.channels for name in names]

    @property
    def score(self) -> BinarySegmentationEvaluationScores | MultiChannelBinarySegmentationEvaluationScores:
        if self.channels is None:
            return BinarySegmentationEvaluationScores()
        return MultiChannelBinarySegmentationEvaluationScores(
            [(channel, BinarySegmentationEvaluationScores()) for channel in self.channels]
        )

    def _score(self, counts: BinaryCounts) -> BinarySegmentationEvaluationScores:
        comparison = BinaryComparison(counts, self.clip_distance, self.tol_distance)
        return BinarySegmentationEvaluationScores(
            **{name: criterion.function(comparison) for name, criterion in CRITERIA.items()}
        )

    def _blocks_of(self, volumes: Volumes) -> BinaryBlocks:
        return BinaryBlocks(volumes, len(self.channels or [None]), self.margin)

    def _check_channels(self, array: Array, what: str) -> None:
        expected = len(self.channels) if self.channels else 1
        if "c" in array.axes and array.num_channels not in ({expected, 1} if what == "mask" else {expected}):
            named = f"the {expected} channels {self.channels}" if self.channels else "a single one, as none are named"
            remedy = "; remove the channel axis with a ChannelArrayConfig" if array.num_channels == 1 else ""
            raise ChannelMismatchError(f"the {what} has {in_channels(array.num_channels)}, expected {named}{remedy}")
