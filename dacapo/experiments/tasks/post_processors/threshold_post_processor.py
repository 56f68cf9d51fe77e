"""Binary masks from predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.tasks.post_processors.post_processor import PostProcessorParameters
from dacapo.experiments.tasks.post_processors.stored_prediction import (
    DEFAULT_BLOCK_SIZE,
    StoredPredictionPostProcessor,
    map_blocks,
)

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

DEFAULT_THRESHOLDS = (100, 127, 150)


@attrs.frozen
class ThresholdPostProcessorParameters(PostProcessorParameters):
    """Parameters of :class:`ThresholdPostProcessor`.

    Attributes:
        threshold: Foreground is what is above this, in the numbers that are stored: 0 to 255 for uint8 predictions.
    """

    threshold: float = attrs.field(default=0.0)


class ThresholdPostProcessor(StoredPredictionPostProcessor):
    """Mark the voxels whose prediction is above a threshold, each channel for itself."""

    def __init__(self, parameters: Sequence[ThresholdPostProcessorParameters] | None = None):
        """Make one that tries the given parameters, by default thresholds for uint8 predictions around the middle."""
        self.parameters = list(parameters) if parameters is not None else None

    def enumerate_parameters(self) -> Iterable[ThresholdPostProcessorParameters]:
        """Return the parameters that a validation tries."""
        if self.parameters is not None:
            return list(self.parameters)
        return [ThresholdPostProcessorParameters(id=i, threshold=t) for i, t in enumerate(DEFAULT_THRESHOLDS)]

    def process(
        self,
        parameters: ThresholdPostProcessorParameters,
        output_array_identifier: LocalArrayIdentifier,
        num_workers: int = 16,
        block_size: Coordinate = DEFAULT_BLOCK_SIZE,
    ) -> Array:
        """Write 1 where the prediction is above the threshold and 0 elsewhere, as uint8.

        The result has the axes of the prediction.

        Args:
            parameters: Hold the threshold.
            output_array_identifier: Where to write; what is there is replaced.
            num_workers: How many blocks may be in work at once, in threads.
            block_size: Shape of a block in voxels, adapted to the volume; the result does not depend on it.

        Raises:
            ConfigError: If no prediction was set, or the threshold is outside the values it can have.
        """
        prediction = self.prediction_array
        threshold = parameters.threshold
        _check_threshold(threshold, prediction)
        output, block_shape = self.create_output(output_array_identifier, np.uint8, True, block_size)

        def above(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
            return (values > threshold).astype(np.uint8)

        map_blocks(above, prediction, output, block_shape, num_workers)
        return output


def _check_threshold(threshold: float, prediction: Array) -> None:
    dtype = prediction.dtype
    if np.issubdtype(dtype, np.integer):
        low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    elif "value_range" in prediction.attrs:
        low, high = prediction.attrs["value_range"]
    else:
        return
    if not low <= threshold <= high:
        raise ConfigError(
            f"the threshold is {threshold}, but the prediction is stored as {dtype} with values from {low:g} to "
            f"{high:g}; give a threshold in this range, or predict with another data type"
        )
