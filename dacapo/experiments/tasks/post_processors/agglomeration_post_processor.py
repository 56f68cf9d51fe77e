"""Instances from affinities, by merging fragments."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from funlib.geometry import Coordinate

from dacapo.compute_context import Execution
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.tasks.post_processors.affinities_post_processor import AffinitiesPostProcessor
from dacapo.experiments.tasks.post_processors.post_processor import TAKES_EXECUTION, PostProcessorParameters
from dacapo.experiments.tasks.post_processors.stored_prediction import DEFAULT_BLOCK_SIZE
from dacapo.utils.agglomeration import Cut, Fragmented
from dacapo.utils.blocks import fit_block_shape, smaller_block
from dacapo.utils.capabilities import declares
from dacapo.utils.fragments import FragmentParameters, direct_channels
from dacapo.utils.memory_estimates import agglomeration_voxel_bytes
from dacapo.utils.progress import progress
from dacapo.utils.segmentation import check_offsets

if TYPE_CHECKING:
    from dacapo.blockwise.journal import Journal
    from dacapo.store.array_store import LocalArrayIdentifier

logger = logging.getLogger(__name__)

DEFAULT_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)


@attrs.frozen
class AgglomerationPostProcessorParameters(PostProcessorParameters):
    """Parameters of :class:`AgglomerationPostProcessor`.

    Attributes:
        merge_threshold: Two regions merge if the score of the affinities between them, from 0 to 1, is above this.
        quantile: The quantile of these affinities that is the score, above 0 and at most 1; None for their mean.
        min_size: Segments with fewer voxels go on merging below the threshold, and become background if they touch
            nothing.
    """

    merge_threshold: int | float = attrs.field()
    quantile: int | float | None = attrs.field(default=None)
    min_size: int = attrs.field(default=0)

    @property
    def cut(self) -> Cut:
        """The parameters of the agglomeration."""
        return Cut(self.merge_threshold, self.quantile, self.min_size)


class AgglomerationPostProcessor(AffinitiesPostProcessor):
    """Segment affinities by merging fragments, the pair with the highest score first.

    The first channels of the prediction are the affinities, one per offset. Only those to direct neighbors are used.
    See :mod:`dacapo.utils.fragments` for the fragments and :mod:`dacapo.utils.agglomeration` for merging them. Several
    thresholds share fragments and merges.

    A volume above ``whole_voxels`` voxels is segmented in blocks, with exactly the same result for blocks of any size,
    see :mod:`dacapo.blockwise.agglomeration`. Its fragments and the contacts between them stay beside the prediction,
    so that other parameters need neither again.

    Attributes:
        whole_voxels: Size of the largest volume to segment at once. It is smaller if that does not fit into a
            ``max_memory``, or without one into half of the memory that this machine, container or job has.
    """

    def __init__(
        self,
        offsets: Sequence[Sequence[int]],
        parameters: Sequence[AgglomerationPostProcessorParameters] | None = None,
        fragments: FragmentParameters | None = None,
    ):
        """Set the offsets, the parameters to try in validation, and those of the fragments.

        Args:
            offsets: For each affinity the step, in voxels, to the other voxel of the pair.
            parameters: The parameters to try in validation, by default five thresholds.
            fragments: The parameters of the fragments.
        """
        super().__init__(offsets)
        self.parameters = list(parameters) if parameters is not None else None
        self.fragments = fragments or FragmentParameters()

    def enumerate_parameters(self) -> Iterable[AgglomerationPostProcessorParameters]:
        if self.parameters is not None:
            return list(self.parameters)
        return [
            AgglomerationPostProcessorParameters(id=i, merge_threshold=threshold)
            for i, threshold in enumerate(DEFAULT_THRESHOLDS)
        ]

    @declares(TAKES_EXECUTION)
    def process(
        self,
        parameters: AgglomerationPostProcessorParameters,
        output_array_identifier: LocalArrayIdentifier,
        num_workers: int | None = None,
        block_size: Coordinate = DEFAULT_BLOCK_SIZE,
        *,
        execution: Execution | None = None,
    ) -> Array:
        """Write the labels of the segments as uint64, from 1 on without a gap, 0 for background."""
        execution = execution or Execution(num_workers)
        chosen, outputs = [parameters], [output_array_identifier]
        if self._takes_blocks(execution):
            ((_, array),) = self._segment_in_blocks(chosen, outputs, block_size, execution)
            return array
        return self.once(
            output_array_identifier,
            self._what(parameters),
            execution,
            lambda journal: list(self._segment(chosen, outputs, block_size, journal)),
        )

    @declares(TAKES_EXECUTION)
    def process_all(
        self,
        parameters: Sequence[AgglomerationPostProcessorParameters],
        output_array_identifiers: Sequence[LocalArrayIdentifier],
        num_workers: int | None = None,
        *,
        execution: Execution | None = None,
    ) -> Iterator[tuple[int, Array]]:
        execution = execution or Execution(num_workers)
        if self._takes_blocks(execution):
            return self._segment_in_blocks(parameters, output_array_identifiers, DEFAULT_BLOCK_SIZE, execution)
        return self._segment(parameters, output_array_identifiers, DEFAULT_BLOCK_SIZE, None)

    def _segment(
        self,
        parameters: Sequence[AgglomerationPostProcessorParameters],
        outputs: Sequence[LocalArrayIdentifier],
        block_size: Coordinate,
        journal: Journal | None,
    ) -> Iterator[tuple[int, Array]]:
        from dacapo.blockwise.watershed_function import read_affinities

        affinities, value_range = read_affinities(self.prediction_array, len(self.offsets))
        fragmented = Fragmented.of(affinities, self.offsets, self.fragments, value_range)
        del affinities
        segmentations = fragmented.segmentations([one.cut for one in parameters])
        for index, labels in enumerate(progress(segmentations, total=len(parameters), desc="merge", unit="volume")):
            yield index, self.write_labels(outputs[index], labels, block_size, journal)

    def _segment_in_blocks(
        self,
        parameters: Sequence[AgglomerationPostProcessorParameters],
        outputs: Sequence[LocalArrayIdentifier],
        block_size: Coordinate,
        execution: Execution,
    ) -> Iterator[tuple[int, Array]]:
        from dacapo.blockwise.agglomeration import FragmentGraphPlan, agglomerate_in_blocks

        prediction = self.prediction_array
        check_offsets(len(self.offsets), prediction.dims, self.offsets)
        block = fit_block_shape(block_size, prediction.roi.shape / prediction.voxel_size)
        block = smaller_block(block, block * 0, self._most_voxels(execution.block_memory.largest_block))
        plan = FragmentGraphPlan(
            input=self.prediction_array_identifier,
            offsets=self._plain_offsets(),
            fragments=self.fragments,
            block_shape=block,
        )
        logger.info("agglomerating %s in blocks of %s voxels", prediction.roi, plan.block_voxels)
        execution = execution.for_blocks(int(math.prod(plan.block_voxels) * self._voxel_bytes()))
        what = [self.with_prediction(self._what(one)) for one in parameters]
        cuts = [one.cut for one in parameters]
        for index in agglomerate_in_blocks(plan, cuts, outputs, what, execution):
            yield index, ZarrArray.open_from_array_identifier(outputs[index])

    def _what(self, parameters: AgglomerationPostProcessorParameters) -> dict[str, Any]:
        """Return all that defines a result except the prediction; it does not depend on blocks."""
        return {
            "operation": "agglomeration",
            "offsets": self._plain_offsets(),
            "fragments": attrs.asdict(self.fragments),
            **attrs.asdict(parameters.cut),
        }

    def _voxel_bytes(self) -> float:
        prediction = self.prediction_array
        direct = len(direct_channels(self.offsets))
        return agglomeration_voxel_bytes(direct, prediction.num_channels or 1, prediction.dtype.itemsize)
