"""All scores of a run by name, without its data: for pages, which show runs whose data may have moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.errors import NotFoundError
from dacapo.experiments.selection import Selection, dataset_names, score_array, select_among
from dacapo.experiments.tasks import Task
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.utils.ranking import first_best

if TYPE_CHECKING:
    from dacapo.experiments.run_config import RunConfig


ALL = "all validation data"


@attrs.frozen
class TaskOfRun:
    """A run of which only the task is built."""

    config: RunConfig
    task: Task

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.config.name


@attrs.frozen
class Best:
    """The best checkpoint by a criterion, on all validation datasets together or on one."""

    criterion: str
    higher: bool
    dataset: str
    value: float
    iteration: int
    parameters: str
    reason: str


@attrs.frozen(eq=False)
class ScoreBook:
    """The scores of a run.

    Attributes:
        run: The run, with its task.
        datasets: Names of the validation datasets.
        iterations: The validated iterations, ascending.
        values: Scores by iteration, dataset, parameters and criterion; NaN where one is missing.
        stored: The scores as stored.
    """

    run: TaskOfRun
    datasets: list[str]
    iterations: list[int]
    values: npt.NDArray[np.float64]
    stored: list[ValidationIterationScores]

    @classmethod
    def of(cls, run: TaskOfRun, stored: Sequence[ValidationIterationScores]) -> ScoreBook:
        """Put stored scores together.

        Raises:
            RecordError: If they belong to datasets with other names.
            ConfigError: If the number of datasets, parameters or criteria differs from the config.
        """
        stored = sorted(stored, key=lambda one: one.iteration)
        names = dataset_names(run.config, stored) if stored else []
        values = score_array(run.name, run.task, stored, names)
        return cls(run, names, [one.iteration for one in stored], values, stored)

    @property
    def criteria(self) -> list[str]:
        """Names of the criteria."""
        return list(self.run.task.evaluation_scores.criteria)

    @property
    def main_criteria(self) -> list[str]:
        """The criteria whose best results are kept, the one that decides by default first."""
        about = self.run.task.evaluation_scores
        first = about.default_criterion
        kept = [name for name in self.criteria if about.store_best(name) and name != first]
        return [] if first is None else [first, *kept]

    @property
    def parameters(self) -> list[Any]:
        """The post-processing parameters."""
        return list(self.run.task.parameters)

    def is_higher_better(self, criterion: str) -> bool:
        """Return the direction of a criterion."""
        return self.run.task.evaluation_scores.higher_is_better(criterion)

    def best(self, criterion: str, dataset: str | None = None) -> Selection | None:
        """Return what :func:`dacapo.experiments.selection.select` chooses, None if no score decides."""
        if not self.stored:
            return None
        try:
            return select_among(self.stored, self.run, criterion, dataset)
        except NotFoundError:
            return None

    def best_of_each(self, criterion: str) -> list[Best]:
        """Return the best on all datasets by a criterion, then by the main ones; then by dataset if there are several.

        Args:
            criterion: The criterion to begin with.
        """
        names = list(dict.fromkeys([criterion, *self.main_criteria]))
        places: list[str | None] = [None, *(self.datasets if len(self.datasets) > 1 else [])]
        found = []
        for name in names:
            for dataset in places:
                chosen = self.best(name, dataset)
                if chosen is not None:
                    where = dataset or (ALL if len(places) > 1 else self.datasets[0])
                    facts = chosen.value, chosen.iteration, str(chosen.parameters), chosen.reason
                    found.append(Best(name, self.is_higher_better(name), where, *facts))
        return found

    def course(self, criterion: str, dataset: int) -> npt.NDArray[np.float64]:
        """Return the score of each iteration with its best parameters; NaN where all are missing."""
        table = self.values[:, dataset, :, self.criteria.index(criterion)]
        index, found = first_best(table, self.is_higher_better(criterion))
        if not table.size:
            return np.full(len(table), np.nan)
        return np.where(found, np.take_along_axis(table, index[:, np.newaxis], axis=1)[:, 0], np.nan)

    def score(self, iteration: int, dataset: int, parameters: Any, criterion: str) -> float:
        """Return one score."""
        place = self.iterations.index(iteration), dataset, self.parameters.index(parameters)
        return float(self.values[place][self.criteria.index(criterion)])
