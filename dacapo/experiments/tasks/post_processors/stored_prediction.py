"""What the post-processors of stored predictions share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.tasks.post_processors.post_processor import PostProcessor
from dacapo.utils.blocks import count_blocks, fit_block_shape, iterate_blocks
from dacapo.utils.progress import progress

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

DEFAULT_BLOCK_SIZE = Coordinate((256, 256, 256))


class StoredPredictionPostProcessor(PostProcessor):
    """Base of post-processors that read a prediction from disk."""

    prediction_array_identifier: LocalArrayIdentifier | None = None
    _prediction_array: Array | None = None

    def set_prediction(self, prediction_array_identifier: LocalArrayIdentifier) -> None:
        """Open the prediction that the next calls of :meth:`process` read.

        Raises:
            ArrayNotFoundError: If there is none.
        """
        self.prediction_array_identifier = prediction_array_identifier
        self._prediction_array = ZarrArray.open_from_array_identifier(prediction_array_identifier, mode="r")

    @property
    def prediction_array(self) -> Array:
        """The prediction.

        Raises:
            ConfigError: If :meth:`set_prediction` has not been called.
        """
        if self._prediction_array is None:
            raise ConfigError(f"this {type(self).__name__} has no prediction; call set_prediction first")
        return self._prediction_array

    def create_output(
        self, identifier: LocalArrayIdentifier, dtype: npt.DTypeLike, keep_channels: bool, block_size: Sequence[int]
    ) -> tuple[ZarrArray, Coordinate]:
        """Create the output array over the region of the prediction, replacing what is there.

        Args:
            identifier: Where to create it.
            dtype: Type of its values.
            keep_channels: Whether it has the channel axis of the prediction, or none.
            block_size: Shape in voxels of what is written at once; adapted to the volume.

        Returns:
            The array, whose chunks are such that blocks never share one, and the adapted block shape.
        """
        prediction = self.prediction_array
        block_shape = fit_block_shape(block_size, prediction.roi.shape / prediction.voxel_size)
        output = ZarrArray.create_from_array_identifier(
            identifier,
            [axis for axis in prediction.axes if axis != "c" or keep_channels],
            prediction.roi,
            prediction.num_channels if keep_channels else None,
            prediction.voxel_size,
            np.dtype(dtype),
            write_size=block_shape * prediction.voxel_size,
            overwrite=True,
        )
        return output, block_shape


def map_blocks(
    function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    source: Array,
    target: ZarrArray,
    block_shape: Coordinate,
    num_workers: int,
) -> None:
    """Write ``function(source)`` to ``target`` block by block, in threads.

    At most ``num_workers`` blocks are in memory at once.

    Args:
        function: Takes the values of a block with all axes of ``source``, returns those of ``target``. Each voxel of
            the result may only depend on the same voxel.
        source: What to read.
        target: What to write, over the same region.
        block_shape: Shape of a block in voxels.
        num_workers: Number of threads.

    Raises:
        ConfigError: If there is no worker.
    """
    if num_workers < 1:
        raise ConfigError(f"num_workers is {num_workers}; at least 1 is needed")

    def process(roi: Any) -> None:
        target[roi] = function(source[roi])

    # Reading, comparing and writing are done by all cores; more threads would only hold more blocks.
    total = count_blocks(source.roi.shape / source.voxel_size, block_shape)
    with ThreadPoolExecutor(min(num_workers, os.cpu_count() or 1)) as pool:
        done = pool.map(process, iterate_blocks(source.roi, block_shape, source.voxel_size))
        for _ in progress(done, total=total, desc="post-process", unit="block"):
            pass
