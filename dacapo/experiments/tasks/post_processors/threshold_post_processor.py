"""Binary masks from predictions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from funlib.geometry import Coordinate

from dacapo.compute_context import Execution
from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.tasks.post_processors.post_processor import TAKES_EXECUTION, PostProcessorParameters
from dacapo.experiments.tasks.post_processors.stored_prediction import (
    DEFAULT_BLOCK_SIZE,
    StoredPredictionPostProcessor,
)
from dacapo.utils.capabilities import declares
from dacapo.utils.quantize import above_level

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

logger = logging.getLogger(__name__)

DEFAULT_THRESHOLDS = (100, 127, 150)


@attrs.frozen
class ThresholdPostProcessorParameters(PostProcessorParameters):
    """Parameters of :class:`ThresholdPostProcessor`.

    Attributes:
        threshold: Foreground is above this level, from 0 for the lowest possible value of the prediction to 255 for the
            highest. So 127 means a probability of 0.5, or a distance of 0, regardless of the stored type (see
            :mod:`dacapo.utils.quantize`). An array without the attribute ``value_range`` is compared with the number
            itself.
    """

    threshold: int | float = attrs.field(default=0.0)


class ThresholdPostProcessor(StoredPredictionPostProcessor):
    """Mark the voxels whose prediction is above a threshold, in each channel separately."""

    def __init__(self, parameters: Sequence[ThresholdPostProcessorParameters] | None = None):
        """Set the parameters to try in validation, by default three levels around the middle."""
        self.parameters = list(parameters) if parameters is not None else None

    def enumerate_parameters(self) -> Iterable[ThresholdPostProcessorParameters]:
        if self.parameters is not None:
            return list(self.parameters)
        return [ThresholdPostProcessorParameters(id=i, threshold=t) for i, t in enumerate(DEFAULT_THRESHOLDS)]

    @declares(TAKES_EXECUTION)
    def process(
        self,
        parameters: ThresholdPostProcessorParameters,
        output_array_identifier: LocalArrayIdentifier,
        num_workers: int | None = None,
        block_size: Coordinate = DEFAULT_BLOCK_SIZE,
        *,
        execution: Execution | None = None,
    ) -> Array:
        """Write 1 where the prediction is above the threshold and 0 elsewhere, as uint8.

        The result has the axes of the prediction; one of several channels has no channel axis. It does not
        depend on the blocks.
        """
        from dacapo.blockwise.voxelwise import Threshold, over_all_of

        prediction = self.prediction_array
        threshold = stored_threshold(parameters.threshold, prediction)
        operation = Threshold(
            input=self.prediction_array_identifier,
            output=output_array_identifier,
            threshold=threshold,
            # Subclasses may show a part of what is stored.
            num_channels=None if prediction.channel_axis is None else prediction.num_channels,
            **over_all_of(prediction, block_size),
        )
        return self.run(operation, execution or Execution(num_workers))


def stored_threshold(threshold: float, prediction: Array) -> float:
    """Return the number that the stored values of a prediction are compared with; see the parameters.

    Raises:
        ConfigError: If the threshold is outside the values that the prediction can have.
    """
    dtype = prediction.dtype
    if "value_range" in prediction.attrs:
        low, high = (float(v) for v in prediction.attrs["value_range"])
        if 0 < threshold < 1:
            logger.warning(
                "threshold %g is a level from 0 to 255, not a value from %g to %g; almost everything is above it",
                threshold,
                low,
                high,
            )
        return above_level(threshold, (low, high), dtype)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        if not limits.min <= threshold <= limits.max:
            raise ConfigError(
                f"the threshold is {threshold}, but the prediction is stored as {dtype} with values from {limits.min} "
                f"to {limits.max}; give a threshold in this range"
            )
    return threshold
