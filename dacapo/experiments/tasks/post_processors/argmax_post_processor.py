"""Classes from predictions of one channel each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs
import numpy as np
from funlib.geometry import Coordinate

from dacapo.compute_context import Execution
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.tasks.post_processors.post_processor import TAKES_EXECUTION, PostProcessorParameters
from dacapo.experiments.tasks.post_processors.stored_prediction import (
    DEFAULT_BLOCK_SIZE,
    StoredPredictionPostProcessor,
)
from dacapo.utils.capabilities import declares

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier


@attrs.frozen
class ArgmaxPostProcessorParameters(PostProcessorParameters):
    """Parameters of :class:`ArgmaxPostProcessor`, which has nothing to choose."""


class ArgmaxPostProcessor(StoredPredictionPostProcessor):
    """Give each voxel the index of its largest channel, the first one of equals.

    A prediction without channel axis has one channel, so that the index is 0 everywhere.
    """

    def enumerate_parameters(self) -> Iterable[ArgmaxPostProcessorParameters]:
        return [ArgmaxPostProcessorParameters(id=1)]

    @declares(TAKES_EXECUTION)
    def process(
        self,
        parameters: ArgmaxPostProcessorParameters,
        output_array_identifier: LocalArrayIdentifier,
        num_workers: int | None = None,
        block_size: Coordinate = DEFAULT_BLOCK_SIZE,
        *,
        execution: Execution | None = None,
    ) -> Array:
        """Write the index of the largest channel, without channel axis, in the smallest type that holds all indices."""
        from dacapo.blockwise.voxelwise import Argmax, over_all_of

        prediction = self.prediction_array
        operation = Argmax(
            input=self.prediction_array_identifier,
            output=output_array_identifier,
            axis=prediction.channel_axis,
            dtype=np.min_scalar_type((prediction.num_channels or 1) - 1).name,
            **over_all_of(prediction, block_size),
        )
        return self.run(operation, execution or Execution(num_workers))
