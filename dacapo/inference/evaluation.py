"""Score a segmentation block by block, in several processes."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import attrs
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.scheduling.run_operation import execute
from dacapo.compute_context import Execution, Step
from dacapo.errors import BlockwiseError, ConfigError
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import Array, ArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.tasks import TaskConfig
from dacapo.experiments.tasks.evaluators import EvaluationScores, Evaluator
from dacapo.experiments.tasks.evaluators.block_evaluator import IN_BLOCKS, BlockEvaluator
from dacapo.experiments.tasks.evaluators.volumes import Volumes, block_shape
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.capabilities import can
from dacapo.utils.memory_estimates import EVALUATED_VOXEL_BYTES
from dacapo.utils.tally import Tally, add_up

if TYPE_CHECKING:
    import daisy.v2 as daisy

# A process takes as long to start as to evaluate a few blocks.
BLOCKS_PER_WORKER = 4


@attrs.define(kw_only=True, eq=False)
class Evaluation(BlockwiseOperation):
    """Count the numbers that scores are computed from, and write them to a file for each block.

    Attributes:
        output: The segmentation to score, which is only read.
        task_config: The task with the evaluator.
        truth_config: The ground truth.
        mask_config: The mask of where to compare the two; None for everywhere.
        folder: Folder for the files.
    """

    task_config: TaskConfig
    truth_config: ArrayConfig
    mask_config: ArrayConfig | None
    folder: Path

    @property
    def name(self) -> str:
        return "evaluate"

    @property
    def step(self) -> Step:
        return Step.EVALUATE

    def most_workers(self) -> int:
        return max(1, self.grid.count // BLOCKS_PER_WORKER)

    def open(self) -> None:
        evaluator = self.task_config.task_type(self.task_config).evaluator
        if not isinstance(evaluator, BlockEvaluator):
            raise ConfigError(f"{type(evaluator).__name__} does not evaluate in blocks")
        if self.mask_config is not None:
            evaluator.mask = self.mask_config.array_type(self.mask_config)
        truth: Array = self.truth_config.array_type(self.truth_config)
        self._evaluator: BlockEvaluator[Any] = evaluator
        self._volumes = evaluator.open(self.output, truth)

    def process(self, block: daisy.Block) -> None:
        roi = Roi(block.write_roi.offset, block.write_roi.shape)
        self._evaluator.tally(self._volumes, roi).save(self.file(roi))

    def file(self, block: Roi) -> Path:
        """Return the file with the counts of a block."""
        return self.folder / f"{'_'.join(str(int(begin)) for begin in block.begin)}.npz"


def evaluate_array(
    run: Run, dataset: Dataset, truth: Array, output: LocalArrayIdentifier, execution: Execution
) -> EvaluationScores:
    """Score an output against the ground truth of a dataset, where its mask is not 0.

    This process does it, unless the execution allows several workers for enough blocks, the evaluator counts in blocks,
    and configs describe the data to workers.

    Args:
        run: The run, whose task has the evaluator.
        dataset: Has the mask, and the configs of mask and truth.
        truth: The ground truth.
        output: The segmentation.
        execution: Maximum number of workers, and memory limit.

    Raises:
        EvaluationError: If the two cannot be compared.
        BlockwiseError: If a block failed in a worker.
    """
    evaluator: Evaluator = run.task.evaluator
    if not _in_blocks(evaluator):
        with evaluator.masked_by(dataset.mask):
            return evaluator.evaluate(output, truth)
    most = execution.memory_for(Step.EVALUATE).largest_block
    voxels = None if most is None else most // EVALUATED_VOXEL_BYTES
    with evaluator.masked_by(dataset.mask), evaluator.limited_to(voxels):
        volumes = evaluator.open(output, truth)
        block = block_shape(volumes.shape, evaluator.voxels_per_block(volumes))
        channels = evaluator.block_voxels // evaluator.voxels_per_block(volumes)
        execution = execution.for_blocks(math.prod(block) * channels * EVALUATED_VOXEL_BYTES, Step.EVALUATE)
        if execution.workers_for(Step.EVALUATE) > 1 and _is_described(dataset):
            operation = _operation(run, dataset, output, volumes, block)
            if operation.most_workers() > 1:
                return evaluator.scores_of(volumes, _tally(operation, evaluator.tally_type, execution))
        scores: EvaluationScores = evaluator.evaluate(output, truth)
        return scores


def _in_blocks(evaluator: Evaluator) -> TypeGuard[BlockEvaluator[Any]]:
    return isinstance(evaluator, BlockEvaluator) and can(evaluator.evaluate, IN_BLOCKS)


def _is_described(dataset: Dataset) -> bool:
    """Return whether configs describe ground truth and mask."""
    gt_config, mask_config = (getattr(dataset.config, f"{name}_config", None) for name in ("gt", "mask"))
    return gt_config is not None and (dataset.mask is None or mask_config is not None)


def _operation(
    run: Run, dataset: Dataset, output: LocalArrayIdentifier, volumes: Volumes, block: Coordinate
) -> Evaluation:
    config: Any = dataset.config
    return Evaluation(
        output=output,
        region=volumes.roi,
        block_shape=block * volumes.voxel_size,
        task_config=run.config.task_config,
        truth_config=config.gt_config,
        mask_config=None if dataset.mask is None else config.mask_config,
        folder=output.container.resolve().parent,
    )


def _tally(operation: Evaluation, tally_type: type[Tally], execution: Execution) -> Tally:
    """Let workers count, and return the sum of their counts."""
    folder = Path(tempfile.mkdtemp(prefix=".evaluate_", dir=operation.folder))
    try:
        execute(attrs.evolve(operation, folder=folder), attrs.evolve(execution, resume=None))
        files = sorted(folder.glob("*.npz"))
        expected = operation.grid.count
        if len(files) != expected:
            raise BlockwiseError(f"only {len(files)} of {expected} blocks of the evaluation are in {folder}")
        return add_up(tally_type.load(file) for file in files)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
