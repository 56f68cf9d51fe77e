"""Build the network of a run from its config."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from dacapo.errors import DacapoError
from dacapo.experiments.architectures import Architecture
from dacapo.experiments.model import Model
from dacapo.experiments.tasks import Task
from dacapo.utils.seeding import seed_from

if TYPE_CHECKING:
    from dacapo.experiments.run_config import RunConfig


def run_seed(config: RunConfig) -> int:
    """Return the seed of all randomness of a run: the trainer's, or else one derived from its name and repetition."""
    configured = config.trainer_config.seed
    return seed_from(config.name, config.repetition) if configured is None else configured


def build_network(config: RunConfig) -> tuple[Task, Architecture, Model]:
    """Build the task and the network of a run, whose random weights depend only on the seed of the run.

    The random state of the process stays unchanged.

    Raises:
        DacapoError: If the task cannot use the architecture; the message begins with the field of the config.
    """
    task: Task = config.task_config.task_type(config.task_config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run_seed(config))
        architecture: Architecture = config.architecture_config.architecture_type(config.architecture_config)
        with blaming("architecture_config", "task_config"):
            return task, architecture, task.create_model(architecture)


@contextmanager
def blaming(place: str, other: str, subject: str = "") -> Iterator[None]:
    """Prefix errors with the path to a field of a run's config, and append the part that the field has to fit."""
    try:
        yield
    except DacapoError as error:
        raise type(error)(f"{place}: {subject}{error} (to fit {other})") from error
