"""Training on random samples of datasets."""

from __future__ import annotations

import logging
import math
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import torch

from dacapo.errors import ConfigError, TrainingError
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.utils import distributed
from dacapo.utils.cores import within_job

from .batch_arrays import BatchArrays, batch_arrays
from .batch_sampler import BatchSampler
from .batch_trainer_config import BatchTrainerConfig, prepare_input
from .collate import CPU
from .loader import BatchLoader
from .regions import SampleRegions, check_datasets
from .sampler import PatchSampler
from .schedule import learning_rate_factor
from .snapshots import write_snapshot
from .trained_network import TrainedNetwork
from .trainer import Trainer, network_seed
from .trainer_state import from_state, to_state
from .weight_average import WeightAverage
from .weighting import TrainingBatch

if TYPE_CHECKING:
    import numpy.typing as npt

    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.model import Model
    from dacapo.experiments.tasks.losses import Loss
    from dacapo.experiments.tasks.task import Task
    from dacapo.store.array_store import LocalContainerIdentifier

logger = logging.getLogger(__name__)


class BatchTrainer(Trainer):
    """Train on random, augmented samples of datasets.

    All random numbers of an iteration follow from the seed and the number of the iteration. On a CPU, a training
    resumed from saved states gives the same weights, to the last bit, as one that was never interrupted.

    The network gets raw data as float32, otherwise unchanged; scale integers with an ``IntensitiesArrayConfig``.

    With several ranks, each has its own batches, and gradients and losses are means over ranks. So n ranks train like
    one process with n times the batch size, except for statistics over a batch, such as those of batch normalization.

    With ``ema_decay``, the model holds the average of its weights whenever it is not trained: outside of the trainer's
    context, in checkpoints, and after :meth:`use_average` until the next iteration.

    Weights balance classes by their frequency in all batches so far, including the current one. Classes are counted
    where batches are put in order, so neither samples nor weights depend on the number of worker processes.

    A subclass provides the sampler.

    Attributes:
        kind: The trainer whose checkpoints this one can resume.
    """

    kind: ClassVar[str] = "BatchTrainer"

    trains_on_ranks = True

    def __init__(self, trainer_config: BatchTrainerConfig) -> None:
        """Take over the settings.

        Raises:
            ConfigError: If they are invalid.
        """
        problem = trainer_config.problem()
        if problem is not None:
            raise ConfigError(f"trainer {trainer_config.name!r}: {problem}")
        self.learning_rate = trainer_config.learning_rate
        self.batch_size = trainer_config.batch_size
        self.num_data_fetchers = max(1, trainer_config.num_data_fetchers)
        self.augments = list(trainer_config.augments)
        self.snapshot_interval = trainer_config.snapshot_interval
        self.min_masked = trainer_config.min_masked or 0.0
        self.clip_raw = trainer_config.clip_raw
        self.warmup_iterations = trainer_config.warmup_iterations
        self.decay_iterations = trainer_config.decay_iterations
        self.precision = trainer_config.precision
        self.accumulate = trainer_config.accumulate
        self.clip_gradients = trainer_config.clip_gradients
        self.ema_decay = trainer_config.ema_decay
        self.compile = trainer_config.compile
        self.channels_last = trainer_config.channels_last
        self.seed = trainer_config.seed or 0

        self._loader: BatchLoader | None = None
        self._is_entered = False
        self._loss: Loss | None = None
        self._snapshot_container: LocalContainerIdentifier | None = None
        self._has_mask = False
        self._device = CPU
        # The part of the iteration that `next` returns next; None if batches are taken in another way.
        self._next_part: int | None = None
        self._class_counts: Any = None
        # Those of all ranks, as of the last `collect_state`.
        self._counts_of_ranks: list[Any] | None = None
        self._network: TrainedNetwork | None = None
        self._scaler_state: dict[str, Any] | None = None
        self._average: WeightAverage | None = None

    @abstractmethod
    def _make_sampler(self, datasets: Sequence[Dataset], regions: SampleRegions, task: Task) -> PatchSampler:
        """Return the sampler. Reads no voxels.

        Args:
            datasets: Datasets that can be trained on.
            regions: The regions of a sample.
            task: Has the predictor.
        """
        raise NotImplementedError

    # --- the interface of trainers ---

    def create_optimizer(self, model: Model) -> torch.optim.Optimizer:
        """Return a RAdam optimizer with the learning rate of the first iteration."""
        optimizer = torch.optim.RAdam(model.parameters(), lr=self.learning_rate, decoupled_weight_decay=True)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self._set_learning_rate(optimizer, 0)
        return optimizer

    @final
    def prepare_input(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return raw values as float32, after the augmentations that change every sample alike.

        A subclass with other preparations overrides ``input_preparation`` of its config, which prediction asks.
        """
        return prepare_input(self.augments, raw)

    def can_train(self, datasets: Sequence[Dataset]) -> bool:
        """Return whether all datasets, at least one, have ground truth."""
        return bool(datasets) and all(getattr(dataset, "gt", None) is not None for dataset in datasets)

    def build_batch_provider(
        self,
        datasets: Sequence[Dataset],
        model: Model,
        task: Task,
        snapshot_container: LocalContainerIdentifier | None = None,
    ) -> None:
        """Prepare the making of batches. Reads no voxels.

        Args:
            datasets: Datasets to draw samples from.
            model: The network to train.
            task: Has the predictor, which makes targets from ground truth, and the loss.
            snapshot_container: Zarr container for snapshots; without it none are taken.

        Raises:
            ConfigError: If the dimensions or voxel sizes of datasets, network and augmentations do not match, or
                there are no datasets.
            ChannelMismatchError: If raw data has another number of channels than the network takes.
            DtypeError: If ground truth is of a floating point type.
            InputTooSmallError: If a dataset is too small for ``min_masked``.
            RoiError: If raw data and ground truth of a dataset do not overlap.
        """
        if self._is_entered:
            raise TrainingError("leave the trainer's context before building another batch provider")
        regions = check_datasets(datasets, model, self.min_masked)
        task.predictor.world_parts = regions.world.parts
        self._fit_fetchers()
        self._loader = BatchLoader(self._make_sampler(datasets, regions, task), self.num_data_fetchers)
        self._loss = task.loss
        self._snapshot_container = snapshot_container
        self._next_part = None
        self._has_mask = any(dataset.mask is not None for dataset in datasets)

    def _fit_fetchers(self) -> None:
        fitting = within_job(self.num_data_fetchers)
        if fitting < self.num_data_fetchers:
            logger.warning(
                "%d processes make batches instead of num_data_fetchers %d, since the job has no more cores for them; "
                "ask for more, for example by --cpus-per-task",
                fitting,
                self.num_data_fetchers,
            )
            self.num_data_fetchers = fitting

    def iterate(
        self, num_iterations: int, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Iterator[TrainingIterationStats]:
        """Train for some iterations, starting with ``self.iteration``.

        Raises:
            ValueError: If ``num_iterations`` is not positive.
            TrainingError: If the trainer is not entered, a batch cannot be made, or a loss is not finite; the weights
                then stay as the previous iteration left them.
        """
        # A generator would raise only when its first item is requested.
        if num_iterations <= 0:
            raise ValueError(f"num_iterations is {num_iterations}, but must be at least 1")
        return self._iterate(num_iterations, model, optimizer, device)

    def _iterate(
        self, num_iterations: int, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Iterator[TrainingIterationStats]:
        model.train()
        self._device, self._next_part = device, None
        for _ in range(num_iterations):
            started = time.perf_counter()
            iteration, loss = self.iteration, self._step(model, optimizer, device)
            yield TrainingIterationStats(iteration=iteration, loss=loss, time=time.perf_counter() - started)

    def _step(self, model: Model, optimizer: torch.optim.Optimizer, device: torch.device) -> float:
        """Do one iteration and return its loss."""
        network = self._network_of(model, device)
        average = self._average_of(model)
        self._set_learning_rate(optimizer, self.iteration)
        if not model.training:  # telling every layer takes time
            model.train()
        optimizer.zero_grad(set_to_none=True)
        losses, shown = [], None
        for part in range(self.accumulate):
            batch = self._batch(part)
            assert self._loss is not None
            seed = network_seed(self.seed, batch.iteration, part, distributed.rank())
            last = part == self.accumulate - 1
            loss, prediction = network.add_gradients(batch, self._loss, seed, self.accumulate, last)
            losses.append(loss)
            if batch.gt is not None:
                shown = batch, prediction
        value = distributed.mean(float(torch.stack(losses).mean()))
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss of iteration {self.iteration} is {value}; the weights were left unchanged. Check the raw "
                "data for values that are not finite, or lower the learning rate"
            )
        network.step(optimizer, self.clip_gradients)
        if average is not None:
            average.update(model)
        if shown is not None:
            assert self._snapshot_container is not None
            write_snapshot(self._snapshot_container, shown[0].on_cpu(), shown[1].numpy(force=True), self._regions)
        self._class_counts = batch.moving_class_counts
        self.iteration += 1
        return value

    def _network_of(self, model: Model, device: torch.device) -> TrainedNetwork:
        """Return the network for a model and a device, the same one until either changes."""
        if self._network is None or self._network.model is not model or self._network.device != device:
            state = self._scaling()
            self._network = TrainedNetwork(model, device, self.precision, self.channels_last, self.compile, state)
        return self._network

    def _average_of(self, model: Model) -> WeightAverage | None:
        """Return the average of the weights, if there is one to be, and give the model those that are trained."""
        if self._average is not None:
            self._average.hide(model)
        if self.ema_decay is None:
            self._average = None
        elif self._average is None:
            self._average = WeightAverage.of_model(model, self.ema_decay)
        return self._average

    def use_average(self, model: Model) -> None:
        """Give the model the average of its weights, if it is averaged, until the next iteration."""
        if self._average is not None:
            self._average.show(model)

    def _set_learning_rate(self, optimizer: torch.optim.Optimizer, iteration: int) -> None:
        factor = learning_rate_factor(iteration, self.warmup_iterations, self.decay_iterations)
        for group in optimizer.param_groups:
            group["lr"] = group.get("initial_lr", self.learning_rate) * factor

    # --- batches ---

    def __iter__(self) -> Iterator[TrainingBatch]:
        """Return the batches from ``self.iteration`` on, without training; the iteration advances after its last."""
        while True:
            for part in range(self.accumulate):
                yield self._take(part)

    def next(self) -> BatchArrays:
        """Return the arrays of the next batch, without training; the iteration advances after its last.

        The axes are batch, channel (if any), space. Regions are relative to the input of the network, in world units:
        raw data covers all of it, the other arrays the region that is predicted.

        Returns:
            Raw data, ground truth, target, weight and mask; the mask is None if no dataset has one.

        Raises:
            TrainingError: If the trainer is not entered, or the batch cannot be made.
        """
        part = self._next_part or 0
        self._next_part = part  # from now on, batches have ground truth
        batch = self._take(part)
        self._next_part = (part + 1) % self.accumulate
        return batch_arrays(batch.on_cpu(), self._regions, self._has_mask)

    def next_batch(self) -> TrainingBatch:
        """Return the first batch of ``self.iteration``; the same again until the iteration advances.

        Raises:
            TrainingError: If the trainer is not entered, or the batch cannot be made.
        """
        return self._batch(0)

    def _take(self, part: int) -> TrainingBatch:
        """Return a batch of ``self.iteration`` that is not trained on; after its last part, the iteration is over."""
        batch = self._batch(part)
        self._class_counts = batch.moving_class_counts
        if part == self.accumulate - 1:
            self.iteration = batch.iteration + 1
        return batch

    def _batch(self, part: int) -> TrainingBatch:
        """Return a batch of ``self.iteration``."""
        if not self._is_entered or self._loader is None:
            raise TrainingError("call build_batch_provider and enter the trainer (`with trainer:`) before iterating")
        batches = BatchSampler(
            self.seed, self.batch_size, self.accumulate, distributed.rank(), distributed.world_size()
        )
        position = batches.position(self.iteration, part)
        return self._loader.load(position, batches, self._device, self._class_counts, self._interval_shown)

    @property
    def _interval_shown(self) -> int | None:
        """The interval of batches with ground truth and mask, 0 if ``next`` shows all, None if this rank shows none."""
        if self._next_part is not None:
            return 0
        return self.snapshot_interval if self._snapshot_container is not None and distributed.is_main() else None

    @property
    def _regions(self) -> SampleRegions:
        assert self._loader is not None
        return self._loader.sampler.regions

    # --- state ---

    def collect_state(self) -> None:
        """Collect the class counts of all ranks for ``state_dict``."""
        if distributed.world_size() > 1:
            self._counts_of_ranks = distributed.gather(self._class_counts)

    def state_dict(self) -> dict[str, Any]:
        """Return kind, class counts as tensors and plain numbers, and, if used, the states of scaler and average.

        With several ranks, class counts are those that ``collect_state`` collected.
        """
        counts = [self._class_counts] if self._counts_of_ranks is None else self._counts_of_ranks
        average = None if self._average is None else self._average.state()
        return to_state(self.kind, counts, self._scaling(), average)

    def _scaling(self) -> dict[str, Any] | None:
        """Return the state of the gradient scaler, None without one."""
        return self._scaler_state if self._network is None else self._network.scaler_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore class counts and the states of gradient scaler and average. An empty state changes nothing.

        Raises:
            TrainingError: If the state is of another kind of trainer.
        """
        if not state:
            return
        counts, self._scaler_state, average = from_state(self.kind, state)
        # Without a decay, the average is dropped at the next iteration, which goes on from the weights beside it.
        self._average = None if average is None else WeightAverage.from_state(average, self.ema_decay or 0.0)
        # The number of ranks may be another one than before.
        self._class_counts = counts[distributed.rank() % len(counts)]
        self._counts_of_ranks = None
        self._network = None
        if self._loader is not None:
            self._loader.close()

    def __enter__(self) -> Self:
        """Get ready to make batches, if a batch provider was built."""
        if self._loader is not None:
            self._loader.sampler.__enter__()
        self._is_entered = True
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """End all worker processes, release the connections to other ranks, and give the model its averaged weights."""
        self._next_part = None
        if self._network is not None:
            self.use_average(self._network.model)
            self._scaler_state, self._network = self._scaling(), None
        self._is_entered = False
        if self._loader is not None:
            self._loader.close()
            self._loader.sampler.__exit__()
