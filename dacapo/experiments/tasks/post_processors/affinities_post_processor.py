"""The base of post-processors that segment affinities."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from funlib.geometry import Coordinate

from dacapo.compute_context import Execution
from dacapo.errors import ChannelMismatchError
from dacapo.experiments.tasks.post_processors.stored_prediction import StoredPredictionPostProcessor
from dacapo.utils.wording import in_channels

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier


class AffinitiesPostProcessor(StoredPredictionPostProcessor):
    """Base of post-processors that segment affinities: a small volume at once, a larger one in blocks.

    The first channels of the prediction are the affinities, one per offset.

    Attributes:
        whole_voxels: Size of the largest volume to segment at once. It is smaller if that does not fit into a
            ``max_memory``, or without one into half of the memory that this machine, container or job has.
    """

    whole_voxels: int = 2**25

    def __init__(self, offsets: Sequence[Sequence[int]]) -> None:
        self.offsets = [Coordinate(offset) for offset in offsets]

    def set_prediction(self, prediction_array_identifier: LocalArrayIdentifier) -> None:
        super().set_prediction(prediction_array_identifier)
        channels = self.prediction_array.num_channels or 1
        if channels < len(self.offsets):
            raise ChannelMismatchError(
                f"the prediction has {in_channels(channels)}, but {len(self.offsets)} offsets need one affinity each; "
                "predict with the task that has these offsets"
            )

    @abstractmethod
    def _voxel_bytes(self) -> float:
        """Return the memory in bytes that a voxel takes which is segmented."""
        raise NotImplementedError

    def _plain_offsets(self) -> list[list[int]]:
        return [[int(step) for step in offset] for offset in self.offsets]

    def _takes_blocks(self, execution: Execution) -> bool:
        prediction = self.prediction_array
        voxels: int = math.prod(prediction.roi.shape / prediction.voxel_size)
        return voxels > min(self.whole_voxels, self._most_voxels(execution.memory_here.planned))

    def _most_voxels(self, limit: int | None) -> float:
        """Return the number of voxels whose segmentation at once fits into a limit in bytes, None for no limit."""
        return math.inf if limit is None else limit / self._voxel_bytes()
