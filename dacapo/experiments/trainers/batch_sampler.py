"""The assignment of samples to batches, and their seeds."""

from __future__ import annotations

import attrs

from .trainer import sample_seed


@attrs.frozen
class BatchSampler:
    """Assigns samples to batches.

    The samples of an iteration are numbered: those of its first batch on every rank in turn, then those of its second
    one, and so on. The seed of a sample follows from the seed of the run, the iteration and this number, so an
    iteration has the same samples, whether one rank puts them into one batch or many ranks into many batches.

    Batches have positions, counted from 0 over all iterations.

    Attributes:
        seed: Seed of the run.
        batch_size: Number of samples in a batch.
        accumulate: Number of batches of a rank in an iteration.
        rank: The rank of the batches.
        world_size: Number of ranks.
    """

    seed: int
    batch_size: int
    accumulate: int = 1
    rank: int = 0
    world_size: int = 1

    def position(self, iteration: int, part: int = 0) -> int:
        """Return the position of a batch of an iteration."""
        return iteration * self.accumulate + part

    def iteration(self, position: int) -> int:
        """Return the iteration of a batch."""
        return position // self.accumulate

    def part(self, position: int) -> int:
        """Return the number of a batch within its iteration."""
        return position % self.accumulate

    def seeds(self, position: int) -> list[int]:
        """Return the seeds of the samples of a batch, each below 2**32."""
        first = (self.part(position) * self.world_size + self.rank) * self.batch_size
        iteration = self.iteration(position)
        return [sample_seed(self.seed, iteration, first + number) for number in range(self.batch_size)]
