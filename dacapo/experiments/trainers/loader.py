"""The loader of batches, which worker processes make ahead of time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Iterator
from logging import getLogger
from typing import Any

import torch
import torch.utils.data

from dacapo.errors import BatchError, DacapoError
from dacapo.experiments.datasplits.datasets.arrays.chunk_cache import is_lost_by_forking
from dacapo.utils.shared_memory import from_shared_memory, to_shared_memory

from .batch_sampler import BatchSampler
from .batch_stream import BatchStream
from .collate import UnweightedBatch, collate
from .prefetch import Prefetcher
from .sampler import PatchSampler
from .weighting import TrainingBatch, weighted
from .workers import WorkerIterator

logger = getLogger(__name__)


class BatchLoader:
    """Loads the batches of a training one after another.

    Worker processes go on with the next batches in the meantime. They start anew when another batch than the next one
    is asked for, or batches of another kind.

    Attributes:
        sampler: Makes the samples.
        num_workers: Number of processes; with 1 batches are made in this process.
    """

    def __init__(self, sampler: PatchSampler, num_workers: int) -> None:
        """Set the source of samples. Starts no processes."""
        self.sampler = sampler
        self.num_workers = num_workers
        self._batches: Iterator[TrainingBatch] | None = None
        self._next: tuple[Any, ...] = ()

    def load(
        self,
        position: int,
        batch_sampler: BatchSampler,
        device: torch.device,
        class_counts: Any,
        snapshot_interval: int | None = None,
    ) -> TrainingBatch:
        """Return a batch.

        Args:
            position: Position of the batch.
            batch_sampler: Assigns samples to batches.
            device: Device of the network.
            class_counts: Class counts before this batch, if it does not follow the one before.
            snapshot_interval: Which batches have ground truth and mask; see ``BatchStream``.

        Raises:
            BatchError: If the batch cannot be made, or a worker process has died.
        """
        settings = batch_sampler, device, snapshot_interval
        if self._batches is None or self._next != (position, *settings):
            self.close()
            stream = BatchStream(self.sampler, batch_sampler, position, device, snapshot_interval)
            self._batches = load_batches(stream, self.num_workers, class_counts)
        try:
            batch = next(self._batches)
        except Exception as error:
            self.close()  # it cannot go on; another call starts anew
            message = str(error)
            if not isinstance(error, DacapoError) or isinstance(error, BatchError):
                kind = "" if isinstance(error, BatchError) else f"{type(error).__name__}: "
                iteration = batch_sampler.iteration(position)
                message = f"no batch for iteration {iteration}: {kind}{message.rstrip('. ')}"
            raise BatchError(message) from error
        self._next = (position + 1, *settings)
        return batch

    def close(self) -> None:
        """End all worker processes."""
        self._batches = None


def load_batches(stream: BatchStream, num_workers: int, class_counts: Any = None) -> Iterator[TrainingBatch]:
    """Return the batches of a stream.

    Worker processes end when the iterator is deleted.

    Args:
        stream: Makes batches without weights.
        num_workers: Number of processes; with 1 batches are made in this process.
        class_counts: Class counts before the first batch, None at the beginning of a training.
    """
    made: Iterator[Any] = iter(stream) if num_workers == 1 else _from_workers(stream, num_workers)
    if stream.device.type != "cpu":
        made = _collated(made, stream.sampler, stream.device)
    return weighted(made, stream.sampler.predictor, class_counts)


def _collated(batches: Iterator[Any], sampler: PatchSampler, device: torch.device) -> Iterator[UnweightedBatch]:
    """Return batches collated on a device, one ahead of the one in use."""
    prefetcher = Prefetcher(batches, lambda batch: collate(sampler, batch, device), device, UnweightedBatch.tensors)
    try:
        yield from prefetcher
    finally:
        prefetcher.close()


def _from_workers(stream: BatchStream, num_workers: int) -> Iterator[Any]:
    can_fork = stream.sampler.can_fork
    if can_fork and is_lost_by_forking():
        logger.info(
            "worker processes run without a cache of decoded chunks, because this process has used TensorStore before; "
            "train in a process of its own to use one"
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
            # A forked process starts at once and has everything that this one has, but not every array works in one.
            multiprocessing_context=multiprocessing.get_context("fork" if can_fork else "spawn"),
            # Otherwise the loader would draw from torch's global generator.
            generator=torch.Generator().manual_seed(stream.batch_sampler.seed),
        )
        return map(from_shared_memory, WorkerIterator(loader))


def _leave_signals_to_parent(worker_id: int) -> None:
    """Let Ctrl-C, and signals that a launcher sends to all processes, reach the training process only."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
