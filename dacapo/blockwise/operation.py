"""The base class of blockwise operations: a subclass says how to process one block.

An operation is an attrs class whose fields are all that a worker needs. Its one required method reads a block, computes
and writes::

    @attrs.define(kw_only=True, eq=False)
    class Invert(BlockwiseOperation):
        input: LocalArrayIdentifier

        def create_output(self):
            like = open_identifier(self.input)
            create_output(self.output, like, self.region, self.block_shape, None, "uint8", True, {})

        def open(self):
            self.source = open_identifier(self.input)
            self.target = ZarrArray.open_from_array_identifier(self.output)

        def process(self, block):
            self.target[block.write_roi] = 255 - self.source[block.write_roi]

    run_operation(Invert(input=..., output=..., region=..., block_shape=...), num_workers=8)

:func:`~dacapo.blockwise.scheduling.run_operation.run_operation` does the rest: workers, retries, and the journal. This
module is also the worker module of operations, see :func:`open_worker`.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import attrs
import cattrs
import daisy.v2 as daisy
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.journal.identity import CLASS_KEY, array_identity, class_name
from dacapo.blockwise.worker.user_modules import ProcessBlock, load_module
from dacapo.compute_context import Step
from dacapo.errors import ConfigError
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import converter
from dacapo.utils.blocks import BlockGrid

WORKER = "dacapo.blockwise.operation"


def _no_context(operation: BlockwiseOperation) -> Coordinate:
    return Coordinate((0,) * operation.region.dims)


@attrs.define(slots=False, kw_only=True, eq=False)
class BlockwiseOperation(ABC):
    """Processes each block of a region; all regions and extents are in world units.

    Workers get the operation through its fields, which need type annotations and values that JSON can hold: numbers,
    strings, lists, dicts, configs, paths, coordinates, regions or array identifiers. Attributes that :meth:`open` sets
    are no fields.

    Attributes:
        output: The array to write. An operation without an array names one for the place of its journal, which lies
            beside it (see :mod:`dacapo.blockwise.journal`).
        region: The region that all blocks write together.
        block_shape: The shape that a block writes. Blocks begin at the lower corner of the region; the last ones are
            smaller. No two blocks may write to the same chunk: the output's chunks must divide blocks.
        before: The context of a block towards lower coordinates: how far it reads beyond the region that it writes,
            which may be beyond the data.
        after: The context towards higher coordinates.
    """

    read_write_conflict: ClassVar[bool] = False
    """Whether blocks read what others write, so that two such blocks never run at the same time."""
    fixed_blocks: ClassVar[bool] = False
    """Whether the result depends on the blocks. If not, resumed work keeps the blocks of the earlier call."""

    output: LocalArrayIdentifier
    region: Roi
    block_shape: Coordinate
    before: Coordinate = attrs.field(default=attrs.Factory(_no_context, takes_self=True))
    after: Coordinate = attrs.field(default=attrs.Factory(_no_context, takes_self=True))

    @abstractmethod
    def process(self, block: daisy.Block) -> None:
        """Read ``block.read_roi``, compute, write ``block.write_roi``.

        A block may be repeated, after a failure for example, and must give the same result.
        """
        raise NotImplementedError

    def open(self) -> None:  # noqa: B027  # not every operation needs it
        """Prepare for blocks, once in each worker: open arrays, load a network."""

    def create_output(self) -> None:  # noqa: B027
        """Create the output, once before all blocks; an existing one may be replaced."""

    @property
    def name(self) -> str:
        """Name for logs and progress bars."""
        return type(self).__name__.lower()

    @property
    def step(self) -> Step:
        """Step of the compute context, which gives its workers their resources."""
        return Step.BLOCKWISE

    @property
    def needs_process(self) -> bool:
        """Whether even a single worker is a process of its own."""
        return False

    @property
    def grid(self) -> BlockGrid:
        """The blocks."""
        return BlockGrid(self.region, self.block_shape)

    def block_index(self, write_roi: Roi) -> int:
        """Return the number of the block that writes a region, in the order of the grid."""
        return self.grid.index(write_roi)

    def most_workers(self) -> int | None:
        """Return how many worker processes are worth their start of about a second; None for any number."""
        return None

    def parameters(self) -> dict[str, Any]:
        """Return everything that defines the result, as JSON can hold it.

        Interrupted work is only resumed with the same parameters. They are the fields, without the blocks unless those
        are fixed, and the identity of each array that a field names.
        """
        fields: dict[str, Any] = {CLASS_KEY: class_name(_class_place(type(self))), **converter.unstructure(self)}
        if not self.fixed_blocks:
            del fields["block_shape"]
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
        """Return the operation with the blocks that :meth:`blocks` described."""
        return attrs.evolve(self, block_shape=Coordinate(blocks["block_shape"]))

    def worker(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return the worker module that does the blocks in a process of its own, with its arguments."""
        return WORKER, [], {"operation": self.as_settings()}

    def as_settings(self) -> dict[str, Any]:
        """Return the operation as JSON can hold it."""
        settings: dict[str, Any] = converter.unstructure(self)
        return {CLASS_KEY: class_path(type(self)), **settings}

    @staticmethod
    def from_settings(settings: Mapping[str, Any]) -> BlockwiseOperation:
        """Return the operation that :meth:`as_settings` described.

        Raises:
            ConfigError: If the settings describe no operation.
        """
        values = dict(settings)
        cls = class_at(values.pop(CLASS_KEY))
        try:
            return converter.structure(values, cls)
        except (TypeError, ValueError, cattrs.BaseValidationError) as error:
            raise ConfigError(f"{cls.__name__} cannot be made from {values}: {error}") from error


def open_worker(operation: dict[str, Any]) -> ProcessBlock:
    """Return the function that does a block, in a worker process.

    Args:
        operation: The operation, from :meth:`BlockwiseOperation.as_settings`.
    """
    opened = BlockwiseOperation.from_settings(operation)
    opened.open()
    return opened.process


def class_path(cls: type) -> str:
    """Return where to find a class, as ``module:name``, or ``file.py:name`` for a class of the script that runs.

    Raises:
        ConfigError: If other processes cannot find it.
    """
    place = _class_place(cls)
    if place.startswith(":") or "<" in cls.__qualname__:
        raise ConfigError(
            f"worker processes cannot find the class {cls.__qualname__}; define it at the top of a module or a file, "
            "or do the blocks with a single worker, which needs no other process"
        )
    return place


def _class_place(cls: type) -> str:
    """Return where a class is defined, without a module for one of a notebook or a session."""
    module = cls.__module__
    if module == "__main__":
        main = sys.modules[module]
        file = getattr(main, "__file__", None)
        # "python -m package.module" has an import path, which relative imports need.
        name = None if main.__spec__ is None else main.__spec__.name
        module = name or ("" if file is None else str(Path(file).resolve()))
    return f"{module}:{cls.__qualname__}"


def class_at(path: str) -> type[BlockwiseOperation]:
    """Return the class that :func:`class_path` described.

    Raises:
        ConfigError: If it is missing, or no operation.
    """
    source, _, name = path.rpartition(":")
    cls: Any = load_module(source) if source.endswith(".py") else importlib.import_module(source)
    for part in name.split("."):
        cls = getattr(cls, part, None)
    if not isinstance(cls, type) or not issubclass(cls, BlockwiseOperation):
        raise ConfigError(f"{path} is no blockwise operation")
    return cls
