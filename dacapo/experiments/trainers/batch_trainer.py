"""What trainers on random batches of datasets have in common: all but the making of the batches."""

from __future__ import annotations

import functools
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import attrs
import numpy as np
import torch

from dacapo.errors import BatchError, ConfigError, DacapoError, TrainingError
from dacapo.experiments.config import field
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.utils import distributed
from dacapo.utils.precision import TRAINING_PRECISIONS

from .batch_arrays import BatchArrays, batch_arrays
from .batch_sampler import BatchSampler
from .gp_augments import AugmentConfig
from .loader import TrainingBatch
from .regions import SampleRegions, check_datasets
from .schedule import learning_rate_factor
from .snapshots import write_snapshot
from .trained_network import TrainedNetwork
from .trainer import Trainer, TrainerConfig, network_seed

if TYPE_CHECKING:
    import numpy.typing as npt

    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.model import Model
    from dacapo.experiments.tasks.losses import Loss
    from dacapo.experiments.tasks.task import Task
    from dacapo.store.array_store import LocalContainerIdentifier


class BatchTrainer(Trainer):
    """Train on random, augmented samples of datasets.

    All that is random in an iteration follows from the seed and the number of the iteration. On a CPU, training that
    is resumed from saved states gives the same weights to the last bit as training that was never interrupted.

    Raw data reaches the network as float32 and otherwise as it is; scale integers with an ``IntensitiesArrayConfig``.

    Where several ranks train, each has batches of its own, and gradients and losses are the means over ranks. So n
    ranks do what one process does with n times the batch size, except for what is counted or normalized over a batch.

    A subclass says how batches are made, in ``_prepare`` and ``_open_batches``, and may do part of that work on the
    device of the network, in ``_to_device``.

    Attributes:
        kind: The trainer whose states this one takes up: itself, unless it derives from one and counts classes alike.
    """

    kind: ClassVar[str] = "BatchTrainer"

    trains_on_ranks = True

    def __init__(self, trainer_config: BatchTrainerConfig) -> None:
        """Take over the settings.

        Raises:
            ConfigError: If they cannot work.
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
        self.compile = trainer_config.compile
        self.channels_last = trainer_config.channels_last
        self.seed = trainer_config.seed or 0

        self._regions: SampleRegions | None = None
        self._loss: Loss | None = None
        self._snapshot_container: LocalContainerIdentifier | None = None
        self._entered = False
        self._batches: Iterator[TrainingBatch] | None = None
        self._next_position = 0
        # Part of the iteration that `next` gives next; None where batches are taken in other ways.
        self._given: int | None = None
        self._has_mask = False
        # Moving class counts, one entry per process that makes batches; see BatchStream.
        self._slots: list[Any] = [None] * self.num_data_fetchers
        # Those of all ranks, as of when they were last brought together.
        self._all_slots: list[Any] | None = None
        self._network: TrainedNetwork | None = None
        self._scaler_state: dict[str, Any] | None = None

    # --- what subclasses provide ---

    @abstractmethod
    def _prepare(self, datasets: Sequence[Dataset], regions: SampleRegions, task: Task) -> None:
        """Prepare the making of batches. Read no voxels yet.

        Args:
            datasets: Where samples come from; that they can be trained on was checked.
            regions: The regions of a sample.
            task: Makes targets of ground truth.
        """
        raise NotImplementedError

    @abstractmethod
    def _open_batches(self, sampling: BatchSampler, start: int) -> Iterator[TrainingBatch]:
        """Return the batches from some position on, without end, such as ``load_batches`` of a ``BatchStream``.

        Args:
            sampling: Which samples a batch holds.
            start: Position of the first batch.
        """
        raise NotImplementedError

    def _to_device(self, batch: TrainingBatch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return raw data, target and weight of a batch as float32 tensors on a device, of shape (b, c, *spatial).

        What the batch holds afterwards is what a snapshot shows, and its moving class counts are those to go on with.
        """
        raw, target, weight = (torch.from_numpy(a).to(device) for a in (batch.raw, batch.target, batch.weight))
        return raw, target, weight

    def _set_up(self) -> None:
        """Get ready to make batches; called as the context is entered, if a batch provider was built."""

    def _tear_down(self) -> None:
        """Undo ``_set_up``; called as the context is left, if a batch provider was built."""

    # --- the interface of trainers ---

    def create_optimizer(self, model: Model) -> torch.optim.Optimizer:
        """Return a RAdam optimizer, its learning rate where the warm-up begins."""
        optimizer = torch.optim.RAdam(model.parameters(), lr=self.learning_rate, decoupled_weight_decay=True)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self._set_learning_rate(optimizer, 0)
        return optimizer

    @final
    def prepare_input(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return raw values as float32, after those augmentations that change every sample alike.

        A subclass that has others to do overrides ``input_preparation`` of its config, which prediction asks.
        """
        return prepare_input(self.augments, raw)

    def can_train(self, datasets: Sequence[Dataset]) -> bool:
        """Return whether there are datasets, and all of them have ground truth."""
        return bool(datasets) and all(getattr(dataset, "gt", None) is not None for dataset in datasets)

    def build_batch_provider(
        self,
        datasets: Sequence[Dataset],
        model: Model,
        task: Task,
        snapshot_container: LocalContainerIdentifier | None = None,
    ) -> None:
        """Prepare the making of batches. Reads no voxels yet.

        Args:
            datasets: Where samples come from.
            model: The network to train.
            task: Makes targets of ground truth, and has the loss.
            snapshot_container: Zarr container for snapshots; without it none are taken.

        Raises:
            ConfigError: If dimensions or voxel sizes do not fit together, also those that augmentations are for, or
                there is nothing to train on.
            ChannelMismatchError: If raw data has another number of channels than the network takes.
            DtypeError: If ground truth is of a floating point type.
            InputTooSmallError: If a dataset is too small for ``min_masked``.
            RoiError: If raw data and ground truth of a dataset do not overlap.
        """
        if self._entered:
            raise TrainingError("leave the trainer's context before building another batch provider")
        regions = check_datasets(datasets, model, self.min_masked)
        for augment in self.augments:
            problem = augment.misfit(regions.voxel_size.dims)
            if problem is not None:
                raise ConfigError(f"{type(augment).__name__}: {problem}")
        task.predictor.world_parts = regions.world.parts
        self._prepare(datasets, regions, task)
        self._regions = regions
        self._loss = task.loss
        self._snapshot_container = snapshot_container
        self._batches = self._given = None
        self._has_mask = any(dataset.mask is not None for dataset in datasets)

    def iterate(
        self, num_iterations: int, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Iterator[TrainingIterationStats]:
        """Train for some iterations, starting with ``self.iteration``.

        Raises:
            ValueError: If ``num_iterations`` is not positive.
            TrainingError: If the trainer is not entered, a batch cannot be made, or a loss is not finite; the weights
                are then as the iteration before left them.
        """
        # A generator would raise only when its first item is asked for.
        if num_iterations <= 0:
            raise ValueError(f"num_iterations is {num_iterations}, but must be at least 1")
        return self._iterate(num_iterations, model, optimizer, device)

    def _iterate(
        self, num_iterations: int, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Iterator[TrainingIterationStats]:
        model.train()
        if self._given is not None:
            self._given = self._batches = None
        for _ in range(num_iterations):
            started = time.perf_counter()
            iteration, loss = self.iteration, self._step(model, optimizer, device)
            yield TrainingIterationStats(iteration=iteration, loss=loss, time=time.perf_counter() - started)

    def _step(self, model: Model, optimizer: torch.optim.Optimizer, device: torch.device) -> float:
        """Do one iteration and return its loss."""
        network = self._network_of(model, device)
        self._set_learning_rate(optimizer, self.iteration)
        if not model.training:  # to say it to every layer takes its time
            model.train()
        optimizer.zero_grad(set_to_none=True)
        losses, slots, shown = [], dict[int, Any](), None
        for part in range(self.accumulate):
            batch = self._batch(part)
            with network.exchanging(part == self.accumulate - 1):
                loss, prediction = self._backward(batch, network, device)
            losses.append(loss)
            slots[self._slot(batch)] = batch.moving_class_counts
            if batch.gt is not None:
                shown = batch, prediction
        value = distributed.mean(float(torch.stack(losses).mean()))
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss of iteration {self.iteration} is {value}; the weights were left as they were. Look at the "
                "raw data for values that are not finite, or lower the learning rate"
            )
        network.step(optimizer, self.clip_gradients)
        if shown is not None:
            self._take_snapshot(*shown)
        for slot, counts in slots.items():
            self._slots[slot] = counts
        self.iteration += 1
        return value

    def _backward(
        self, batch: TrainingBatch, network: TrainedNetwork, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the gradients of a batch to those of the model; return its loss and the prediction."""
        assert self._loss is not None
        _seed_network(network_seed(self.seed, batch.iteration, batch.part, distributed.rank()), device)
        raw, target, weight = self._to_device(batch, device)
        prediction = network.predict(raw)
        if prediction.shape[2:] != target.shape[2:]:
            raise TrainingError(
                f"the network predicts shape {tuple(prediction.shape)}, but targets have shape {tuple(target.shape)}"
            )
        loss = self._loss.compute(prediction, target, weight)
        network.backward(loss / self.accumulate if self.accumulate > 1 else loss)
        return loss.detach(), prediction.detach()

    def _network_of(self, model: Model, device: torch.device) -> TrainedNetwork:
        """Return the model as it is trained, the same one as long as model and device do not change."""
        if self._network is None or self._network.model is not model or self._network.device != device:
            state = self._scaling()
            self._network = TrainedNetwork(model, device, self.precision, self.channels_last, self.compile)
            self._network.load_scaler_state(state)
        return self._network

    def _take_snapshot(self, batch: TrainingBatch, prediction: torch.Tensor) -> None:
        assert self._snapshot_container is not None
        assert self._regions is not None
        write_snapshot(self._snapshot_container, batch, prediction.detach().cpu().numpy(), self._regions)

    def _set_learning_rate(self, optimizer: torch.optim.Optimizer, iteration: int) -> None:
        factor = learning_rate_factor(iteration, self.warmup_iterations, self.decay_iterations)
        for group in optimizer.param_groups:
            group["lr"] = group.get("initial_lr", self.learning_rate) * factor

    # --- batches ---

    @property
    def _sampling(self) -> BatchSampler:
        return BatchSampler(self.seed, self.batch_size, self.accumulate, distributed.rank(), distributed.world_size())

    @property
    def _shown_interval(self) -> int | None:
        """The snapshot interval, if there is where to write snapshots, and this rank is the one to write them.

        0 where ``next`` shows every batch.
        """
        if self._given is not None:
            return 0
        return self.snapshot_interval if self._snapshot_container is not None and distributed.is_main() else None

    def __iter__(self) -> Iterator[TrainingBatch]:
        """Return the batches from ``self.iteration`` on, without training; the iteration advances after its last."""
        while True:
            for part in range(self.accumulate):
                yield self._passed(part)

    def _passed(self, part: int) -> TrainingBatch:
        """Return a batch of ``self.iteration`` that is not trained on; after its last part, the iteration is over."""
        batch = self._batch(part)
        self._slots[self._slot(batch)] = batch.moving_class_counts
        if part == self.accumulate - 1:
            self.iteration = batch.iteration + 1
        return batch

    def next(self) -> BatchArrays:
        """Return the arrays of the next batch, without training; the iteration advances after its last.

        Each array has the axes batch, channel (where there are any), space. Places are relative to the input of the
        network, in world units: raw data covers all of it, the others the region that is predicted.

        Returns:
            Raw data, ground truth, target, weight and mask; the mask is None if no dataset has one.

        Raises:
            TrainingError: If the trainer is not entered, or the batch cannot be made.
        """
        if self._given is None:
            self._given, self._batches = 0, None  # batches made ahead lack ground truth
        batch = self._passed(self._given)
        self._given = (self._given + 1) % self.accumulate
        assert self._regions is not None
        return batch_arrays(batch, self._regions, self._has_mask)

    def next_batch(self) -> TrainingBatch:
        """Return the first batch of ``self.iteration``; the same again as long as the iteration does not advance.

        Raises:
            TrainingError: If the trainer is not entered, or the batch cannot be made.
        """
        return self._batch(0)

    def _batch(self, part: int) -> TrainingBatch:
        """Return a batch of ``self.iteration``."""
        if not self._entered or self._regions is None:
            raise TrainingError("call build_batch_provider and enter the trainer (`with trainer:`) before iterating")
        sampling = self._sampling
        position = sampling.position(self.iteration, part)
        if self._batches is None or self._next_position != position:
            self._batches = self._open_batches(sampling, position)
        try:
            batch = next(self._batches)
        except Exception as error:
            self._batches = None  # it cannot go on, and another call starts anew
            what = str(error)
            if not isinstance(error, DacapoError) or isinstance(error, BatchError):
                kind = "" if isinstance(error, BatchError) else f"{type(error).__name__}: "
                what = f"no batch for iteration {self.iteration}: {kind}{what.rstrip('. ')}"
            raise BatchError(what) from error
        self._next_position = position + 1
        return batch

    def _slot(self, batch: TrainingBatch) -> int:
        """Return which class counts a batch continues."""
        return self._sampling.position(batch.iteration, batch.part) % len(self._slots)

    # --- state ---

    def collect_state(self) -> None:
        """Bring the moving class counts of all ranks together, for ``state_dict``."""
        if distributed.world_size() > 1:
            self._all_slots = [counts for slots in distributed.gather(self._slots) for counts in slots]

    def state_dict(self) -> dict[str, Any]:
        """Return kind, moving class counts as tensors and plain numbers, and with float16 the state of the scaling.

        Where several ranks train, class counts are those that ``collect_state`` has brought together.
        """
        slots = self._slots if self._all_slots is None else self._all_slots
        state: dict[str, Any] = {"trainer": self.kind, "moving_class_counts": [_to_tensors(c) for c in slots]}
        scaler = self._scaling()
        return state if scaler is None else {**state, "grad_scaler": scaler}

    def _scaling(self) -> dict[str, Any] | None:
        """Return how gradients are scaled, None if they are not."""
        return self._scaler_state if self._network is None else self._network.scaler_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up moving class counts and the state of the scaling. An empty state changes nothing.

        Raises:
            TrainingError: If the state is of another kind of trainer.
        """
        if not state:
            return
        # Trainers lay out their counts in different ways, which the counts themselves do not always tell.
        kind = state.get("trainer", self.kind)
        known = {"trainer", "moving_class_counts", "grad_scaler"}
        if kind != self.kind or "moving_class_counts" not in state or not set(state) <= known:
            given = f"one with {sorted(state)}" if kind == self.kind else f"that of a {kind}"
            raise TrainingError(
                f"expected the state of a {self.kind}, got {given}; the checkpoint is of another trainer. Use the one "
                "that the run was started with, or start a new run; its start_config can take over the weights"
            )
        saved = [_to_arrays(counts) for counts in state["moving_class_counts"]]
        # With another number of processes than before, each goes on from the counts of one of the former.
        first = distributed.rank() * self.num_data_fetchers
        self._slots = [saved[slot % len(saved)] for slot in range(first, first + self.num_data_fetchers)]
        self._all_slots = None
        self._scaler_state = state.get("grad_scaler")
        self._network = None
        self._batches = None

    def __enter__(self) -> Self:
        """Get ready to make batches, if a batch provider was built."""
        if self._regions is not None:
            self._set_up()
        self._entered = True
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """End all processes that make batches, and let go of what connects this process with other ranks."""
        self._batches = self._given = None
        if self._network is not None:
            self._scaler_state, self._network = self._scaling(), None
        self._entered = False
        if self._regions is not None:
            self._tear_down()


def _seed_network(seed: int, device: torch.device) -> None:
    """Seed what layers draw from; as ``torch.manual_seed``, but for those devices only that are used."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)


def _to_tensors(counts: Any) -> Any:
    """Return class counts with tensors for arrays, because those are loaded without unpickling."""
    if isinstance(counts, list | tuple):
        return type(counts)(_to_tensors(part) for part in counts)
    if isinstance(counts, np.ndarray):
        return torch.from_numpy(counts.copy())
    return counts.item() if isinstance(counts, np.generic) else counts


def _to_arrays(counts: Any) -> Any:
    """Undo `_to_tensors`."""
    if isinstance(counts, list | tuple):
        return type(counts)(_to_arrays(part) for part in counts)
    return counts.cpu().numpy().copy() if isinstance(counts, torch.Tensor) else counts


def prepare_input(augments: Sequence[AugmentConfig], raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return raw values as float32, after those of the augmentations that change every sample alike."""
    values = raw.astype(np.float32)
    for augment in augments:
        values = augment.at_prediction(values)
    return values


@attrs.define
class BatchTrainerConfig(TrainerConfig):
    """Base of the configs of trainers on random, augmented samples."""

    trainer_type: ClassVar[type[Trainer]]

    num_data_fetchers: int = field(
        "Number of processes that make batches ahead of time; with 1 none are started.",
        default=5,
        alters_training=False,
    )
    augments: list[AugmentConfig] = field("Random changes of the samples, in the order they are done.", factory=list)
    snapshot_interval: int | None = field(
        "Iterations between snapshots of a batch; none without.", default=None, alters_training=False
    )
    min_masked: float | None = field(
        "Smallest part of a sample that must be annotated (masked in); others are not trained on.", default=0.15
    )
    clip_raw: bool = field(
        "Use raw data only where there is ground truth; around it the raw data is mirrored.", default=False
    )
    warmup_iterations: int = field(
        "Iterations during which the learning rate grows from 1% to its full value.", default=1000, kw_only=True
    )
    decay_iterations: int | None = field(
        "Iteration at which the learning rate is back at 1%, falling along a cosine after the warm-up; by default it "
        "stays.",
        default=None,
        kw_only=True,
    )

    precision: str = field(
        "How the network computes while training: 'float32', or mixed precision, which is faster and a little less "
        "exact: 'bfloat16', or 'float16' with scaled gradients for GPUs that have no bfloat16. Weights stay float32.",
        default="float32",
        kw_only=True,
    )
    accumulate: int = field(
        "Number of batches in an iteration. Their gradients are averaged before the optimizer does its step, so "
        "n batches train like one batch of n times the size, in the memory of one.",
        default=1,
        alters_training=False,
        kw_only=True,
    )
    clip_gradients: float | None = field(
        "Largest norm of all gradients together; longer ones are scaled down to it. Not limited if left out.",
        default=None,
        kw_only=True,
    )
    channels_last: bool = field(
        "Keep the channels of a voxel next to each other in memory, which makes convolutions faster on some hardware. "
        "Mixed precision always does.",
        default=False,
        alters_training=False,
        kw_only=True,
    )
    compile: bool = field(
        "Compile the network with torch.compile, which takes minutes at the beginning and makes iterations faster.",
        default=False,
        alters_training=False,
        kw_only=True,
    )

    def input_preparation(self) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
        """Return the function that changes raw values as the augmentations change every sample; no trainer is built."""
        return functools.partial(prepare_input, list(self.augments))

    def verify(self) -> tuple[bool, str]:
        """Check that the settings can work."""
        problem = self.problem()
        return (False, problem) if problem is not None else TrainerConfig.verify(self)

    def problem(self) -> str | None:
        """Return what is wrong with the settings, or None."""
        fine, reason = TrainerConfig.verify(self)
        if not fine:
            return reason
        if self.num_data_fetchers < 0:
            return f"num_data_fetchers is {self.num_data_fetchers}, but cannot be negative"
        if self.min_masked is not None and not 0 <= self.min_masked <= 1:
            return f"min_masked is {self.min_masked}, but is a part of a sample, from 0 to 1"
        if self.snapshot_interval is not None and self.snapshot_interval < 1:
            return f"snapshot_interval is {self.snapshot_interval}, but must be at least 1, or None for no snapshots"
        if self.precision not in TRAINING_PRECISIONS:
            return f"precision is {self.precision!r}, but must be one of {', '.join(TRAINING_PRECISIONS)}"
        if self.accumulate < 1:
            return f"accumulate is {self.accumulate}, but an iteration needs at least 1 batch"
        if self.clip_gradients is not None and not self.clip_gradients > 0:
            return f"clip_gradients is {self.clip_gradients}, but must be above 0, or None for no limit"
        if self.warmup_iterations < 0:
            return f"warmup_iterations is {self.warmup_iterations}, but cannot be negative"
        if self.decay_iterations is not None and self.decay_iterations <= self.warmup_iterations:
            return (
                f"decay_iterations is {self.decay_iterations}, but must be above "
                f"warmup_iterations = {self.warmup_iterations}"
            )
        return None
