"""Batches of a training, one per iteration, made in this process or in others ahead of time."""

from __future__ import annotations

import copy
import multiprocessing
import re
import signal
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
import torch.utils.data

from dacapo.errors import TrainingError

from .trainer import iteration_seeds

if TYPE_CHECKING:
    from .pipeline import Pipeline


@attrs.define
class TrainingBatch:
    """What an iteration trains on. Arrays have the axes batch, channel (where there are any), space.

    Attributes:
        iteration: The iteration it was made for.
        raw: Input of the network, float32.
        target: What the prediction is compared with, float32.
        weight: Weight of every value of the target, float32.
        gt: Ground truth in the region of the target, if a snapshot is to be taken.
        mask: Mask in that region, likewise.
        moving_class_counts: Counts after this batch, for the next batch of the same slot.
    """

    iteration: int
    raw: np.ndarray[Any, Any]
    target: np.ndarray[Any, Any]
    weight: np.ndarray[Any, Any]
    gt: np.ndarray[Any, Any] | None
    mask: np.ndarray[Any, Any] | None
    moving_class_counts: Any


def root_cause(error: Exception) -> str:
    """Return the line of a pipeline's error that says what happened.

    Gunpowder turns what a node raises into text, and wraps it once for every node downstream.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ?", line)]
    own = [line for line in raised if not line.startswith("gunpowder.")]
    return next(iter(own or raised), str(error))


class BatchStream(torch.utils.data.IterableDataset[TrainingBatch]):
    """Make the batches from some iteration on, without end.

    With several processes each makes every n-th batch, and they are taken in turn. The class counts that a predictor
    carries from batch to batch are therefore kept in n slots, and iteration i uses slot i modulo n. With seeds that
    depend on the iteration only, batches do not depend on the timing of processes.
    """

    def __init__(
        self, pipeline: Pipeline, seed: int, start: int, slots: list[Any], snapshot_interval: int | None
    ) -> None:
        """Set where to start.

        Args:
            pipeline: Makes the batches; it must be set up.
            seed: Seed of the run.
            start: The first iteration.
            slots: Moving class counts to start from, one per process.
            snapshot_interval: Add ground truth and mask to every batch whose iteration is a multiple of this.
        """
        super().__init__()
        self.pipeline = pipeline
        self.seed = seed
        self.start = start
        self.slots = slots
        self.snapshot_interval = snapshot_interval

    def __iter__(self) -> Iterator[TrainingBatch]:
        """Make the batches of this process; of all of them, if there are no others."""
        worker = torch.utils.data.get_worker_info()
        first = self.start + (0 if worker is None else worker.id)
        step = 1 if worker is None else worker.num_workers
        self.pipeline.target_filter.moving_class_counts = copy.deepcopy(self.slots[first % step])
        iteration = first
        while True:
            yield self.make(iteration)
            iteration += step

    def make(self, iteration: int) -> TrainingBatch:
        """Make the batch of an iteration.

        Raises:
            TrainingError: If the pipeline fails.
        """
        from gunpowder.pipeline import PipelineRequestError

        snapshot = self.snapshot_interval is not None and iteration % self.snapshot_interval == 0
        keys, target_filter = self.pipeline.keys, self.pipeline.target_filter
        request = self.pipeline.request(iteration_seeds(self.seed, iteration)[0], everything=snapshot)
        try:
            batch = self.pipeline.provider.request_batch(request)
        except PipelineRequestError as error:
            raise TrainingError(f"the batch of iteration {iteration} could not be made: {root_cause(error)}") from error
        raw = batch[keys.raw].data
        if raw.ndim == self.pipeline.regions.raw_roi.dims + 1:
            raw = raw[:, np.newaxis]
        return TrainingBatch(
            iteration,
            np.ascontiguousarray(raw, dtype=np.float32),
            np.ascontiguousarray(batch[keys.target].data, dtype=np.float32),
            np.ascontiguousarray(batch[keys.weight].data, dtype=np.float32),
            batch[keys.gt].data if snapshot else None,
            batch[keys.mask].data if snapshot else None,
            # A copy, because predictors may change counts in place while this batch is still to be trained on.
            copy.deepcopy(target_filter.moving_class_counts),
        )


def iterate_batches(stream: BatchStream) -> Iterator[TrainingBatch]:
    """Return the batches of a stream, made by as many processes as it has slots; in this one if that is one.

    Processes end when the iterator is deleted.
    """
    num_workers = len(stream.slots)
    if num_workers == 1:
        return iter(stream)
    with warnings.catch_warnings():
        # More processes than cores are harmless, and the default of the config.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = torch.utils.data.DataLoader(
            stream,
            batch_size=None,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=_leave_signals_to_parent,
            # A forked process starts at once and has all that this one has; but not every source works in one.
            multiprocessing_context=multiprocessing.get_context("fork" if stream.pipeline.can_fork else "spawn"),
            # Otherwise the loader would draw from torch's global generator.
            generator=torch.Generator().manual_seed(stream.seed),
        )
        return iter(loader)


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_signals_to_parent(worker_id: int) -> None:
    """Let Ctrl-C reach the training process only, which then ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
