"""The best segmentations of a run so far, as its stored scores say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from dacapo.errors import ConfigError, NotFoundError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.create_store import create_array_store, create_stats_store
from dacapo.utils.ranking import first_best

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.run import Run


@attrs.frozen
class Best:
    """The best validation of a dataset so far.

    Attributes:
        iteration: The iteration of the validation.
        score: Its score.
    """

    iteration: int
    score: float


class BestScore:
    """The best segmentation of each validation dataset of a run, as kept by the stores.

    Attributes:
        run: The run.
        criterion: The criterion that selects the best; None if the run keeps none.
        best: Result of the last check, by the name of the dataset.
    """

    def __init__(self, run: Run, criterion: str | None = None) -> None:
        """Set the run; nothing is read yet.

        Args:
            run: The run.
            criterion: A criterion whose best segmentations are kept; by default the variation of information, or else
                the first one.

        Raises:
            ConfigError: If the best segmentations by this criterion are not kept.
        """
        self.run = run
        scores = run.task.evaluation_scores
        kept = [name for name in scores.criteria if scores.store_best(name)]
        if criterion is not None and criterion not in kept:
            raise ConfigError(f"the best by {criterion!r} is not kept, only by {', '.join(kept) or 'no criterion'}")
        default = scores.default_criterion
        self.criterion = criterion if criterion is not None else default if default in kept else None
        self.best: dict[str, Best] = {}

    def get_ds(self, iteration: int, validation_dataset: Dataset | str) -> ZarrArray:
        """Open the segmentation of a validation dataset.

        Args:
            iteration: The iteration of the segmentation; only the best one is kept.
            validation_dataset: The dataset, or its name.

        Raises:
            NotFoundError: If another iteration is the best, or none is yet.
            ArrayNotFoundError: If the segmentation was deleted.
        """
        name = validation_dataset if isinstance(validation_dataset, str) else validation_dataset.name
        best = self.best.get(name)
        if best is None or best.iteration != iteration or self.criterion is None:
            found = "none is known yet" if best is None else f"that is iteration {best.iteration}"
            raise NotFoundError(
                f"run {self.run.name!r}, dataset {name!r}: only the best segmentation is kept, and {found}; "
                f"iteration {iteration} is not available"
            )
        identifier = create_array_store().best_validation_array(self.run.name, self.criterion, name)
        return ZarrArray.open_from_array_identifier(identifier, name=f"best {self.criterion}", mode="r")

    def does_new_best_exist(self) -> bool:
        """Check the stored scores, and return whether the best validation of any dataset has changed."""
        before, self.best = self.best, self._look()
        return self.best != before

    def _look(self) -> dict[str, Best]:
        if self.criterion is None:
            return {}
        scores = self.run.task.evaluation_scores
        column, higher = list(scores.criteria).index(self.criterion), scores.higher_is_better(self.criterion)
        stored = create_stats_store().retrieve_validation_iteration_scores(self.run.name)
        names = [dataset.name for dataset in self.run.datasplit.validate or []]
        for one in stored:
            one.check_datasets(names)
        stored = sorted(stored, key=lambda one: one.iteration)
        found = {}
        for number, name in enumerate(names):
            table = [(one.iteration, row[column]) for one in stored for row in one.scores[number]]
            index, exists = first_best([value for _, value in table], higher)
            if exists:
                found[name] = Best(*table[int(index)])
        return found
