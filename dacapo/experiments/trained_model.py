"""The part of a run that prediction needs: its task, its model, and how the model wants its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy.typing as npt

from dacapo.errors import ConfigError
from dacapo.experiments.build import build_network
from dacapo.experiments.model import Model
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.starts import load_start
from dacapo.experiments.tasks import Task
from dacapo.store.create_store import create_config_store, create_weights_store


@attrs.define(eq=False)
class TrainedModel:
    """A model with its task, without trainer, optimizer and data split.

    Attributes:
        config: The config of the run.
        task: Its predictor knows the range of the prediction.
        model: The network.
        prepare_input: Changes raw values as every sample of the training was changed, such as by a fixed scale.
    """

    config: RunConfig
    task: Task
    model: Model
    prepare_input: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.config.name

    @classmethod
    def of(cls, run: str | Run | RunConfig | TrainedModel) -> TrainedModel:
        """Return the model of a run: that of the run itself, or a new one with random weights from its config.

        Args:
            run: A run, its config, or the name under which it is stored.

        Raises:
            ConfigNotFoundError: If no run of that name is stored.
        """
        if isinstance(run, TrainedModel):
            return run
        if isinstance(run, Run):
            return cls(run.config, run.task, run.model, run.trainer.prepare_input)
        config = create_config_store().retrieve_run_config(run) if isinstance(run, str) else run
        task, _, model = build_network(config)
        return cls(config, task, model, config.trainer_config.input_preparation())

    @classmethod
    def load(cls, run: str | Run, iteration: int | None) -> TrainedModel:
        """Return the model of a run with the weights of a checkpoint.

        Args:
            run: A stored run, or the run itself.
            iteration: The checkpoint. With None a run that is given as such keeps its weights, and a stored one gets
                those that its start names.

        Raises:
            NotFoundError: If the run or the checkpoint is not stored.
            ConfigError: If the run has no start to take weights from, or the checkpoint does not fit it.
        """
        trained = cls.of(run)
        if iteration is not None:
            create_weights_store().load_model(trained, iteration)
        elif not isinstance(run, Run):
            start_config = trained.config.start_config
            if start_config is None:
                raise ConfigError(f"the run {run!r} has no weights without a checkpoint; say which iteration to use")
            _, trained.model = load_start(start_config, trained.model, trained.config.task_config, trained.task)
        return trained
