"""The interface of post-processors and their parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from typing import TYPE_CHECKING, Any

import attrs
from funlib.geometry import Coordinate

from dacapo.compute_context import Execution
from dacapo.errors import UnknownTypeError
from dacapo.experiments.config import load_plugins
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.store.converter import TYPE_KEY, add_hierarchy, converter
from dacapo.utils.capabilities import can, declares
from dacapo.utils.plain_repr import plain_repr

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier


TAKES_EXECUTION = "takes an execution"
"""Declared by methods of post-processors that take an ``execution`` in place of ``num_workers``."""


@attrs.frozen
class PostProcessorParameters:
    """Base of the parameters of a post-processor.

    ``str(parameters)`` becomes part of the names of output arrays and of the keys of scores.

    Attributes:
        id: Distinguishes the parameter sets of a post-processor.
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


def _fits(cls: type[PostProcessorParameters], names: Set[str]) -> bool:
    """Return whether a class has these fields, and needs no others."""
    of_class = attrs.fields(cls)
    needed = {field.name for field in of_class if field.default is attrs.NOTHING}
    return needed <= names <= {field.name for field in of_class}


def parameters_class(
    name: str | None, base: type[PostProcessorParameters], fields: Collection[str]
) -> type[PostProcessorParameters]:
    """Find a class of parameters by its name, or without one by its fields.

    Args:
        name: Name of the class, as written under ``__type__``.
        base: The class it must be, or derive from.
        fields: Names of the fields that are given.

    Raises:
        UnknownTypeError: If no class below ``base`` has that name or, without a name, several have these fields.
    """
    load_plugins()
    kinds = _kinds(base)
    if name is not None:
        if name not in kinds:
            raise UnknownTypeError(f"unknown {base.__name__} type {name!r}; known are {', '.join(sorted(kinds))}")
        return kinds[name]
    if set(fields) <= {field.name for field in attrs.fields(base)}:
        return base
    fitting = [cls for cls in kinds.values() if _fits(cls, set(fields))]
    if len(fitting) > 1:
        names = " and ".join(sorted(cls.__name__ for cls in fitting))
        raise UnknownTypeError(f"the fields {', '.join(fields)} are those of {names}; name one under {TYPE_KEY!r}")
    return fitting[0] if fitting else base  # which refuses the fields by name


add_hierarchy(converter, _is_parameters, parameters_class)


class PostProcessor(ABC):
    """Turn the prediction of a network into a segmentation.

    The operations call :meth:`process_within` and :meth:`process_all_within`, which pass the whole
    :class:`~dacapo.compute_context.Execution` to a :meth:`process` or :meth:`process_all` that declares to take it, and
    only its number of workers otherwise.
    """

    def __repr__(self) -> str:
        return plain_repr(self)

    @abstractmethod
    def enumerate_parameters(self) -> Iterable[PostProcessorParameters]:
        """Return the parameters to try in validation."""
        raise NotImplementedError

    @abstractmethod
    def set_prediction(self, prediction_array_identifier: LocalArrayIdentifier) -> None:
        """Open the prediction that the next calls of :meth:`process` read.

        Raises:
            ArrayNotFoundError: If it does not exist.
            ChannelMismatchError: If it has too few channels.
        """
        raise NotImplementedError

    @abstractmethod
    def process(
        self,
        parameters: Any,
        output_array_identifier: LocalArrayIdentifier,
        num_workers: int | None = None,
        chunk_size: Coordinate = Coordinate((64, 64, 64)),  # noqa: B008 - immutable
    ) -> Array:
        """Post-process the prediction and return the array that holds the result.

        A method that is decorated with ``@declares(TAKES_EXECUTION)`` also has the keyword ``execution``, None by
        default, which replaces ``num_workers`` and says how much memory to use, and whether to resume earlier work. See
        :func:`dacapo.utils.capabilities.declares`.

        Args:
            parameters: One of those that :meth:`enumerate_parameters` returns.
            output_array_identifier: Where to write the result; what is there is replaced.
            num_workers: Maximum number of worker processes; see :mod:`dacapo.compute_context.worker_count`.
            chunk_size: Shape of a block in voxels, adapted to the volume; of a 3D shape the last axes are used in 2D.
                Implementations call it ``block_size``.

        Raises:
            ConfigError: If no prediction was set, or a parameter does not fit it.
            BlockwiseError: If blocks failed.
        """
        raise NotImplementedError

    @declares(TAKES_EXECUTION)
    def process_all(
        self,
        parameters: Sequence[Any],
        output_array_identifiers: Sequence[LocalArrayIdentifier],
        num_workers: int | None = None,
        *,
        execution: Execution | None = None,
    ) -> Iterator[tuple[int, Array]]:
        """Post-process the prediction with several parameters, as :meth:`process` would do with each.

        A subclass overrides this where some of the work is the same for all.

        Args:
            parameters: Some of those that :meth:`enumerate_parameters` returns.
            output_array_identifiers: Where to write the result of each.
            num_workers: Maximum number of worker processes.
            execution: Replaces ``num_workers``.

        Returns:
            Pairs of an index of parameters and the array that holds their result, in any order. Each is computed when
            it is requested.
        """
        for index, (one, output) in enumerate(zip(parameters, output_array_identifiers, strict=True)):
            yield index, self.process_within(one, output, execution or Execution(num_workers))

    def process_within(
        self, parameters: Any, output_array_identifier: LocalArrayIdentifier, execution: Execution
    ) -> Array:
        """Call :meth:`process` with an execution, or with its number of workers."""
        process: Callable[..., Array] = self.process
        if can(process, TAKES_EXECUTION):
            return process(parameters, output_array_identifier, execution=execution)
        return process(parameters, output_array_identifier, num_workers=execution.workers)

    def process_all_within(
        self,
        parameters: Sequence[Any],
        output_array_identifiers: Sequence[LocalArrayIdentifier],
        execution: Execution,
    ) -> Iterator[tuple[int, Array]]:
        """Call :meth:`process_all` with an execution, or with its number of workers."""
        if can(self.process_all, TAKES_EXECUTION):
            return self.process_all(parameters, output_array_identifiers, execution=execution)
        return self.process_all(parameters, output_array_identifiers, execution.workers)
