"""Evaluation block by block."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from funlib.geometry import Roi

from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.tasks.evaluators.evaluator import EvaluationScores, Evaluator
from dacapo.experiments.tasks.evaluators.volumes import CHUNK, Volumes
from dacapo.utils.capabilities import declares
from dacapo.utils.progress import progress
from dacapo.utils.tally import Tally, add_up

if TYPE_CHECKING:
    from dacapo.store.array_store import LocalArrayIdentifier

T = TypeVar("T", bound=Tally)

LEAST_VOXELS = CHUNK**3
"""Smaller blocks would mostly read chunks of which they need a part."""

IN_BLOCKS = "scores follow from what tally counts in blocks"
"""Declared by :meth:`BlockEvaluator.evaluate`; an override of ``evaluate`` may compute scores another way."""


class BlockEvaluator(Evaluator, Generic[T]):
    """Base class of evaluators whose scores follow from counts that can be added over blocks.

    The scores are those of the whole volume, and memory does not grow with it. A subclass counts in a block
    (:meth:`tally`) and converts the sum over all blocks to scores (:meth:`scores_of`).
    """

    block_voxels: int = 1 << 24
    """Maximum number of voxels, times channels, of a block."""

    tally_type: ClassVar[type[Tally]]
    """Class of the counts."""

    @declares(IN_BLOCKS)
    def evaluate(self, output_array_identifier: LocalArrayIdentifier, evaluation_array: Array) -> Any:
        volumes = self.open(output_array_identifier, evaluation_array)
        blocks, total = self.blocks(volumes)
        with progress(total=total, desc="evaluate", unit="block") as bar:

            def tallies() -> Iterator[T]:
                for block in blocks:
                    yield self.tally(volumes, block)
                    bar.update()

            tally = add_up(tallies())
        return self.scores_of(volumes, tally)

    def open(self, output: LocalArrayIdentifier, truth: Array) -> Volumes:
        """Open the volumes to compare and check them; voxels are read later.

        Raises:
            EvaluationError: If they cannot be compared.
            ChannelMismatchError: If one has a number of channels that this evaluator cannot use.
        """
        return Volumes.open(output, truth, self.mask)

    def blocks(self, volumes: Volumes) -> tuple[Iterator[Roi], int]:
        """Return the regions of all blocks, and their number."""
        return volumes.blocks(self.voxels_per_block(volumes))

    def voxels_per_block(self, volumes: Volumes) -> int:
        """Return the maximum number of voxels of a block."""
        arrays = (volumes.output, volumes.truth)
        return self.block_voxels // max((array.num_channels or 1) if "c" in array.axes else 1 for array in arrays)

    @contextmanager
    def limited_to(self, max_voxels: int | None) -> Iterator[None]:
        """Use smaller blocks inside a ``with`` block, but none below :data:`LEAST_VOXELS`; None keeps their size."""
        before = self.block_voxels
        self.block_voxels = before if max_voxels is None else min(before, max(LEAST_VOXELS, max_voxels))
        try:
            yield
        finally:
            self.block_voxels = before

    @abstractmethod
    def tally(self, volumes: Volumes, block: Roi) -> T:
        """Count in a block."""
        raise NotImplementedError

    @abstractmethod
    def scores_of(self, volumes: Volumes, tally: T) -> EvaluationScores:
        """Return the scores that follow from the sum over all blocks.

        Raises:
            EvaluationError: If nothing is left to compare, for example because the mask is 0 everywhere.
        """
        raise NotImplementedError
