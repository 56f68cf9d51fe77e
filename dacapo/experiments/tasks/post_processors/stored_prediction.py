"""The base of post-processors that read a stored prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs
import numpy as np
from funlib.geometry import Coordinate

from dacapo.compute_context import Execution
from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.tasks.post_processors.post_processor import PostProcessor
from dacapo.utils.blocks import fit_block_shape, smaller_block
from dacapo.utils.memory_estimates import voxelwise_bytes

if TYPE_CHECKING:
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
        most = execution.block_memory.largest_block
        block = operation.block_shape / prediction.voxel_size
        if most is not None:  # the result does not depend on the blocks
            block = smaller_block(block, block * 0, most / each)
        operation = attrs.evolve(operation, block_shape=block * prediction.voxel_size)
        execute(operation, execution.for_blocks(each * math.prod(block)))
        return ZarrArray.open_from_array_identifier(operation.output)

    def create_labels(self, identifier: LocalArrayIdentifier, block_size: Sequence[int]) -> ZarrArray:
        """Create an array of uint64 over the region of the prediction; it replaces an existing one.

        Args:
            identifier: Where to create it.
            block_size: Shape in voxels of a block to write, adapted to the volume; blocks never share a chunk.
        """
        from dacapo.blockwise.outputs import ORIGIN

        prediction = self.prediction_array
        block_shape = fit_block_shape(block_size, prediction.roi.shape / prediction.voxel_size)
        output = ZarrArray.create_from_array_identifier(
            identifier,
            [axis for axis in prediction.axes if axis != "c"],
            prediction.roi,
            None,
            prediction.voxel_size,
            np.uint64,
            write_size=block_shape * prediction.voxel_size,
            overwrite=True,
            world=prediction.world,
        )
        # Mark it at once, so that it can be replaced after an interruption.
        output.add_metadata({ORIGIN: {"operation": type(self).__name__}})
        return output
