"""A post-processor for trying things out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dacapo.errors import ConfigError
from dacapo.experiments.tasks.post_processors.post_processor import PostProcessor, PostProcessorParameters

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets.arrays import Array
    from dacapo.store.array_store import LocalArrayIdentifier


@attrs.frozen
class DummyPostProcessorParameters(PostProcessorParameters):
    """Parameters of :class:`DummyPostProcessor`.

    Attributes:
        min_size: Detections with fewer voxels are dropped.
    """

    min_size: int = attrs.field()


class DummyPostProcessor(PostProcessor):
    """Label the connected parts of the first channel that reach a threshold."""

    def __init__(self, detection_threshold: float):
        """Make one whose detections are the voxels with at least ``detection_threshold``."""
        self.detection_threshold = detection_threshold
        self.prediction_array_identifier: LocalArrayIdentifier | None = None

    def enumerate_parameters(self) -> Iterable[DummyPostProcessorParameters]:
        """Return ten parameter sets, with minimal sizes of 1 to 10 voxels."""
        return [DummyPostProcessorParameters(id=i, min_size=i + 1) for i in range(10)]

    def set_prediction(self, prediction_array_identifier: LocalArrayIdentifier) -> None:
        """Take the prediction that the next calls of :meth:`process` read."""
        self.prediction_array_identifier = prediction_array_identifier

    def process(
        self,
        parameters: DummyPostProcessorParameters,
        output_array_identifier: LocalArrayIdentifier,
        *args: Any,
        **kwargs: Any,
    ) -> Array:
        """Write the detections and return their array; all arguments behind the first two are ignored."""
        import cc3d

        from dacapo.experiments.datasplits.datasets.arrays import ZarrArray

        if self.prediction_array_identifier is None:
            raise ConfigError("no prediction to process; call set_prediction first")
        prediction = ZarrArray.open_from_array_identifier(self.prediction_array_identifier)
        values = prediction[prediction.roi]
        if "c" in prediction.axes:
            values = np.take(values, 0, axis=prediction.axes.index("c"))
        labels = cc3d.connected_components(np.asarray(values >= self.detection_threshold), connectivity=2 * values.ndim)
        labels = cc3d.dust(labels, threshold=parameters.min_size, connectivity=2 * values.ndim)
        output = ZarrArray.create_from_array_identifier(
            output_array_identifier,
            [axis for axis in prediction.axes if axis != "c"],
            prediction.roi,
            None,
            prediction.voxel_size,
            np.uint64,
            overwrite=True,
        )
        output[output.roi] = labels.astype(np.uint64)
        return output
