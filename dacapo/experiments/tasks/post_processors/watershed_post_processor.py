"""Instances from affinities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate

from dacapo.errors import ChannelMismatchError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.tasks.post_processors.post_processor import PostProcessorParameters
from dacapo.experiments.tasks.post_processors.stored_prediction import DEFAULT_BLOCK_SIZE, StoredPredictionPostProcessor
from dacapo.utils.progress import progress
from dacapo.utils.quantize import dequantize
from dacapo.utils.segmentation import mutex_watershed

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

DEFAULT_BIASES = (0.1, 0.25, 0.5, 0.75, 0.9)


@attrs.frozen
class WatershedPostProcessorParameters(PostProcessorParameters):
    """Parameters of :class:`WatershedPostProcessor`.

    Attributes:
        bias: The affinity, from 0 to 1, that separates "different" from "same".
        context: How far, in voxels, blocks look beyond their border. The volume is segmented as a whole, so this
            changes nothing.
        min_size: Segments with fewer voxels are absorbed by those they touch, or else removed.
        long_range_bias: Bias of the offsets that are not to a direct neighbor, ``bias`` by default.
    """

    bias: float = attrs.field(default=0.5)
    context: Coordinate = attrs.field(default=Coordinate((32, 32, 32)))
    min_size: int = attrs.field(default=0)
    long_range_bias: float | None = attrs.field(default=None)

    def __repr__(self) -> str:
        # Names of arrays hold this string; fields at their default stay out of it where the older package had none.
        values = attrs.asdict(self, recurse=False)
        if self.min_size == 0:
            del values["min_size"]
        if self.long_range_bias is None:
            del values["long_range_bias"]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"


class WatershedPostProcessor(StoredPredictionPostProcessor):
    """Segment affinities with the mutex watershed.

    The first channels of the prediction are the affinities, one per offset; others behind them, such as local shape
    descriptors, are ignored.
    """

    def __init__(
        self,
        offsets: Sequence[Sequence[int]],
        parameters: Sequence[WatershedPostProcessorParameters] | None = None,
    ):
        """Make one for the given offsets.

        Args:
            offsets: For each affinity the step, in voxels, to the other voxel of the pair.
            parameters: What a validation tries, by default five biases.
        """
        self.offsets = [Coordinate(offset) for offset in offsets]
        self.parameters = list(parameters) if parameters is not None else None

    def enumerate_parameters(self) -> Iterable[WatershedPostProcessorParameters]:
        """Return the parameters that a validation tries."""
        if self.parameters is not None:
            return list(self.parameters)
        return [WatershedPostProcessorParameters(id=i, bias=bias) for i, bias in enumerate(DEFAULT_BIASES)]

    def set_prediction(self, prediction_array_identifier: LocalArrayIdentifier) -> None:
        """Open the prediction that the next calls of :meth:`process` read.

        Raises:
            ArrayNotFoundError: If there is none.
            ChannelMismatchError: If it has fewer channels than there are offsets.
        """
        super().set_prediction(prediction_array_identifier)
        channels = self.prediction_array.num_channels or 1
        if channels < len(self.offsets):
            raise ChannelMismatchError(
                f"the prediction has {channels} channels but there are {len(self.offsets)} offsets, which need one "
                "affinity each; predict with the task whose offsets these are"
            )

    def process(
        self,
        parameters: WatershedPostProcessorParameters,
        output_array_identifier: LocalArrayIdentifier,
        num_workers: int = 16,
        block_size: Coordinate = DEFAULT_BLOCK_SIZE,
    ) -> Array:
        """Write the labels of the segments as uint64, from 1 on without a gap, 0 where there is background.

        The volume is segmented as a whole by one core, and memory grows with it.

        Args:
            parameters: Hold the biases and the smallest size.
            output_array_identifier: Where to write; what is there is replaced.
            num_workers: Not used.
            block_size: Shape of the chunks of the output in voxels, adapted to the volume.

        Raises:
            ConfigError: If no prediction was set, or the offsets have another number of axes than it.
        """
        with progress(total=1, desc="mutex watershed", unit="volume") as bar:
            labels = mutex_watershed(
                read_affinities(self.prediction_array, len(self.offsets)),
                self.offsets,
                parameters.bias,
                long_range_bias=parameters.long_range_bias,
                min_size=parameters.min_size,
            )
            output, _ = self.create_output(output_array_identifier, np.uint64, False, block_size)
            output[output.roi] = labels
            bar.update()
        return output


def read_affinities(prediction: Array, count: int) -> npt.NDArray[Any]:
    """Return the first channels of a prediction as affinities from 0 to 1, the channel axis first.

    Unsigned integers are scaled back to the attribute ``value_range`` of the prediction, which is 0 to 1 where it is
    missing.

    Raises:
        DtypeError: If the prediction is stored as anything but unsigned integers or floating point numbers.
    """
    values = prediction[prediction.roi]
    axis = prediction.channel_axis
    values = values[np.newaxis] if axis is None else np.moveaxis(values, axis, 0)
    return dequantize(values[:count], prediction.attrs.get("value_range", (0.0, 1.0)))
