"""Training on batches that are made of tensors, on the device of the network."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import torch

from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.experiments.tasks.predictors.class_weights import TensorCounts, class_weights, count_classes, no_counts
from dacapo.experiments.tasks.predictors.torch_target import TorchTarget
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.utils import distributed

from .batch_sampler import BatchSampler
from .batch_trainer import BatchTrainer, BatchTrainerConfig
from .loader import TrainingBatch, load_batches
from .pipeline import uses_tensorstore
from .prefetch import Prefetcher
from .sampler import PatchSampler, PlainTarget
from .torch_batches import CPU, ReadBatch, TorchBatches, UnweightedBatch, finish
from .trainer import Trainer

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.model import Model
    from dacapo.experiments.tasks.predictors import Predictor
    from dacapo.experiments.tasks.task import Task

    from .regions import SampleRegions


class TorchTrainer(BatchTrainer):
    """Train on random, augmented samples of datasets, which are made as tensors.

    Batches are drawn from the same distribution as those of a ``GunpowderTrainer`` of the same config, in less time.
    Processes read what samples need. On a GPU, this trainer sends it there in a stream of its own while the network
    computes on the batch before, and augments it and makes targets and weights there; without a GPU, the processes do
    that too. Noise is drawn by the device, all other random numbers are the same on every device.

    Weights balance classes by how frequent they were in all batches so far, the current one included. Since they are
    counted where batches come together, neither the samples nor their weights depend on the number of processes.
    """

    kind = "TorchTrainer"

    _sampler: PatchSampler | None = None
    _can_fork: bool = True
    _device: torch.device = CPU

    def __init__(self, trainer_config: TorchTrainerConfig) -> None:
        """Take over the settings.

        Raises:
            ConfigError: If they cannot work.
        """
        super().__init__(trainer_config)
        self._slots = [None]  # classes are counted in one place

    def _prepare(self, datasets: Sequence[Dataset], regions: SampleRegions, task: Task) -> None:
        self._sampler = PatchSampler(datasets, regions, task.predictor, self.augments, self.min_masked, self.clip_raw)
        self._can_fork = not any(
            uses_tensorstore(array) for dataset in datasets for array in (dataset.raw, dataset.gt, dataset.mask)
        )

    def iterate(
        self, num_iterations: int, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Iterator[TrainingIterationStats]:
        """Train for some iterations, starting with ``self.iteration``.

        Raises:
            ValueError: If ``num_iterations`` is not positive.
            TrainingError: If the trainer is not entered, a batch cannot be made, or a loss is not finite; the weights
                are then as the iteration before left them.
        """
        if device != self._device:
            self._device, self._batches = device, None
        return super().iterate(num_iterations, model, optimizer, device)

    def _open_batches(self, sampling: BatchSampler, start: int) -> Iterator[TrainingBatch]:
        sampler, device = self._sampler, self._device
        assert sampler is not None
        stream = TorchBatches(
            sampler, device, sampling, start, self.num_data_fetchers, self._shown_interval, self._can_fork
        )
        made = self._made(load_batches(stream))
        return weighted(made, sampler.predictor, self._slots[0])

    def _made(self, batches: Iterator[Any]) -> Iterator[UnweightedBatch]:
        """Return batches but for their weights; those for a GPU are finished there."""
        sampler, device = self._sampler, self._device
        assert sampler is not None
        if device.type == "cpu":
            yield from batches
            return

        def work(batch: ReadBatch) -> UnweightedBatch:
            return finish(sampler, batch, device)

        prefetcher = Prefetcher(batches, work, device, UnweightedBatch.tensors)
        try:
            yield from prefetcher
        finally:
            prefetcher.close()

    def _to_device(self, batch: TrainingBatch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        raw, target, weight = (torch.as_tensor(a).to(device) for a in (batch.raw, batch.target, batch.weight))
        if batch.gt is not None:  # a snapshot is written of arrays
            batch.raw, batch.target, batch.weight = (t.cpu().numpy() for t in (raw, target, weight))
        return raw, target, weight

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up class counts and the state of the scaling. An empty state changes nothing.

        Raises:
            TrainingError: If the state is of another kind of trainer.
        """
        super().load_state_dict(state)
        del self._slots[1:]  # all ranks count the same


def weighted(batches: Iterator[UnweightedBatch], predictor: Predictor, counts: Any) -> Iterator[TrainingBatch]:
    """Add weights to batches, in their order.

    Args:
        batches: Batches without weights.
        predictor: Makes weights where it does that from arrays only.
        counts: Class counts before the first batch, None at the very beginning.
    """
    raw: Any
    target: Any
    weight: Any
    for batch in batches:
        if isinstance(batch.target, TorchTarget):
            target = batch.target.target
            weight, counts = balanced(batch.target, counts)
        else:
            target, weight, counts = from_arrays(batch.target, predictor, counts)
        # Tensors on a GPU stay there, and otherwise batches are those of all trainers.
        raw, target, weight = (t.numpy() if t.device == CPU else t for t in (batch.raw, target, weight))
        yield TrainingBatch(batch.iteration, batch.part, raw, target, weight, batch.gt, batch.mask, counts)


def balanced(target: TorchTarget, counts: Any) -> tuple[torch.Tensor, TensorCounts]:
    """Return the weights of a batch, and the class counts after it, over all ranks."""
    new = count_classes(target.classes)
    if distributed.world_size() > 1:
        together = torch.cat([part.flatten() for part in new])
        torch.distributed.all_reduce(together)
        parts = torch.split(together, [part.numel() for part in new])
        new = [part.reshape(old.shape) for part, old in zip(parts, new, strict=True)]
    before = no_counts(target.classes) if counts is None else counts
    # Those of a checkpoint are arrays, and may come from another device.
    counts = [torch.as_tensor(old, device=part.device) + part for old, part in zip(before, new, strict=True)]
    return class_weights(target.classes, counts), counts


def from_arrays(
    targets: Sequence[PlainTarget], predictor: Predictor, counts: Any
) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Return target and weight of a batch from a predictor that works on arrays only, and its class counts.

    Classes are counted sample by sample, those of each rank on their own.
    """
    counts = copy.deepcopy(counts)  # predictors may change them in place
    made = []
    for sample in targets:
        roi = sample.target_roi
        weight, counts = predictor.annotated_weight(sample.gt, sample.target, sample.mask, roi, counts)
        made.append([read_channels_first(array, roi) for array in (sample.target, weight)])
    targets_and_weights = (np.stack(arrays).astype(np.float32) for arrays in zip(*made, strict=True))
    return *map(torch.from_numpy, targets_and_weights), counts


@attrs.define
class TorchTrainerConfig(BatchTrainerConfig):
    """Config of the trainer on random, augmented samples that are made on the device of the network."""

    trainer_type: ClassVar[type[Trainer]] = TorchTrainer

    def problem(self) -> str | None:
        """Return what is wrong with the settings, or None."""
        problem = super().problem()
        if problem is not None:
            return problem
        for augment in self.augments:
            if not augment.works_on_tensors:
                return (
                    f"{type(augment).__name__} changes samples as a node of gunpowder only; use a "
                    "GunpowderTrainerConfig, or give the augmentation a method torch_augment"
                )
        return None
