"""The batches of a training in order, as worker processes make them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.utils.data

from dacapo.errors import TrainingError
from dacapo.experiments.datasplits.datasets.arrays.chunk_cache import share_cache
from dacapo.utils.one_thread import one_thread

from .batch_sampler import BatchSampler
from .collate import ReadBatch, UnweightedBatch, collate
from .sampler import PatchSampler


class BatchStream(torch.utils.data.IterableDataset[Any]):
    """Make the batches from some position on, without end: completely for a CPU, otherwise only their crops.

    Of n worker processes, each makes every n-th batch. Batches depend only on their position, not on the workers.
    """

    def __init__(
        self,
        sampler: PatchSampler,
        batch_sampler: BatchSampler,
        start: int,
        device: torch.device,
        snapshot_interval: int | None = None,
    ) -> None:
        """Set where to start.

        Args:
            sampler: Makes the samples.
            batch_sampler: Assigns samples to batches.
            start: Position of the first batch.
            device: Device of the network.
            snapshot_interval: Add ground truth and mask to the first batch of every iteration that is a multiple of
                this, and with 0 to all batches.
        """
        super().__init__()
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.start = start
        self.device = device
        self.snapshot_interval = snapshot_interval

    def __iter__(self) -> Iterator[UnweightedBatch | ReadBatch]:
        """Make the batches of this worker; all batches if there are no workers."""
        worker = torch.utils.data.get_worker_info()
        position = self.start + (0 if worker is None else worker.id)
        step = 1 if worker is None else worker.num_workers
        share_cache(step)
        while True:
            yield self.make(position)
            position += step

    def make(self, position: int) -> UnweightedBatch | ReadBatch:
        """Make the batch at a position; only read its crops if the rest is done on a GPU.

        Raises:
            TrainingError: If that fails.
        """
        iteration, part = self.batch_sampler.iteration(position), self.batch_sampler.part(position)
        predictor = self.sampler.predictor
        try:
            with one_thread():
                crops = self.sampler.read(self.batch_sampler.seeds(position))
                batch = ReadBatch(iteration, part, crops, self._shows(iteration, part))
                if self.device.type == "cpu":
                    return collate(self.sampler, batch, self.device)
                if not (predictor.works_on_tensors and predictor.targets_on_device):
                    batch.make_targets(self.sampler)
                return batch
        except Exception as error:
            why = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
            raise TrainingError(f"the batch of iteration {iteration} could not be made: {why}") from error

    def _shows(self, iteration: int, part: int) -> bool:
        """Return whether a batch has ground truth and mask."""
        interval = self.snapshot_interval
        return interval == 0 or (interval is not None and part == 0 and iteration % interval == 0)
