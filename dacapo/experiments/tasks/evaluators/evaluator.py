"""The interfaces of scores and evaluators, and the record of the best scores."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import attrs

from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.utils.plain_repr import plain_repr
from dacapo.utils.ranking import first_best

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.tasks.post_processors import PostProcessorParameters
    from dacapo.experiments.validation_scores import ValidationScores
    from dacapo.store.array_store import LocalArrayIdentifier

BestKey: TypeAlias = "tuple[Dataset, PostProcessorParameters, str]"
BestScore: TypeAlias = tuple[int, float] | None


@attrs.frozen
class Criterion:
    """Properties of a score.

    Attributes:
        higher_is_better: Whether a higher value is better.
        bounds: The lowest and the highest possible value; infinity or NaN if unbounded.
        store_best: Whether the weights with the best value are worth keeping.
    """

    higher_is_better: bool
    bounds: tuple[float, float]
    store_best: bool = False


@attrs.define
class EvaluationScores(ABC):
    """Hold the scores of one segmentation, each as an attribute named like its criterion."""

    @property
    @abstractmethod
    def criteria(self) -> list[str]:
        """Names of all criteria."""
        raise NotImplementedError

    @staticmethod
    @abstractmethod
    def higher_is_better(criterion: str) -> bool:
        """Return whether a higher value is better."""
        raise NotImplementedError

    @staticmethod
    @abstractmethod
    def bounds(criterion: str) -> tuple[float, float]:
        """Return the lowest and the highest possible value; infinity or NaN if unbounded."""
        raise NotImplementedError

    @staticmethod
    @abstractmethod
    def store_best(criterion: str) -> bool:
        """Return whether the weights with the best value are worth keeping."""
        raise NotImplementedError

    @staticmethod
    def has_truth(criterion: str, values: Mapping[str, float]) -> bool:
        """Return whether the scores of a segmentation show that a criterion has truth to compare with.

        If no segmentation shows it, the criterion does not count in a mean over several criteria and datasets. By
        default any score that is not NaN shows it.

        Args:
            criterion: Name of the criterion.
            values: All scores of one segmentation, by criterion.
        """
        return not math.isnan(values[criterion])

    @property
    def default_criterion(self) -> str | None:
        """The criterion that decides by default: the variation of information, or the first one to keep the best of.

        Of several classes, the one of the first class that has it; None without criteria.
        """
        kept = [name for name in self.criteria if self.store_best(name)]
        by_default = [name for name in kept if name.rpartition("__")[2] == "voi"]
        return next(iter([*by_default, *kept, *self.criteria]), None)


@attrs.define
class TabulatedScores(EvaluationScores):
    """Scores whose criteria are described by a table.

    Attributes:
        table: The criteria by name.
    """

    table: ClassVar[Mapping[str, Criterion]]

    @classmethod
    def describe(cls, criterion: str) -> Criterion:
        """Return the description of a criterion.

        Raises:
            ConfigError: If the name is unknown; the message lists the known ones.
        """
        if criterion not in cls.table:
            raise ConfigError(f"unknown criterion {criterion!r}; known are {', '.join(cls.table)}")
        return cls.table[criterion]

    @classmethod
    def higher_is_better(cls, criterion: str) -> bool:
        return cls.describe(criterion).higher_is_better

    @classmethod
    def bounds(cls, criterion: str) -> tuple[float, float]:
        return cls.describe(criterion).bounds

    @classmethod
    def store_best(cls, criterion: str) -> bool:
        return cls.describe(criterion).store_best


class Evaluator(ABC):
    """Compare segmentations with ground truth, and record the best scores."""

    mask: Array | None = None
    """Nothing is scored where it is 0 or does not reach; on the voxel grid of the truth. None scores everything."""

    @property
    def best_scores(self) -> dict[BestKey, BestScore]:
        """The best (iteration, score) by dataset, parameters and criterion; None if every score was NaN."""
        if not hasattr(self, "_best_scores"):
            self._best_scores: dict[BestKey, BestScore] = {}
        return self._best_scores

    def __repr__(self) -> str:
        return plain_repr(self)

    @abstractmethod
    def evaluate(self, output_array_identifier: LocalArrayIdentifier, evaluation_array: Array) -> EvaluationScores:
        """Score the array stored under an identifier against the ground truth.

        Raises:
            EvaluationError: If the two cannot be compared; the message gives the reason.
        """
        raise NotImplementedError

    def check_truth(self, truth: Array) -> None:  # noqa: B027 - most evaluators take everything
        """Refuse ground truth that can never be scored, judging by its metadata; by default accept all.

        Raises:
            DtypeError: If this evaluator cannot use its data type.
            ChannelMismatchError: If this evaluator cannot use its number of channels.
        """

    def check_mask(self, mask: Array) -> None:  # noqa: B027
        """Refuse a mask that can never be used, judging by its metadata; by default accept all.

        Raises:
            ChannelMismatchError: If this evaluator cannot use its number of channels.
        """

    @contextmanager
    def masked_by(self, mask: Array | None) -> Iterator[None]:
        """Score only nonzero voxels of a mask inside a ``with`` block; None keeps the evaluator's own mask."""
        before = self.mask
        self.mask = before if mask is None else mask
        try:
            yield
        finally:
            self.mask = before

    @property
    @abstractmethod
    def criteria(self) -> list[str]:
        """Names of the criteria that can select a segmentation."""
        raise NotImplementedError

    @property
    @abstractmethod
    def score(self) -> EvaluationScores:
        """Scores without values, which know their criteria."""
        raise NotImplementedError

    def is_best(
        self,
        dataset: Dataset,
        parameter: PostProcessorParameters,
        criterion: str,
        score: EvaluationScores | float,
    ) -> bool:
        """Return whether a new score beats the best one of the same dataset, parameters and criterion.

        Never true for NaN, nor for criteria whose best weights are not kept.

        Args:
            dataset: The dataset the score belongs to.
            parameter: The post-processing parameters that produced it.
            criterion: Name of the criterion.
            score: The new scores, or the number itself.
        """
        value = float(getattr(score, criterion)) if isinstance(score, EvaluationScores) else float(score)
        if not self.store_best(criterion) or math.isnan(value):
            return False
        best = self.best_scores.get((dataset, parameter, criterion))
        return best is None or self.compare(value, best[1], criterion)

    def get_overall_best(self, dataset: Dataset, criterion: str) -> float | None:
        """Return the best score of a dataset over all parameters, or None."""
        best = self._overall_best(dataset, criterion)
        return None if best is None else best[1]

    def get_overall_best_parameters(self, dataset: Dataset, criterion: str) -> PostProcessorParameters | None:
        """Return the parameters that reached the best score of a dataset, or None.

        Of equal scores the earliest iteration wins, and within an iteration the first parameters.
        """
        best = self._overall_best(dataset, criterion)
        return None if best is None else best[0]

    def compare(self, score_1: float, score_2: float, criterion: str) -> bool:
        """Return whether ``score_1`` is better than ``score_2``; NaN is worse than every number."""
        return bool(first_best([score_2, score_1], self.higher_is_better(criterion))[0] == 1)

    def set_best(self, validation_scores: ValidationScores) -> None:
        """Take the best scores from a record of validations; of equal scores the earliest iteration wins.

        Only criteria whose best weights are kept are recorded.
        """
        best_scores: dict[BestKey, BestScore] = {}
        for d, dataset in enumerate(validation_scores.datasets):
            for p, parameters in enumerate(validation_scores.parameters):
                for c, criterion in enumerate(validation_scores.criteria):
                    if self.store_best(criterion):
                        candidates = [(s.iteration, s.scores[d][p][c]) for s in validation_scores.scores]
                        best_scores[(dataset, parameters, criterion)] = self._best_of(candidates, criterion)
        self._best_scores = best_scores

    def higher_is_better(self, criterion: str) -> bool:
        """Return whether a higher value is better."""
        return self.score.higher_is_better(criterion)

    def bounds(self, criterion: str) -> tuple[float, float]:
        """Return the lowest and the highest possible value; infinity or NaN if unbounded."""
        return self.score.bounds(criterion)

    def store_best(self, criterion: str) -> bool:
        """Return whether the weights with the best value are worth keeping."""
        return self.score.store_best(criterion)

    def _best_of(self, candidates: Sequence[tuple[int, float]], criterion: str) -> BestScore:
        index, found = first_best([score for _, score in candidates], self.higher_is_better(criterion))
        return candidates[int(index)] if found else None

    def _overall_best(self, dataset: Dataset, criterion: str) -> tuple[PostProcessorParameters, float] | None:
        candidates = [
            (best[0], parameters, best[1])
            for (key_dataset, parameters, key_criterion), best in self.best_scores.items()
            if best is not None and key_criterion == criterion and key_dataset == dataset
        ]
        candidates.sort(key=lambda candidate: candidate[0])  # keeps the order of parameters within an iteration
        index, found = first_best([score for *_, score in candidates], self.higher_is_better(criterion))
        return candidates[int(index)][1:] if found else None
