"""The record of all validations of a run."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dacapo.errors import NotFoundError, RecordError
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.utils.drawing import INK, draw_course, name_courses, new_figure, say, style
from dacapo.utils.html import html_table
from dacapo.utils.ranking import first_best

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.tasks.evaluators import EvaluationScores
    from dacapo.experiments.tasks.post_processors import PostProcessorParameters


def _as_list(parameters: Iterable[PostProcessorParameters]) -> list[PostProcessorParameters]:
    return list(parameters)


def _object_array(values: Iterable[Any]) -> np.ndarray:
    """Put objects into an array one by one, since numpy would unpack sequences."""
    values = list(values)
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        array[index] = value
    return array


@attrs.define(repr=False)
class ValidationScores:
    """Collect the scores of validated iterations, per dataset, post-processing parameters and criterion.

    Attributes:
        parameters: The post-processing parameters that validation tries.
        datasets: The validation datasets.
        evaluation_scores: Knows the criteria and the better direction of each.
        scores: One entry per validated iteration, ascending.
    """

    parameters: list[PostProcessorParameters] = attrs.field(converter=_as_list)
    datasets: list[Dataset] = attrs.field()
    evaluation_scores: EvaluationScores = attrs.field()
    scores: list[ValidationIterationScores] = attrs.field(factory=list)

    def subscores(self, iteration_scores: list[ValidationIterationScores]) -> ValidationScores:
        """Return a record of the same run restricted to some of its iterations.

        Raises:
            RecordError: If an iteration is not part of this record.
        """
        held = {scores.iteration for scores in self.scores}
        strangers = [scores.iteration for scores in iteration_scores if scores.iteration not in held]
        if strangers:
            raise RecordError(f"iterations {strangers} are not among the validated ones, which are {sorted(held)}")
        return attrs.evolve(self, scores=list(iteration_scores))

    def add_iteration_scores(self, iteration_scores: ValidationIterationScores) -> None:
        """Insert the scores of an iteration in the order of iterations.

        Raises:
            RecordError: If the iteration already has scores, they belong to other datasets, or their shape is not
                (datasets, parameters, criteria).
        """
        iteration = iteration_scores.iteration
        if iteration_scores.datasets is not None:
            iteration_scores.check_datasets([dataset.name for dataset in self.datasets])
        self._check_shape(iteration_scores)
        index = self._position(iteration)
        if index < len(self.scores) and self.scores[index].iteration == iteration:
            raise RecordError(
                f"iteration {iteration} has been validated already; call delete_after({iteration}) to drop "
                "its scores and the later ones before adding new ones"
            )
        self.scores.insert(index, iteration_scores)

    def delete_after(self, iteration: int) -> None:
        """Drop the scores of ``iteration`` and of everything after it."""
        del self.scores[self._position(iteration) :]

    def validated_until(self) -> int:
        """Return the number of iterations validated for: the last iteration plus one, 0 for an empty record."""
        return self.scores[-1].iteration + 1 if self.scores else 0

    def compare(self, existing_iteration_scores: list[ValidationIterationScores]) -> tuple[bool, int]:
        """Compare this record with stored scores; this record takes precedence.

        Returns:
            Whether the stored scores extend beyond this record and have to be replaced, and the iteration from which
            scores of this record have to be written (0 to write all).
        """
        if not existing_iteration_scores:
            return False, 0
        existing = max(scores.iteration for scores in existing_iteration_scores) + 1
        if self.validated_until() < existing:
            return True, 0
        return False, existing

    def __repr__(self) -> str:
        return (
            f"ValidationScores({len(self.scores)} iterations, {len(self.datasets)} datasets, {len(self.parameters)} "
            f"parameters, criteria {', '.join(self.criteria)})"
        )

    def _repr_html_(self) -> str:
        """Return the best score of each criterion in the latest validation by dataset, for notebooks."""
        if not self.scores or not self.parameters:
            return html_table(repr(self), [], [], "nothing validated yet")
        latest = self.to_xarray().isel(iterations=-1)
        _, best = self.get_best(latest, "parameters")
        rows = [
            [dataset.name, *(f"{float(best.isel(datasets=d).sel(criteria=c)):.4g}" for c in self.criteria)]
            for d, dataset in enumerate(self.datasets)
        ]
        note = f"best parameters of each criterion at iteration {self.scores[-1].iteration}"
        return html_table("ValidationScores", ["dataset", *self.criteria], rows, note)

    @property
    def criteria(self) -> list[str]:
        """Names of the criteria, in the order of the innermost scores."""
        return list(self.evaluation_scores.criteria)

    @property
    def parameter_names(self) -> list[str]:
        """Names of the fields of the post-processing parameters."""
        return self.parameters[0].parameter_names if self.parameters else []

    def to_xarray(self) -> xr.DataArray:
        """Return all scores with the dimensions ``iterations, datasets, parameters, criteria``.

        Datasets and parameters are labeled with the objects themselves.
        """
        import xarray as xr

        shape = (len(self.scores), len(self.datasets), len(self.parameters), len(self.criteria))
        values = np.array([scores.scores for scores in self.scores], dtype=np.float64).reshape(shape)
        return xr.DataArray(
            values,
            dims=["iterations", "datasets", "parameters", "criteria"],
            coords={
                "iterations": np.array([scores.iteration for scores in self.scores], dtype=np.int64),
                "datasets": _object_array(self.datasets),
                "parameters": _object_array(self.parameters),
                "criteria": self.criteria,
            },
        )

    def get_best(self, data: xr.DataArray, dim: str) -> tuple[xr.DataArray, xr.DataArray]:
        """Find the best score along a dimension, each criterion in its own direction.

        Args:
            data: Scores as returned by :meth:`to_xarray`, or a part of them; ``criteria`` may be a dimension or one
                selected criterion.
            dim: The dimension to search.

        Returns:
            The labels along ``dim`` of the best scores, and the best scores. NaN never wins and the first of equal
            scores does; where all are NaN the score is NaN and the label is NaN (None for labels that are objects).

        Raises:
            ValueError: If ``data`` does not name its criteria, or has no dimension ``dim``.
        """
        self._check_best_arguments(data, dim)
        names = np.atleast_1d(data.coords["criteria"].values)
        higher = np.array([self.evaluation_scores.higher_is_better(str(name)) for name in names])
        criteria_last = data.transpose(*[d for d in data.dims if d not in (dim, "criteria")], ..., dim)
        if "criteria" in data.dims:
            criteria_last = criteria_last.transpose(..., "criteria", dim)
        else:
            higher = higher[0]
        index, found = first_best(criteria_last.values, higher)
        best = criteria_last.isel({dim: 0}, drop=True) if data.sizes[dim] else criteria_last.sum(dim)
        labels = _pick_labels(data.coords[dim].values, index, found)
        scores = np.full(index.shape, np.nan)
        if data.sizes[dim]:
            chosen = np.take_along_axis(criteria_last.values, index[..., np.newaxis], axis=-1)[..., 0]
            scores = np.where(found, chosen, np.nan)
        order = [d for d in data.dims if d != dim]
        return best.copy(data=labels).transpose(*order), best.copy(data=scores).transpose(*order)

    def plot(self, criterion: str | None = None) -> Figure:
        """Draw the score of each validated iteration with its best parameters, a line for each dataset.

        Rings mark the best ones.

        Args:
            criterion: The criterion, by default the one that decides.

        Raises:
            MissingDependencyError: If matplotlib is not installed.
            NotFoundError: If there is no such criterion; the message lists those that exist.
        """
        with style():
            figure = new_figure(6, 3.6)
            self.draw(figure.subplots(), criterion)
            return figure

    def draw(self, axes: Axes, criterion: str | None = None) -> None:
        """Draw what :meth:`plot` draws into a panel of matplotlib."""
        criterion = self.evaluation_scores.default_criterion if criterion is None else criterion
        if criterion not in self.criteria:
            known = ", ".join(self.criteria) or "none at all"
            raise NotFoundError(f"there is no criterion {criterion!r}, only {known}")
        iterations = np.array([scores.iteration for scores in self.scores])
        if len(iterations) and self.datasets:
            _, best = self.get_best(self.to_xarray().sel(criteria=criterion), "parameters")
            for number, dataset in enumerate(self.datasets):
                draw_course(axes, iterations, best.isel(datasets=number).values, dataset.name, number)
            places, _ = self.get_best(best.assign_coords(criteria=criterion), "iterations")
            for number, place in enumerate(places.values):
                if not np.isnan(place):
                    value = float(best.isel(datasets=number).sel(iterations=place))
                    axes.plot(place, value, "o", markersize=11, markerfacecolor="none", color=INK)
            name_courses(axes, len(self.datasets))
        else:
            say(axes, "not validated yet" if self.datasets else "no validation datasets")
        better = "higher" if self.evaluation_scores.higher_is_better(criterion) else "lower"
        label = f"{criterion} ({better} is better)"
        axes.set(title="Best parameters of each validation", xlabel="iteration", ylabel=label, xlim=(0, None))

    def _position(self, iteration: int) -> int:
        return bisect_left(self.scores, iteration, key=lambda scores: scores.iteration)

    def _check_shape(self, iteration_scores: ValidationIterationScores) -> None:
        expected = (len(self.datasets), len(self.parameters), len(self.criteria))
        rows = iteration_scores.scores
        fits = len(rows) == expected[0] and all(
            len(row) == expected[1] and all(len(values) == expected[2] for values in row) for row in rows
        )
        if not fits:
            raise RecordError(
                f"the scores of iteration {iteration_scores.iteration} do not have one number for each of "
                f"{expected[0]} datasets, {expected[1]} parameters and {expected[2]} criteria; with other validation "
                "datasets or another task, start a run of another name"
            )

    def _check_best_arguments(self, data: xr.DataArray, dim: str) -> None:
        if "criteria" not in data.coords:
            raise ValueError(
                f"the scores have the dimensions {data.dims} and no 'criteria', so the better direction is unknown; "
                "select a criterion with data.sel(criteria=...), which keeps its name"
            )
        if dim not in data.dims or dim == "criteria":
            raise ValueError(f"cannot search along {dim!r}; the scores have the dimensions {data.dims}")


def _pick_labels(labels: np.ndarray, index: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the label at each index, or a filler where no best score was found."""
    numbers = np.issubdtype(labels.dtype, np.number)
    if not labels.size:
        return np.full(index.shape, np.nan) if numbers else np.full(index.shape, None, dtype=object)
    picked = labels[index]
    if found.all():
        return np.asarray(picked)
    if numbers:
        return np.where(found, picked, np.nan)
    picked = np.asarray(picked, dtype=object)
    picked[~found] = None
    return picked
