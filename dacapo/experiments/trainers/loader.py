"""Batches of a training, made in this process or in others ahead of time."""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from logging import getLogger
from typing import Any

import attrs
import numpy as np
import torch
import torch.utils.data

from dacapo.experiments.datasplits.datasets.arrays.chunk_cache import is_lost_by_forking, share_cache
from dacapo.utils.shared_memory import Transferable, from_shared_memory, to_shared_memory

from .batch_sampler import BatchSampler
from .fetchers import FetchedBatches

logger = getLogger(__name__)


@attrs.define
class TrainingBatch(Transferable):
    """What a network is trained on at once. Arrays have the axes batch, channel (where there are any), space.

    Attributes:
        iteration: The iteration it was made for.
        part: Its number within the iteration, which may have several batches.
        raw: Input of the network, float32.
        target: What the prediction is compared with, float32.
        weight: Weight of every value of the target, float32.
        gt: Ground truth in the region of the target, if a snapshot is to be taken.
        mask: Mask in that region, likewise.
        moving_class_counts: Counts after this batch, for the next batch of the same slot.
    """

    iteration: int
    part: int
    raw: np.ndarray[Any, Any]
    target: np.ndarray[Any, Any]
    weight: np.ndarray[Any, Any]
    gt: np.ndarray[Any, Any] | None
    mask: np.ndarray[Any, Any] | None
    moving_class_counts: Any


class BatchStream(torch.utils.data.IterableDataset[TrainingBatch], ABC):
    """Make the batches from some position on, without end.

    With several processes each makes every n-th batch, and they are taken in turn. The class counts that a predictor
    carries from batch to batch are therefore kept in n slots, and the batch at position p uses slot p modulo n. With
    seeds that depend on the position only, batches do not depend on the timing of processes.

    Attributes:
        can_fork: Whether a forked process can make batches; if not, processes are started anew.
    """

    can_fork: bool = True

    def __init__(
        self, sampling: BatchSampler, start: int, slots: list[Any], snapshot_interval: int | None = None
    ) -> None:
        """Set where to start.

        Args:
            sampling: Which samples a batch holds.
            start: Position of the first batch.
            slots: Moving class counts to start from, one per process.
            snapshot_interval: Add ground truth and mask to the first batch of every iteration that is a multiple of
                this, and with 0 to all batches.
        """
        super().__init__()
        self.sampling = sampling
        self.start = start
        self.slots = slots
        self.snapshot_interval = snapshot_interval

    def __iter__(self) -> Iterator[TrainingBatch]:
        """Make the batches of this process; of all of them, if there are no others."""
        worker = torch.utils.data.get_worker_info()
        position = self.start + (0 if worker is None else worker.id)
        step = 1 if worker is None else worker.num_workers
        share_cache(step)
        counts = self.slots[position % step]
        while True:
            # A copy, because predictors may change counts in place while the former batch is still to be trained on.
            batch = self.make(position, copy.deepcopy(counts))
            counts = batch.moving_class_counts
            yield batch
            position += step

    def shows(self, position: int) -> bool:
        """Return whether ground truth and mask of a batch are to be shown."""
        interval, sampling = self.snapshot_interval, self.sampling
        if interval == 0:
            return True
        first = sampling.part(position) == 0
        return interval is not None and first and sampling.iteration(position) % interval == 0

    @abstractmethod
    def make(self, position: int, moving_class_counts: Any) -> TrainingBatch:
        """Make a batch.

        Args:
            position: Its position; ``self.sampling`` says which samples it holds.
            moving_class_counts: Counts after the former batch of the same slot; they may be changed in place.

        Raises:
            TrainingError: If that fails.
        """
        raise NotImplementedError


def load_batches(stream: BatchStream) -> Iterator[TrainingBatch]:
    """Return the batches of a stream, made by as many processes as it has slots; in this one if that is one.

    Processes end when the iterator is deleted.
    """
    num_workers = len(stream.slots)
    if num_workers == 1:
        return iter(stream)
    if stream.can_fork and is_lost_by_forking():
        logger.info(
            "batches are made without a cache of decoded chunks, because this process has used TensorStore before; a "
            "training in a process of its own has one"
        )
    with warnings.catch_warnings():
        # More processes than cores are harmless, and the default of the config.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = torch.utils.data.DataLoader(
            stream,
            batch_size=None,
            num_workers=num_workers,
            collate_fn=to_shared_memory,
            worker_init_fn=_leave_signals_to_parent,
            # A forked process starts at once and has all that this one has; but not every source works in one.
            multiprocessing_context=multiprocessing.get_context("fork" if stream.can_fork else "spawn"),
            # Otherwise the loader would draw from torch's global generator.
            generator=torch.Generator().manual_seed(stream.sampling.seed),
        )
        return map(from_shared_memory, FetchedBatches(loader))


def _leave_signals_to_parent(worker_id: int) -> None:
    """Let Ctrl-C, and what a launcher sends to all processes, reach the training process only; it ends this one."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
