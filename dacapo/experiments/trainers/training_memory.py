"""Train within a memory limit, by dividing an iteration into smaller batches, or refuse what cannot fit."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import attrs

from dacapo.errors import ConfigError, MemoryBudgetError
from dacapo.experiments.architectures.network_memory import training_bytes
from dacapo.utils.cores import local_ranks
from dacapo.utils.memory import format_size, parse_size, process_memory
from dacapo.utils.memory_estimates import (
    free_memory,
    least_batch_bytes,
    least_trainer_bytes,
    trained_batch_bytes,
    trainer_bytes,
    unknown_network_bytes,
)

from .batch_trainer import BatchTrainer

if TYPE_CHECKING:
    import torch

    from dacapo.experiments.model import Model
    from dacapo.experiments.trainers.trainer import Trainer

logger = logging.getLogger(__name__)


@attrs.frozen
class TrainingMemory:
    """The memory of a training, in bytes.

    Attributes:
        batch_size: Number of samples in a batch.
        accumulate: Number of batches in an iteration.
        network: Memory of a batch in a forward and a backward pass, with gradients.
        rest: Memory of the weights, the optimizer, and the processes.
    """

    batch_size: int
    accumulate: int
    network: int
    rest: int

    @property
    def total(self) -> int:
        """All of the memory."""
        return self.network + self.rest

    def __str__(self) -> str:
        return (
            f"an iteration with {self.accumulate} x {self.batch_size} samples takes about "
            f"{format_size(self.total)} of memory ({format_size(self.network)} for a batch)"
        )


def training_memory(trainer: BatchTrainer, model: Model, batch_size: int, accumulate: int) -> TrainingMemory:
    """Estimate the memory of a training, on the device of the network and in main memory.

    Args:
        trainer: The trainer.
        model: The network.
        batch_size: Number of samples in a batch.
        accumulate: Number of batches in an iteration.
    """
    sample = math.prod(model.input_shape) * model.num_in_channels
    predicted = math.prod(model.output_shape) * model.num_out_channels
    tensors = training_bytes(model, (batch_size, model.num_in_channels, *model.input_shape))
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return TrainingMemory(
        batch_size,
        accumulate,
        trained_batch_bytes(tensors, batch_size * predicted),
        trainer_bytes(weights, sample, predicted, trainer.num_data_fetchers, trainer.ema_decay is not None),
    )


def train_within(trainer: Trainer, model: Model, max_memory: str | int) -> TrainingMemory:
    """Divide the samples of an iteration into batches that fit into memory.

    An iteration trains on the same samples as before, and has the same gradients up to rounding if the network treats
    the samples of a batch independently (batch normalization does not).

    Args:
        trainer: The trainer; its ``batch_size`` and ``accumulate`` are changed if necessary.
        model: The network.
        max_memory: Memory limit of the training, such as ``"8GB"``.

    Raises:
        ConfigError: If the trainer does not make batches, or the memory of the network cannot be estimated.
        MemoryBudgetError: If not even batches of one sample fit; the message says how much is enough.
    """
    limit = parse_size(max_memory)
    if not isinstance(trainer, BatchTrainer):
        raise ConfigError(f"max_memory is given, but {type(trainer).__name__} has no batches to make smaller; omit it")
    samples = trainer.batch_size * trainer.accumulate
    sizes = [size for size in range(trainer.batch_size, 0, -1) if samples % size == 0]
    for size in sizes:
        try:
            memory = training_memory(trainer, model, size, samples // size)
        except (NotImplementedError, RuntimeError) as error:
            raise unknown_network_bytes(error) from error
        if memory.total <= limit:
            break
    else:
        raise MemoryBudgetError(
            f"{memory}, {format_size(limit)} may be used; allow {format_size(memory.total)}, or use a smaller input "
            "shape or a lower num_data_fetchers"
        )
    logger.info("%s, %s may be used", memory, format_size(limit))
    trainer.batch_size, trainer.accumulate = memory.batch_size, memory.accumulate
    return memory


def check_memory(trainer: Trainer, model: Model, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Refuse a training without a limit that cannot fit into the main memory that is free.

    Only memory counts that the training takes for certain, and on a GPU none of what lies there; a network whose memory
    cannot be estimated is not refused. Before that, fewer processes make batches, which are the same.

    Args:
        trainer: The trainer; its ``num_data_fetchers`` is changed if necessary.
        model: The network.
        optimizer: Its optimizer.
        device: Device to train on.

    Raises:
        MemoryBudgetError: If it does not fit; the message says how much it takes at least.
    """
    free = free_memory()
    if free is None or not isinstance(trainer, BatchTrainer):
        return
    usable = free // local_ranks() + (process_memory() or 0)
    try:
        memory = least_memory(trainer, model, optimizer, device)
    except (NotImplementedError, RuntimeError) as error:
        logger.info("the memory of the training is not checked, since that of the network is unknown: %s", error)
        return
    asked = trainer.num_data_fetchers
    while memory.total > usable and trainer.num_data_fetchers > 1:
        trainer.num_data_fetchers -= 1
        memory = attrs.evolve(memory, rest=_least_rest(trainer, model, optimizer, device))
    if memory.total > usable:
        trainer.num_data_fetchers = asked
        raise MemoryBudgetError(
            f"{memory} at the least, but only {format_size(usable)} may be used; use a smaller batch_size or input "
            "shape, or give max_memory (--max-memory), which divides the samples of an iteration into smaller batches"
        )
    if trainer.num_data_fetchers < asked:
        logger.warning(
            "%d processes make batches instead of num_data_fetchers %d, since only %s of memory may be used",
            trainer.num_data_fetchers,
            asked,
            format_size(usable),
        )


def least_memory(
    trainer: BatchTrainer, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
) -> TrainingMemory:
    """Return the main memory that a training takes for certain, with what this process holds already.

    Raises:
        NotImplementedError: If the memory of the network cannot be estimated; or a RuntimeError.
    """
    network = 0
    if device.type == "cpu":
        tensors = training_bytes(model, (trainer.batch_size, model.num_in_channels, *model.input_shape))
        network = least_batch_bytes(tensors, trainer.compile or trainer.precision != "float32")
    rest = _least_rest(trainer, model, optimizer, device)
    return TrainingMemory(trainer.batch_size, trainer.accumulate, network, rest)


def _least_rest(trainer: BatchTrainer, model: Model, optimizer: torch.optim.Optimizer, device: torch.device) -> int:
    # A resumed training holds the state of the optimizer already.
    is_new = device.type == "cpu" and not optimizer.state
    weights = sum(parameter.nbytes for parameter in model.parameters()) if is_new else 0
    values = trainer.batch_size * math.prod(model.input_shape) * model.num_in_channels
    averages = trainer.ema_decay is not None
    return (process_memory() or 0) + least_trainer_bytes(weights, values, trainer.num_data_fetchers, averages)
