"""The base of post-processors that read a stored prediction."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate

from dacapo.compute_context import Execution
from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.tasks.post_processors.post_processor import PostProcessor
from dacapo.utils.blocks import fit_block_shape, smaller_block
from dacapo.utils.memory_estimates import voxelwise_bytes

if TYPE_CHECKING:
    from dacapo.blockwise.journal import Journal
    from dacapo.blockwise.operation import BlockwiseOperation
    from dacapo.store.array_store import LocalArrayIdentifier

T = TypeVar("T")

DEFAULT_BLOCK_SIZE = Coordinate((256, 256, 256))


class StoredPredictionPostProcessor(PostProcessor):
    """Base of post-processors that read a prediction from disk."""

    _identifier: LocalArrayIdentifier | None = None
    _prediction_array: Array | None = None

    def set_prediction(self, prediction_array_identifier: LocalArrayIdentifier) -> None:
        self._identifier = prediction_array_identifier
        self._prediction_array = ZarrArray.open_from_array_identifier(prediction_array_identifier, mode="r")

    @property
    def prediction_array(self) -> Array:
        """The prediction.

        Raises:
            ConfigError: If :meth:`set_prediction` has not been called.
        """
        return self._opened(self._prediction_array)

    @property
    def prediction_array_identifier(self) -> LocalArrayIdentifier:
        """Where the prediction is.

        Raises:
            ConfigError: If :meth:`set_prediction` has not been called.
        """
        return self._opened(self._identifier)

    def _opened(self, value: T | None) -> T:
        if value is None:
            raise ConfigError(f"this {type(self).__name__} has no prediction; call set_prediction first")
        return value

    def run(self, operation: BlockwiseOperation, execution: Execution) -> ZarrArray:
        """Do an operation block by block and return its output.

        Args:
            operation: The operation.
            execution: How to do it.

        Raises:
            ConfigError: If the number of workers is out of range.
            BlockwiseError: If blocks failed.
        """
        from dacapo.blockwise.scheduling.run_operation import execute

        prediction = self.prediction_array
        each = voxelwise_bytes(1, prediction.num_channels or 1, prediction.dtype.itemsize)
        most = execution.memory_for(operation.step).largest_block
        block = operation.block_shape / prediction.voxel_size
        if most is not None:  # the result does not depend on the blocks
            block = smaller_block(block, block * 0, most / each)
        operation = attrs.evolve(operation, block_shape=block * prediction.voxel_size)
        execute(operation, execution.for_blocks(each * math.prod(block), operation.step))
        return ZarrArray.open_from_array_identifier(operation.output)

    def once(
        self,
        output: LocalArrayIdentifier,
        what: Mapping[str, Any],
        execution: Execution,
        write: Callable[[Journal | None], object],
    ) -> ZarrArray:
        """Write a result that is computed at once, unless an execution keeps journals and earlier work wrote the same.

        Args:
            output: Where to write it.
            what: All that defines it, except the prediction.
            execution: Whether to keep earlier work.
            write: Writes it, and creates the array with the journal that it gets, if any.

        Raises:
            DacapoError: If the output exists and must be kept.
        """
        if execution.resume is None:
            write(None)
            return ZarrArray.open_from_array_identifier(output)

        from dacapo.blockwise.journal import open_journal

        everything = self.with_prediction(what)
        with open_journal(output, everything, {}, overwrite=execution.overwrite, resume=execution.resume) as journal:
            if not journal.is_complete:
                write(journal)
                journal.complete()
        return ZarrArray.open_from_array_identifier(output)

    def with_prediction(self, what: Mapping[str, Any]) -> dict[str, Any]:
        """Return what defines a result, and the identity of the prediction, for a journal."""
        from dacapo.blockwise.journal.identity import array_identity

        return {**what, "inputs": {"input": array_identity(self.prediction_array_identifier)}}

    def write_labels(
        self,
        identifier: LocalArrayIdentifier,
        labels: npt.NDArray[np.uint64],
        block_size: Sequence[int],
        journal: Journal | None,
    ) -> ZarrArray:
        """Write the labels of the whole prediction to a new array, see :meth:`create_labels`."""
        create = functools.partial(self.create_labels, identifier, block_size)
        if journal is None:
            create()
        else:
            journal.create(create)
        output = ZarrArray.open_from_array_identifier(identifier)
        output[output.roi] = labels
        return output

    def create_labels(self, identifier: LocalArrayIdentifier, block_size: Sequence[int]) -> ZarrArray:
        """Create an array of uint64 over the region of the prediction; it replaces an existing one.

        Args:
            identifier: Where to create it.
            block_size: Shape in voxels of a block to write, adapted to the volume; blocks never share a chunk.
        """
        from dacapo.blockwise.outputs import ORIGIN

        prediction = self.prediction_array
        block_shape = fit_block_shape(block_size, prediction.roi.shape / prediction.voxel_size)
        return ZarrArray.create_from_array_identifier(
            identifier,
            [axis for axis in prediction.axes if axis != "c"],
            prediction.roi,
            None,
            prediction.voxel_size,
            np.uint64,
            write_size=block_shape * prediction.voxel_size,
            overwrite=True,
            world=prediction.world,
            attributes={ORIGIN: {"operation": type(self).__name__}},
        )
