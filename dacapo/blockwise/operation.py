"""The base class of what is done block by block: a subclass says what to do with one block.

An operation is an attrs class whose fields are all that a worker has to know. Its one method reads a block, computes
and writes::

    @attrs.define(kw_only=True, eq=False)
    class Invert(BlockwiseOperation):
        input: LocalArrayIdentifier

        def create_output(self):
            like = ZarrArray.open_from_array_identifier(self.input, mode="r")
            create_output(self.output, like, self.region, self.block_shape, None, "uint8", True, {})

        def open(self):
            self.source = ZarrArray.open_from_array_identifier(self.input, mode="r")
            self.target = ZarrArray.open_from_array_identifier(self.output)

        def process(self, block):
            self.target[block.write_roi] = 255 - self.source[block.write_roi]

    run_operation(Invert(input=..., output=..., region=..., block_shape=...), num_workers=8)

:func:`~dacapo.blockwise.running.run_operation` does the rest: workers, retries, and what is done already.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs
import cattrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.identity import array_identity
from dacapo.errors import ConfigError
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import converter

if TYPE_CHECKING:
    import daisy.v2 as daisy

CLASS_KEY = "class"
WORKER = "dacapo.blockwise.operation_worker"


def _no_context(operation: BlockwiseOperation) -> Coordinate:
    return Coordinate((0,) * operation.region.dims)


@attrs.define(slots=False, kw_only=True, eq=False)
class BlockwiseOperation(ABC):
    """What to do with each block of a region; all regions and extents in world units.

    Fields must be values that JSON can hold, configs, paths, coordinates, regions or array identifiers, and have type
    annotations: they are how a worker process gets the operation. What :meth:`open` sets is no field.

    Attributes:
        output: The array to write. An operation without one names it for the place of its record, which lies beside it
            (see :mod:`dacapo.blockwise.record`).
        region: What all blocks write together.
        block_shape: What a block writes. Blocks begin at the lower corner of the region; the last ones are smaller. No
            two blocks may write to the same chunk: the output's chunks must divide blocks.
        before: How far a block reads beyond what it writes, towards lower coordinates. What it reads may reach beyond
            the region, and beyond the data.
        after: The same towards higher coordinates.
    """

    read_write_conflict: ClassVar[bool] = False
    """Whether blocks read what others write, so that such two are never done at the same time."""
    fixed_blocks: ClassVar[bool] = False
    """Whether the blocks belong to what defines the result. Otherwise work that goes on keeps the blocks of before."""

    output: LocalArrayIdentifier
    region: Roi
    block_shape: Coordinate
    before: Coordinate = attrs.field(default=attrs.Factory(_no_context, takes_self=True))
    after: Coordinate = attrs.field(default=attrs.Factory(_no_context, takes_self=True))

    @abstractmethod
    def process(self, block: daisy.Block) -> None:
        """Read ``block.read_roi``, compute, write ``block.write_roi``.

        A block may be done again, after a failure for example, and has to give the same then.
        """
        raise NotImplementedError

    def open(self) -> None:  # noqa: B027  # not all need it
        """Prepare for blocks, once in each worker: open arrays, load a network."""

    def create_output(self) -> None:  # noqa: B027
        """Create what blocks write to, once before all blocks; what is there may be replaced."""

    @property
    def name(self) -> str:
        """Name for logs and progress bars."""
        return type(self).__name__.lower()

    @property
    def needs_process(self) -> bool:
        """Whether its workers are processes even where there is a single one."""
        return False

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(int(-(-extent // step)) for extent, step in zip(self.region.shape, self.block_shape, strict=True))

    def block_index(self, write_roi: Roi) -> int:
        """Return the number of a block in the order of the grid, by what it writes."""
        position = (write_roi.offset - self.region.offset) / self.block_shape
        return int(np.ravel_multi_index(tuple(position), self.grid))

    def most_workers(self) -> int | None:
        """Return how many worker processes are worth starting, which takes about a second; None for any number."""
        return None

    def parameters(self) -> dict[str, Any]:
        """Return all that defines the result, as JSON can hold it.

        Work that was interrupted only goes on where these are the same. They are the fields, apart from the blocks, and
        for each field that identifies an array what tells it from others in the same place.
        """
        fields = self.as_settings()
        for how in () if self.fixed_blocks else ("block_shape",):
            del fields[how]
        inputs = {
            field.name: array_identity(value)
            for field in attrs.fields(type(self))
            if field.name != "output" and isinstance(value := getattr(self, field.name), LocalArrayIdentifier)
        }
        return {**fields, "inputs": inputs} if inputs else fields

    def blocks(self) -> dict[str, Any]:
        """Return how the region is cut into blocks, as JSON can hold it; not part of :meth:`parameters`."""
        return {"block_shape": [int(extent) for extent in self.block_shape]}

    def with_blocks(self, blocks: Mapping[str, Any]) -> Self:
        """Return the same operation with the blocks that :meth:`blocks` described."""
        return attrs.evolve(self, block_shape=Coordinate(blocks["block_shape"]))

    def worker(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return the worker module that does the blocks in a process of its own, and its arguments."""
        return WORKER, [], {"operation": self.as_settings()}

    def as_settings(self) -> dict[str, Any]:
        """Return the operation as JSON can hold it."""
        settings: dict[str, Any] = converter.unstructure(self)
        return {CLASS_KEY: class_path(type(self)), **settings}

    @staticmethod
    def from_settings(settings: Mapping[str, Any]) -> BlockwiseOperation:
        """Return what :meth:`as_settings` described.

        Raises:
            ConfigError: If it does not describe an operation.
        """
        values = dict(settings)
        cls = class_at(values.pop(CLASS_KEY))
        try:
            return converter.structure(values, cls)
        except (TypeError, ValueError, cattrs.BaseValidationError) as error:
            raise ConfigError(f"{cls.__name__} cannot be made from {values}: {error}") from error


def class_path(cls: type) -> str:
    """Return where a class is found, as ``module:name``; as ``file.py:name`` for a class of the script that runs.

    Raises:
        ConfigError: If other processes cannot find it.
    """
    module = cls.__module__
    if module == "__main__":
        main = sys.modules[module]
        file = getattr(main, "__file__", None)
        # With "python -m package.module" it can be imported by that name, as its own imports may need.
        name = None if main.__spec__ is None else main.__spec__.name
        module = name or ("" if file is None else str(Path(file).resolve()))
    if not module or "<" in cls.__qualname__:
        raise ConfigError(
            f"worker processes cannot find the class {cls.__qualname__}; define it at the top of a module or a file"
        )
    return f"{module}:{cls.__qualname__}"


def class_at(path: str) -> type[BlockwiseOperation]:
    """Return the class that :func:`class_path` described.

    Raises:
        ConfigError: If there is none, or it is no operation.
    """
    from dacapo.blockwise.user_modules import load_module

    source, _, name = path.rpartition(":")
    cls: Any = load_module(source) if source.endswith(".py") else importlib.import_module(source)
    for part in name.split("."):
        cls = getattr(cls, part, None)
    if not isinstance(cls, type) or not issubclass(cls, BlockwiseOperation):
        raise ConfigError(f"{path} is no blockwise operation")
    return cls
