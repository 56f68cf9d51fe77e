"""The interface of post-processors and their parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from funlib.geometry import Coordinate

from dacapo.compute_context import Execution
from dacapo.errors import UnknownTypeError
from dacapo.experiments.config import load_plugins
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.store.converter import TYPE_KEY, add_hierarchy, converter
from dacapo.utils.capabilities import can, declares

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier


RESUMES = "takes overwrite and resume"
LIMITS_MEMORY = "takes max_memory"


@attrs.frozen
class PostProcessorParameters:
    """Base of the parameters of a post-processor.

    ``str(parameters)`` becomes part of the names of output arrays and of the keys of scores.

    Attributes:
        id: Tells the parameter sets of one post-processor apart.
    """

    id: int = attrs.field()

    @property
    def parameter_names(self) -> list[str]:
        """Names of all fields, ``id`` first."""
        return [field.name for field in attrs.fields(type(self))]


def _is_parameters(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, PostProcessorParameters)


def _kinds(base: type[PostProcessorParameters]) -> dict[str, type[PostProcessorParameters]]:
    """Return a class and all that derive from it, by name."""
    kinds = {base.__name__: base}
    for cls in base.__subclasses__():
        kinds |= _kinds(cls)
    return kinds


def parameters_class(
    name: str | None, base: type[PostProcessorParameters], fields: Collection[str]
) -> type[PostProcessorParameters]:
    """Find a class of parameters by its name, or without one by its fields.

    Args:
        name: Name of the class, as written under ``__type__``.
        base: The class it must be, or derive from.
        fields: Names of the fields that are given.

    Raises:
        UnknownTypeError: If there is none of that name below ``base``, or without a name several have these fields.
    """
    load_plugins()
    kinds = _kinds(base)
    if name is not None:
        if name not in kinds:
            raise UnknownTypeError(f"unknown {base.__name__} type {name!r}; known are {', '.join(sorted(kinds))}")
        return kinds[name]
    if set(fields) <= {field.name for field in attrs.fields(base)}:
        return base
    fitting = [cls for cls in kinds.values() if set(fields) <= {field.name for field in attrs.fields(cls)}]
    if len(fitting) > 1:
        names = " and ".join(sorted(cls.__name__ for cls in fitting))
        raise UnknownTypeError(f"the fields {', '.join(fields)} are those of {names}; name one under {TYPE_KEY!r}")
    return fitting[0] if fitting else base  # which will not take them, and say so


add_hierarchy(converter, _is_parameters, parameters_class)


class PostProcessor(ABC):
    """Turn the prediction of a network into the segmentation that is asked for.

    The operations call :meth:`process_within` and :meth:`process_all_within`, which pass on to :meth:`process` and
    :meth:`process_all` what these declare that they take.
    """

    @abstractmethod
    def enumerate_parameters(self) -> Iterable[PostProcessorParameters]:
        """Return the parameters that a validation tries."""
        raise NotImplementedError

    @abstractmethod
    def set_prediction(self, prediction_array_identifier: LocalArrayIdentifier) -> None:
        """Take the prediction that the next calls of :meth:`process` read."""
        raise NotImplementedError

    @abstractmethod
    def process(
        self,
        parameters: Any,
        output_array_identifier: LocalArrayIdentifier,
        num_workers: int = 16,
        chunk_size: Coordinate = Coordinate((64, 64, 64)),  # noqa: B008 - immutable
    ) -> Array:
        """Post-process the prediction and return the array that holds the result.

        A method that is decorated with ``@declares(RESUMES)`` also takes the keywords ``overwrite`` and ``resume`` of
        :func:`dacapo.blockwise.scheduling.run_operation.run_operation`, None by default for ``resume``, and goes on
        where it was interrupted. One that is decorated with ``@declares(LIMITS_MEMORY)`` also takes ``max_memory``, the
        bytes that all processes together may take, None by default; it works in smaller blocks then, or with fewer
        workers. See :func:`dacapo.utils.capabilities.declares`.

        Args:
            parameters: One of those that :meth:`enumerate_parameters` returns.
            output_array_identifier: Where to write the result; what is there is replaced.
            num_workers: How many blocks may be in work at once.
            chunk_size: Shape of a block in voxels; of a 3D shape the last axes are used in 2D.
        """
        raise NotImplementedError

    @declares(LIMITS_MEMORY)
    def process_all(
        self,
        parameters: Sequence[Any],
        output_array_identifiers: Sequence[LocalArrayIdentifier],
        num_workers: int = 16,
        max_memory: int | None = None,
    ) -> Iterator[tuple[int, Array]]:
        """Post-process the prediction with several parameters, as :meth:`process` would do with each.

        A subclass overrides this where some of the work is the same for all.

        Args:
            parameters: Some of those that :meth:`enumerate_parameters` returns.
            output_array_identifiers: Where to write the result of each.
            num_workers: How many blocks may be in work at once.
            max_memory: Bytes that all processes together may take; None for what is usual.

        Returns:
            The index of parameters and the array that holds their result, one after the other and in any order. Work is
            done as they are asked for.
        """
        for index, (one, output) in enumerate(zip(parameters, output_array_identifiers, strict=True)):
            yield index, self.process_within(one, output, Execution(num_workers, max_memory))

    def process_within(
        self, parameters: Any, output_array_identifier: LocalArrayIdentifier, execution: Execution
    ) -> Array:
        """Call :meth:`process` with as much of an execution as it takes."""
        how: dict[str, Any] = {"num_workers": execution.workers}
        if can(self.process, RESUMES):
            how |= {"overwrite": execution.overwrite, "resume": execution.resume}
        if can(self.process, LIMITS_MEMORY):
            how |= {"max_memory": execution.max_memory}
        return self.process(parameters, output_array_identifier, **how)

    def process_all_within(
        self,
        parameters: Sequence[Any],
        output_array_identifiers: Sequence[LocalArrayIdentifier],
        execution: Execution,
    ) -> Iterator[tuple[int, Array]]:
        """Call :meth:`process_all` with as much of an execution as it takes."""
        how: dict[str, Any] = {"num_workers": execution.workers}
        if can(self.process_all, LIMITS_MEMORY):
            how |= {"max_memory": execution.max_memory}
        return self.process_all(parameters, output_array_identifiers, **how)
