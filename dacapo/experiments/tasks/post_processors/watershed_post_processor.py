"""Instances from affinities."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
from funlib.geometry import Coordinate, Roi

from dacapo.compute_context import Execution
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.tasks.post_processors.affinities_post_processor import AffinitiesPostProcessor
from dacapo.experiments.tasks.post_processors.post_processor import TAKES_EXECUTION, PostProcessorParameters
from dacapo.experiments.tasks.post_processors.stored_prediction import DEFAULT_BLOCK_SIZE
from dacapo.utils.blocks import fit_block_shape, last_axes, smaller_block
from dacapo.utils.capabilities import can, declares
from dacapo.utils.memory_estimates import watershed_voxel_bytes
from dacapo.utils.progress import progress
from dacapo.utils.segmentation import MutexWatershedParameters, check_offsets, mutex_watersheds

if TYPE_CHECKING:
    from dacapo.blockwise.journal import Journal
    from dacapo.store.array_store import LocalArrayIdentifier

logger = logging.getLogger(__name__)

DEFAULT_BIASES = (0.1, 0.25, 0.5, 0.75, 0.9)

TOGETHER = "results of several parameters are those of the mutex watershed of the whole volume"
"""Declared by :meth:`WatershedPostProcessor.process`; an override may compute something else."""

SEGMENT_FUNCTION = "dacapo.blockwise.watershed_function"
MIN_OVERLAP = 0.8
"""Segments of neighboring blocks are joined if they share more than this part of the smaller one.

A wrong pair joins two objects everywhere, a missing one only cuts an object.
``docs/concepts/blockwise.md`` has figures.
"""


@attrs.frozen
class WatershedPostProcessorParameters(PostProcessorParameters):
    """Parameters of :class:`WatershedPostProcessor`.

    Attributes:
        bias: The affinity, from 0 to 1, that separates different objects from the same.
        context: Context of a block in voxels, for a volume that is segmented in blocks; at least 1 along each axis. In
            2D, the last axes of a 3D context are used.
        min_size: Segments with fewer voxels are absorbed by those they touch, or removed.
        long_range_bias: Bias of the offsets that are not to a direct neighbor, ``bias`` by default.
        fill_background: Whether segments grow into the background between them, such as membranes.
    """

    bias: int | float = attrs.field(default=0.5)
    context: Coordinate = attrs.field(default=Coordinate((32, 32, 32)))
    min_size: int = attrs.field(default=0)
    long_range_bias: int | float | None = attrs.field(default=None)
    fill_background: bool = attrs.field(default=False)

    @property
    def mutex_watershed(self) -> MutexWatershedParameters:
        """The parameters of the segmentation of a whole volume."""
        return MutexWatershedParameters(self.bias, self.long_range_bias, self.min_size, self.fill_background)

    def __repr__(self) -> str:
        # Names of arrays hold this string; fields at their default stay out of it where the older package had none.
        values = attrs.asdict(self, recurse=False)
        for name, default in {"min_size": 0, "long_range_bias": None, "fill_background": False}.items():
            if values[name] == default:
                del values[name]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"


class WatershedPostProcessor(AffinitiesPostProcessor):
    """Segment affinities with the mutex watershed.

    The first channels of the prediction are the affinities, one per offset; further ones, such as local shape
    descriptors, are ignored.

    A volume of up to ``whole_voxels`` voxels is segmented at once, by one core. A larger one would take too much memory
    and is segmented in blocks. Segments of neighboring blocks are joined where both blocks find that they share more
    than four fifths of the smaller one, in a layer beyond the face between the blocks that is as thick as the longest
    offset. The result is close to that of the whole volume, and the closer the larger the ``context`` of the parameters
    is, but equal only where each block sees everything: one affinity can change decisions at any distance. It depends
    on blocks and context, not on the number of workers.

    Attributes:
        whole_voxels: Size of the largest volume to segment at once. This takes some 80 bytes of memory per voxel with 6
            offsets stored as ``uint8``, 3 GB for 2^25 voxels, and so does a block with its context in each worker. The
            largest volume, the blocks and the number of workers are smaller if they do not fit into a ``max_memory``,
            or without one into half of the memory that this machine, container or job has.
    """

    def __init__(
        self,
        offsets: Sequence[Sequence[int]],
        parameters: Sequence[WatershedPostProcessorParameters] | None = None,
    ):
        """Set the offsets, and the parameters to try in validation.

        Args:
            offsets: For each affinity the step, in voxels, to the other voxel of the pair.
            parameters: The parameters to try in validation, by default five biases.
        """
        super().__init__(offsets)
        self.parameters = list(parameters) if parameters is not None else None

    def enumerate_parameters(self) -> Iterable[WatershedPostProcessorParameters]:
        if self.parameters is not None:
            return list(self.parameters)
        return [WatershedPostProcessorParameters(id=i, bias=bias) for i, bias in enumerate(DEFAULT_BIASES)]

    @declares(TAKES_EXECUTION)
    @declares(TOGETHER)
    def process(
        self,
        parameters: WatershedPostProcessorParameters,
        output_array_identifier: LocalArrayIdentifier,
        num_workers: int | None = None,
        block_size: Coordinate = DEFAULT_BLOCK_SIZE,
        *,
        execution: Execution | None = None,
    ) -> Array:
        """Write the labels of the segments as uint64, from 1 on without a gap, 0 for background.

        Of a volume that is segmented at once, ``block_size`` is the shape of the chunks of the output, and resuming
        unfinished work starts over. Otherwise, blocks depend on the ``max_memory`` of the execution.
        """
        execution = execution or Execution(num_workers)
        if self._takes_blocks(execution):
            return self._segment_in_blocks(parameters, output_array_identifier, block_size, execution)
        return self._segment_whole(parameters, output_array_identifier, block_size, execution)

    @declares(TAKES_EXECUTION)
    def process_all(
        self,
        parameters: Sequence[WatershedPostProcessorParameters],
        output_array_identifiers: Sequence[LocalArrayIdentifier],
        num_workers: int | None = None,
        *,
        execution: Execution | None = None,
    ) -> Iterator[tuple[int, Array]]:
        # The prediction is read and sorted once, and stays in memory until the last result.
        execution = execution or Execution(num_workers)
        if not can(self.process, TOGETHER) or self._takes_blocks(execution):
            return super().process_all(parameters, output_array_identifiers, execution=execution)
        return self._segment(parameters, output_array_identifiers, DEFAULT_BLOCK_SIZE)

    def _segment_whole(
        self,
        parameters: WatershedPostProcessorParameters,
        output: LocalArrayIdentifier,
        block_size: Coordinate,
        execution: Execution,
    ) -> Array:
        what = {
            "operation": "mutex watershed",
            "offsets": self._plain_offsets(),
            "bias": parameters.bias,
            "long_range_bias": parameters.long_range_bias,
            "min_size": parameters.min_size,
            # As in earlier versions where nothing is filled.
            **({"fill_background": True} if parameters.fill_background else {}),
        }
        return self.once(
            output, what, execution, lambda journal: list(self._segment([parameters], [output], block_size, journal))
        )

    def _segment(
        self,
        parameters: Sequence[WatershedPostProcessorParameters],
        outputs: Sequence[LocalArrayIdentifier],
        block_size: Coordinate,
        journal: Journal | None = None,
    ) -> Iterator[tuple[int, Array]]:
        from dacapo.blockwise.watershed_function import read_affinities

        affinities, value_range = read_affinities(self.prediction_array, len(self.offsets))
        chosen = [one.mutex_watershed for one in parameters]
        with progress(total=len(parameters), desc="mutex watershed", unit="volume") as bar:
            for index, labels in mutex_watersheds(affinities, self.offsets, chosen, value_range):
                output = self.write_labels(outputs[index], labels, block_size, journal)
                bar.update()
                yield index, output

    def _voxel_bytes(self) -> float:
        prediction = self.prediction_array
        return watershed_voxel_bytes(len(self.offsets), prediction.num_channels or 1, prediction.dtype.itemsize)

    def _segment_in_blocks(
        self,
        parameters: WatershedPostProcessorParameters,
        output: LocalArrayIdentifier,
        block_size: Coordinate,
        execution: Execution,
    ) -> Array:
        from dacapo.blockwise.segmentation import SegmentationPlan, run_segmentation

        prediction = self.prediction_array
        check_offsets(len(self.offsets), prediction.dims, self.offsets)
        block_shape = fit_block_shape(block_size, prediction.roi.shape / prediction.voxel_size)
        context = Coordinate(max(1, extent) for extent in last_axes(parameters.context, prediction.dims))
        # Blocks depend on a limit that is the same each time, since other blocks would give other segments.
        block_shape = smaller_block(block_shape, context, self._most_voxels(execution.block_memory.largest_block))
        seen = math.prod(block_shape + context * 2)
        logger.info("segmenting %s in blocks of %s voxels with a context of %s", prediction.roi, block_shape, context)
        block = Roi((0,) * prediction.dims, block_shape * prediction.voxel_size)
        plan = SegmentationPlan.of(
            self.prediction_array_identifier,
            output,
            SEGMENT_FUNCTION,
            prediction.roi,
            block,
            block,
            context * prediction.voxel_size,
            kwargs={
                "offsets": self._plain_offsets(),
                "bias": parameters.bias,
                "long_range_bias": parameters.long_range_bias,
            },
            # A layer that holds both ends of every affinity between two blocks.
            depth=Coordinate(max(1, *map(abs, along)) for along in zip(*self.offsets, strict=True))
            * prediction.voxel_size,
            min_overlap=MIN_OVERLAP,
            absorb_below=parameters.min_size,
            fill_background=parameters.fill_background,
        )
        run_segmentation(plan, execution.for_blocks(int(seen * self._voxel_bytes())))
        return ZarrArray.open_from_array_identifier(output)
