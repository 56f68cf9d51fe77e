"""Training within a budget of memory: smaller batches, more of them in an iteration."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import attrs

from dacapo.errors import ConfigError, MemoryBudgetError
from dacapo.experiments.architectures.network_memory import training_bytes
from dacapo.utils.memory import format_size, parse_size
from dacapo.utils.memory_estimates import FETCHER_BYTES, network_bytes, process_bytes

from .batch_trainer import BatchTrainer

if TYPE_CHECKING:
    from dacapo.experiments.model import Model
    from dacapo.experiments.trainers.trainer import Trainer

logger = logging.getLogger(__name__)

# Copies of each weight: itself, and the two moments of the optimizer. Gradients are counted with the network.
_WEIGHT_COPIES = 3
# Arrays of the size of a sample, as float32, that exist while it is made.
_SAMPLE_COPIES = 8


@attrs.frozen
class TrainingMemory:
    """The memory that a training takes, in bytes.

    Attributes:
        batch_size: Samples in a batch.
        accumulate: Batches in an iteration.
        network: Forward and backward pass of a batch, gradients included.
        beside: Weights, the optimizer, and the processes.
    """

    batch_size: int
    accumulate: int
    network: int
    beside: int

    @property
    def total(self) -> int:
        """All of it together."""
        return self.network + self.beside

    def __str__(self) -> str:
        return (
            f"training on {self.accumulate} batch(es) of {self.batch_size} in an iteration takes about "
            f"{format_size(self.total)} of memory ({format_size(self.network)} for a batch)"
        )


def training_memory(trainer: BatchTrainer, model: Model, batch_size: int, accumulate: int) -> TrainingMemory:
    """Estimate the memory of a training, on the device of the network and beside it.

    Args:
        trainer: The trainer, as configured.
        model: The network.
        batch_size: Samples in a batch.
        accumulate: Batches in an iteration.
    """
    sample = 4 * math.prod(model.input_shape) * model.num_in_channels
    target = 4 * math.prod(model.output_shape) * model.num_out_channels
    network = training_bytes(model, (batch_size, model.num_in_channels, *model.input_shape))
    # The loss keeps some values for each value of the prediction, and has a target and a weight to compare it with.
    network = network_bytes(network) + batch_size * 6 * target
    weights = sum(parameter.nbytes for parameter in model.parameters())
    fetchers = trainer.num_data_fetchers
    made = _SAMPLE_COPIES * (sample + 2 * target) * (1 if fetchers == 1 else fetchers)
    processes = process_bytes() + (0 if fetchers == 1 else fetchers * FETCHER_BYTES)
    return TrainingMemory(batch_size, accumulate, network, _WEIGHT_COPIES * weights + processes + made)


def train_within(trainer: Trainer, model: Model, max_memory: str | int) -> TrainingMemory:
    """Divide the samples of an iteration into batches that fit into a budget of memory.

    An iteration trains on the same samples as before, with the same gradients but for rounding, as long as the network
    treats the samples of a batch independently (batch normalisation does not).

    Args:
        trainer: The trainer; its ``batch_size`` and ``accumulate`` are changed where there is need.
        model: The network.
        max_memory: Memory that the training may take, such as ``"8GB"``.

    Raises:
        ConfigError: If the trainer does not make batches, or the memory of the network cannot be estimated.
        MemoryBudgetError: If not even batches of one sample fit; the message says how much is enough.
    """
    limit = parse_size(max_memory)
    if not isinstance(trainer, BatchTrainer):
        raise ConfigError(
            f"max_memory is given, but {type(trainer).__name__} has no batches that could be made smaller"
        )
    samples = trainer.batch_size * trainer.accumulate
    sizes = [size for size in range(trainer.batch_size, 0, -1) if samples % size == 0]
    for size in sizes:
        try:
            memory = training_memory(trainer, model, size, samples // size)
        except (NotImplementedError, RuntimeError) as error:
            raise ConfigError(
                f"the memory of the network cannot be estimated without running it ({error}); leave out max_memory"
            ) from error
        if memory.total <= limit:
            break
    else:
        raise MemoryBudgetError(
            f"{memory}, {format_size(limit)} may be used; allow {format_size(memory.total)}, or use a smaller input "
            "shape or fewer data fetchers"
        )
    logger.info("%s, %s may be used", memory, format_size(limit))
    trainer.batch_size, trainer.accumulate = memory.batch_size, memory.accumulate
    return memory
