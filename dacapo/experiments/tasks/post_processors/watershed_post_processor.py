"""Instances from affinities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ChannelMismatchError, DtypeError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.tasks.post_processors.post_processor import PostProcessorParameters
from dacapo.experiments.tasks.post_processors.stored_prediction import DEFAULT_BLOCK_SIZE, StoredPredictionPostProcessor
from dacapo.utils.progress import progress
from dacapo.utils.segmentation import MutexWatershedParameters, mutex_watersheds

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
        ((_, output),) = self._segment([parameters], [output_array_identifier], block_size)
        return output

    def process_all(
        self,
        parameters: Sequence[WatershedPostProcessorParameters],
        output_array_identifiers: Sequence[LocalArrayIdentifier],
        num_workers: int = 16,
    ) -> Iterator[tuple[int, Array]]:
        """Segment with several parameters, which takes much less time than one call of :meth:`process` for each.

        See :func:`dacapo.utils.segmentation.mutex_watersheds`; results are the same. The prediction is read once, and
        stays in memory until the last result.

        Raises:
            ConfigError: If no prediction was set, or the offsets have another number of axes than it.
        """
        if type(self).process is not WatershedPostProcessor.process:  # a subclass does something else
            return super().process_all(parameters, output_array_identifiers, num_workers)
        return self._segment(parameters, output_array_identifiers, DEFAULT_BLOCK_SIZE)

    def _segment(
        self,
        parameters: Sequence[WatershedPostProcessorParameters],
        outputs: Sequence[LocalArrayIdentifier],
        block_size: Coordinate,
    ) -> Iterator[tuple[int, Array]]:
        affinities, value_range = read_affinities(self.prediction_array, len(self.offsets))
        chosen = [MutexWatershedParameters(one.bias, one.long_range_bias, one.min_size) for one in parameters]
        with progress(total=len(parameters), desc="mutex watershed", unit="volume") as bar:
            for index, labels in mutex_watersheds(affinities, self.offsets, chosen, value_range):
                output, _ = self.create_output(outputs[index], np.uint64, False, block_size)
                output[output.roi] = labels
                bar.update()
                yield index, output


def read_affinities(
    prediction: Array, count: int, roi: Roi | None = None
) -> tuple[npt.NDArray[Any], tuple[float, float] | None]:
    """Return the first channels of a prediction as they are stored, and which affinities they stand for.

    Args:
        prediction: The prediction.
        count: Number of channels.
        roi: What to read in world units, all by default.

    Returns:
        The values, the channel axis first, and what the lowest and the highest unsigned integer stand for: the
        attribute ``value_range`` of the prediction, or 0 and 1 where it is missing. None for floating point numbers.

    Raises:
        DtypeError: If the prediction is stored as anything but unsigned integers or floating point numbers.
    """
    dtype = prediction.dtype
    if dtype.kind not in "uf":
        raise DtypeError(f"affinities are stored as unsigned integers or floating point numbers, not as {dtype}")
    values = prediction[prediction.roi if roi is None else roi]
    axis = prediction.channel_axis
    values = values[np.newaxis] if axis is None else np.moveaxis(values, axis, 0)
    if dtype.kind == "f":
        return values[:count], None
    low, high = prediction.attrs.get("value_range", (0.0, 1.0))
    return values[:count], (float(low), float(high))
