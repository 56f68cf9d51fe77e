"""A post-processor for trying out the package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.experiments.tasks.post_processors.post_processor import PostProcessorParameters
from dacapo.experiments.tasks.post_processors.stored_prediction import DEFAULT_BLOCK_SIZE, StoredPredictionPostProcessor
from dacapo.utils.quantize import comparable

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier


@attrs.frozen
class DummyPostProcessorParameters(PostProcessorParameters):
    """Parameters of :class:`DummyPostProcessor`.

    Attributes:
        min_size: Detections with fewer voxels are dropped.
    """

    min_size: int = attrs.field()


class DummyPostProcessor(StoredPredictionPostProcessor):
    """Label the connected parts of the first channel that reach a threshold."""

    def __init__(self, detection_threshold: float):
        """Set the least value of a detection."""
        self.detection_threshold = detection_threshold

    def enumerate_parameters(self) -> Iterable[DummyPostProcessorParameters]:
        return [DummyPostProcessorParameters(id=i, min_size=i + 1) for i in range(10)]

    def process(
        self,
        parameters: DummyPostProcessorParameters,
        output_array_identifier: LocalArrayIdentifier,
        *args: Any,
        **kwargs: Any,
    ) -> Array:
        """Write the detections as uint64 and return their array; further arguments are ignored."""
        from scipy.ndimage import label

        values = read_channels_first(self.prediction_array)[0]
        labels, _ = label(comparable(values) >= self.detection_threshold)
        labels[np.bincount(labels.ravel())[labels] < parameters.min_size] = 0
        output = self.create_labels(output_array_identifier, DEFAULT_BLOCK_SIZE)
        output[output.roi] = labels.astype(np.uint64)
        return output
