"""Training on batches that a gunpowder pipeline makes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import TrainingError

from .batch_sampler import BatchSampler
from .batch_trainer import BatchTrainer, BatchTrainerConfig
from .loader import BatchStream, TrainingBatch, load_batches
from .pipeline import Pipeline, build_pipeline
from .trainer import Trainer

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.tasks.task import Task

    from .regions import SampleRegions


class GunpowderBatches(BatchStream):
    """Batches whose samples a pipeline makes one by one."""

    def __init__(
        self,
        pipeline: Pipeline,
        sampling: BatchSampler,
        start: int,
        slots: list[Any],
        snapshot_interval: int | None = None,
    ) -> None:
        """Set the pipeline, which must be set up, and where to start; see ``BatchStream``."""
        super().__init__(sampling, start, slots, snapshot_interval)
        self.pipeline = pipeline
        self.can_fork = pipeline.can_fork

    def make(self, position: int, moving_class_counts: Any) -> TrainingBatch:
        """Make a batch.

        Raises:
            TrainingError: If the pipeline fails.
        """
        from gunpowder.pipeline import PipelineRequestError

        iteration, shown, keys = self.sampling.iteration(position), self.shows(position), self.pipeline.keys
        self.pipeline.target_filter.moving_class_counts = moving_class_counts
        samples = []
        for seed in self.sampling.seeds(position):
            try:
                samples.append(self.pipeline.provider.request_batch(self.pipeline.request(seed, everything=shown)))
            except PipelineRequestError as error:
                raise TrainingError(
                    f"the batch of iteration {iteration} could not be made: {root_cause(error)}"
                ) from error

        def stacked(key: Any, dtype: Any = None) -> np.ndarray[Any, Any]:
            # np.stack alone would keep the order in memory of samples that were transposed.
            first = samples[0][key].data
            together = np.empty((len(samples), *first.shape), dtype or first.dtype)
            return np.stack([sample[key].data for sample in samples], out=together, casting="unsafe")

        raw = stacked(keys.raw, np.float32)
        return TrainingBatch(
            iteration,
            self.sampling.part(position),
            raw[:, np.newaxis] if raw.ndim == self.pipeline.regions.raw_roi.dims + 1 else raw,
            stacked(keys.target, np.float32),
            stacked(keys.weight, np.float32),
            stacked(keys.gt) if shown else None,
            stacked(keys.mask) if shown else None,
            self.pipeline.target_filter.moving_class_counts,
        )


def root_cause(error: Exception) -> str:
    """Return the line of a pipeline's error that says what happened.

    Gunpowder turns what a node raises into text, and wraps it once for every node downstream.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ?", line)]
    own = [line for line in raised if not line.startswith("gunpowder.")]
    # What it was raised from comes before it, and says less.
    meant = [line for line in own if line.startswith("dacapo.errors.")]
    return next(iter(meant or own or raised), str(error))


class GunpowderTrainer(BatchTrainer):
    """Train on random, augmented samples of datasets, which a gunpowder pipeline makes on the CPU."""

    kind = "GunpowderTrainer"

    _pipeline: Pipeline | None = None

    def _prepare(self, datasets: Sequence[Dataset], regions: SampleRegions, task: Task) -> None:
        self._pipeline = build_pipeline(
            datasets, regions, task.predictor, self.augments, self.min_masked, self.clip_raw
        )

    def _open_batches(self, sampling: BatchSampler, start: int) -> Iterator[TrainingBatch]:
        assert self._pipeline is not None
        return load_batches(GunpowderBatches(self._pipeline, sampling, start, list(self._slots), self._shown_interval))

    def _set_up(self) -> None:
        assert self._pipeline is not None
        self._pipeline.provider.setup()

    def _tear_down(self) -> None:
        assert self._pipeline is not None
        self._pipeline.provider.internal_teardown()


@attrs.define
class GunpowderTrainerConfig(BatchTrainerConfig):
    """Config of the trainer on random, augmented samples."""

    trainer_type: ClassVar[type[Trainer]] = GunpowderTrainer
