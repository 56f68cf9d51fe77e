"""A whole run for a data split."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dacapo.compute_context import create_compute_context
from dacapo.experiments.architectures import ArchitectureConfig
from dacapo.experiments.datasplits import DataSplitConfig
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.starts import StartConfig
from dacapo.experiments.tasks import TaskConfig
from dacapo.experiments.trainers import TrainerConfig
from dacapo.utils.memory import parse_size
from dacapo.utils.memory_estimates import DEFAULT_SHARE, default_memory

from .facts import Facts, facts_of
from .network import default_network
from .task import instance_task, semantic_task
from .trainer import default_trainer

ITERATIONS = 2000
VALIDATIONS = 4


def default_run_config(
    datasplit_config: DataSplitConfig,
    name: str,
    *,
    num_iterations: int = ITERATIONS,
    classes: Sequence[str] | None = None,
    task_config: TaskConfig | None = None,
    architecture_config: ArchitectureConfig | None = None,
    trainer_config: TrainerConfig | None = None,
    start_config: StartConfig | None = None,
    validation_interval: int | None = None,
    seed: int | None = None,
    max_memory: str | int | None = None,
    facts: Facts | None = None,
) -> RunConfig:
    """Return the config of a run on a data split, such as one of a ``DataSplitGenerator``, with what is given.

    Args:
        datasplit_config: The data.
        name: Name of the run.
        num_iterations: Number of iterations.
        classes: Names of the classes of the labels, from 0 on, for a semantic segmentation; without them, labels are
            those of objects.
        task_config: The task, in place of the one for objects or classes.
        architecture_config: The network, in place of a small U-Net that fits into the data and the memory.
        trainer_config: The trainer.
        start_config: Initial weights.
        validation_interval: Iterations between validations; by default there are four of them.
        seed: Seed of all randomness; by default it follows from the name.
        max_memory: Memory of the training, such as ``"8GB"``; by default half of what is free.
        facts: What is known about the data; by default it is opened.

    Raises:
        ConfigError: If training datasets differ, or there is none.
        InputTooSmallError: If the data is too small for the network.
        MemoryBudgetError: If not even the smallest network fits into the memory.
    """
    facts = facts or facts_of(datasplit_config)
    if task_config is None:
        task_config = instance_task(facts) if classes is None else semantic_task(classes)
    if architecture_config is None:
        device = create_compute_context().device
        architecture_config = default_network(facts, _memory(device, max_memory), device.type == "cuda")
    return RunConfig(
        name=name,
        repetition=0,
        num_iterations=num_iterations,
        validation_interval=validation_interval or math.ceil(num_iterations / VALIDATIONS),
        task_config=task_config,
        architecture_config=architecture_config,
        trainer_config=trainer_config or default_trainer(num_iterations, seed),
        datasplit_config=datasplit_config,
        start_config=start_config,
    )


def _memory(device: torch.device, max_memory: str | int | None) -> int | None:
    """Return the memory that training may take on a device; None if it is unknown."""
    if max_memory is not None:
        return parse_size(max_memory)
    if device.type == "cuda":
        return int(DEFAULT_SHARE * torch.cuda.mem_get_info(device)[0])
    return default_memory()
