"""The run: one task, architecture, trainer and data split, wired together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dacapo.errors import ConfigError
from dacapo.experiments.architectures import Architecture
from dacapo.experiments.build import blaming, build_network, run_seed
from dacapo.experiments.checkpoints import restore_record
from dacapo.experiments.config import built
from dacapo.experiments.datasplits import DataSplit
from dacapo.experiments.lengthen import lengthen
from dacapo.experiments.model import Model
from dacapo.experiments.preflight import SECONDS, Report, preflight
from dacapo.experiments.selection import select_best
from dacapo.experiments.starts import Start, load_start
from dacapo.experiments.stored_run import stored_config, stores_of
from dacapo.experiments.tasks import Task
from dacapo.experiments.trainers import Trainer
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_scores import ValidationScores
from dacapo.options import Options
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.utils.drawing import new_figure, style
from dacapo.utils.html import html_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dacapo.experiments.run_config import RunConfig

__all__ = [
    "Architecture",
    "DataSplit",
    "Model",
    "Run",
    "Start",
    "Task",
    "Trainer",
    "TrainingStats",
    "ValidationScores",
]


class Run:
    """A run in memory, built from its config.

    The weights of a new model depend only on the run's name and repetition (or on the trainer's seed), so building the
    same run twice gives the same model. Data is opened on the first access to :attr:`datasplit`.

    Attributes:
        config: The config the run was built from.
        name: Name of the run.
        train_until: Number of iterations to train for.
        validation_interval: Number of iterations between validations.
        task: The task to learn.
        architecture: The network body.
        trainer: Makes batches and steps the optimizer.
        model: The architecture with the task's head.
        optimizer: Optimizer of the model.
        training_stats: Loss and time of each iteration so far.
        start: Source of the initial weights, None for random ones.
        opened_from: The folder of runs that the run was opened from, None if it was not opened by its own folder.
    """

    name: str
    train_until: int
    validation_interval: int
    task: Task
    architecture: Architecture
    trainer: Trainer
    model: Model
    optimizer: torch.optim.Optimizer
    training_stats: TrainingStats

    def __init__(self, run_config: RunConfig, load_starter_model: bool = True) -> None:
        """Build the run.

        Args:
            run_config: Describes the run.
            load_starter_model: Whether to load the weights named by ``start_config``. A run that resumes from its own
                checkpoint does not need them.

        Raises:
            ConfigError: If the number of iterations or the validation interval is below 1.
        """
        if run_config.num_iterations < 1 or run_config.validation_interval < 1:
            raise ConfigError(
                f"run {run_config.name!r}: num_iterations and validation_interval must be at least 1, "
                f"got {run_config.num_iterations} and {run_config.validation_interval}"
            )
        self.config = run_config
        self.name = run_config.name
        self.train_until = run_config.num_iterations
        self.validation_interval = run_config.validation_interval
        self._datasplit: DataSplit | None = None
        self._validation_scores: ValidationScores | None = None
        self.opened_from: Path | None = None

        self.task, self.architecture, self.model = build_network(run_config)
        self.trainer = run_config.trainer_config.trainer_type(run_config.trainer_config)
        self.trainer.seed = run_seed(run_config)
        self.start = self._load_start() if load_starter_model else None
        self.optimizer = self.trainer.create_optimizer(self.model)
        self.training_stats = TrainingStats()

    def _load_start(self) -> Start | None:
        start_config = self.config.start_config
        if start_config is None:
            return None
        with blaming("start_config", "architecture_config and task_config"):
            start, self.model = load_start(start_config, self.model, self.config.task_config, self.task)
        return start

    @classmethod
    def to_train(cls, run_config: RunConfig) -> Run:
        """Build a run that starts from other weights only if it has no checkpoint of its own."""
        return cls(run_config, load_starter_model=create_weights_store().latest_iteration(run_config.name) is None)

    @classmethod
    def open(cls, run: str | Path, iteration: int | None = None, best: bool | str = False) -> Run:
        """Return a stored run as it is: with its losses, its scores, and the weights of a checkpoint.

        A run without a checkpoint is returned as it begins. Training always goes on from the latest checkpoint,
        whichever was opened.

        Args:
            run: Name of a stored run, or the folder of a run, ``<runs_base_dir>/<run>``.
            iteration: The checkpoint to load; by default the latest.
            best: Load the checkpoint that validated best, as :func:`dacapo.apply` chooses it: by this criterion, by
                ``dataset/criterion``, or with True by ``voi``.

        Raises:
            NotFoundError: If the run or the checkpoint is not stored, or no score decides.
            ConfigError: If both ``iteration`` and ``best`` are given, or the config of the run is another one than that
                of its checkpoints; the message lists the differences.
        """
        if iteration is not None and best:
            raise ConfigError(f"got iteration {iteration} and best {best!r}; give one of them")
        with stores_of(run) as name:
            opened = cls.to_train(stored_config(name))
            if not isinstance(run, str) or run != name:
                opened.opened_from = Options.instance().runs_base_dir
            weights_store = create_weights_store()
            if best or iteration is not None:
                restore_record(opened, weights_store.latest_iteration(name) or 0)
                chosen = select_best(opened, best) if iteration is None else iteration
                weights_store.load_weights(opened, chosen)
            else:
                chosen = weights_store.load_latest(opened) or 0
                restore_record(opened, chosen)
            opened.trainer.iteration = chosen
        return opened

    def lengthen(self, num_iterations: int) -> Run:
        """Train the run for more iterations in all than its config says, and store that; training comes next.

        Args:
            num_iterations: Number of all iterations, those that are done included.

        Returns:
            The run itself, with its config changed.

        Raises:
            ConfigError: If this is less than before, or the stored config of the run has been changed in another way.
            RunInUseError: If another process trains the run.
        """
        lengthen(self, num_iterations)
        return self

    @property
    def datasplit(self) -> DataSplit:
        """The datasets for training and validation."""
        if self._datasplit is None:
            self._datasplit = _create_datasplit(self.config)
        return self._datasplit

    @property
    def validation_scores(self) -> ValidationScores:
        """The scores of all validations so far."""
        if self._validation_scores is None:
            self._validation_scores = _empty_scores(self.task, self.datasplit)
        return self._validation_scores

    @staticmethod
    def get_validation_scores(run_config: RunConfig) -> ValidationScores:
        """Return the (empty) validation scores of a run without building its model, optimizer or trainer.

        Raises:
            AssertionError: If the config of the task or data split does not name the class it builds.
        """
        for part, kind in (("task_config", "task_type"), ("datasplit_config", "datasplit_type")):
            if not hasattr(getattr(run_config, part), kind):
                raise AssertionError(
                    f"run {run_config.name!r}: {part} is a {type(getattr(run_config, part)).__name__}, which has no "
                    f"{kind}; use a config of a concrete class"
                )
        task = run_config.task_config.task_type(run_config.task_config)
        return _empty_scores(task, _create_datasplit(run_config))

    def move_optimizer(self, device: torch.device, empty_cuda_cache: bool = False) -> None:
        """Move the state of the optimizer to a device.

        Args:
            device: Device of the model.
            empty_cuda_cache: Whether to release cached GPU memory afterwards.

        Raises:
            AssertionError: If the state, or that of a parameter, is not a dictionary.
        """
        states: object = self.optimizer.state
        if not isinstance(states, dict):
            raise AssertionError(
                f"the state of the optimizer is a {type(states).__name__}, expected a dictionary by parameter"
            )
        for parameter, state in states.items():
            if not isinstance(state, dict):
                raise AssertionError(
                    f"optimizer state of {_in_words(parameter)} is a {type(state).__name__}, expected a dictionary"
                )
            for key, value in state.items():
                if torch.is_tensor(value):
                    state[key] = value.to(device)
        if empty_cuda_cache and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def check(self, seconds: float = SECONDS) -> Report:
        """Look at the data before training, check that all parts fit together, and estimate memory and time.

        Reads a sample of voxels, which depends on the names of the datasets only. Printing the report shows a table.

        Args:
            seconds: Time to spend on reading voxels, about.
        """
        return preflight(self, seconds)

    def plot(self, criterion: str | None = None) -> Figure:
        """Draw the loss and the scores over iterations; opens the metadata of the validation data.

        Args:
            criterion: See :meth:`ValidationScores.plot`.

        Raises:
            MissingDependencyError: If matplotlib is not installed.
            NotFoundError: If there is no such criterion.
        """
        with style():
            figure = new_figure(11, 3.6)
            loss, scores = figure.subplots(1, 2)
            self.training_stats.draw(loss)
            self.validation_scores.draw(scores, criterion)
            figure.suptitle(self.name)
            return figure

    def _repr_html_(self) -> str:
        """Return a table of the parts and the progress, for notebooks; opens no data."""
        stats = self.training_stats.iteration_stats
        trained = f"{self.training_stats.trained_until()} of {self.train_until} iterations"
        rows = [
            ("trained", f"{trained}, last loss {stats[-1].loss:.4g}" if stats else trained),
            ("validated", f"every {self.validation_interval} iterations"),
            *((name, f"{type(getattr(self, name)).__name__}") for name in ("task", "architecture", "trainer")),
            ("parameters", f"{sum(parameter.numel() for parameter in self.model.parameters()):,}"),
            ("datasplit", self.config.datasplit_config.name),
            ("start", "random weights" if self.config.start_config is None else repr(self.config.start_config)),
        ]
        return html_table(f"Run {self.name}", [], rows)

    def __repr__(self) -> str:
        return f"Run({self.name!r}, trained {self.training_stats.trained_until()} of {self.train_until})"


def run_of(run: Run | str) -> Run:
    """Return a run, built from the store if given by name.

    Raises:
        ConfigNotFoundError: If no run of that name is stored.
    """
    if isinstance(run, Run):
        return run
    return Run(create_config_store().retrieve_run_config(run), load_starter_model=False)


def _in_words(parameter: object) -> str:
    return f"a parameter of shape {tuple(parameter.shape)}" if torch.is_tensor(parameter) else f"{parameter!r}"


def _create_datasplit(run_config: RunConfig) -> DataSplit:
    datasplit: DataSplit = built(run_config.datasplit_config, run_config.datasplit_config.datasplit_type)
    return datasplit


def _empty_scores(task: Task, datasplit: DataSplit) -> ValidationScores:
    return ValidationScores(
        parameters=list(task.parameters),
        datasets=list(datasplit.validate or []),
        evaluation_scores=task.evaluation_scores,
    )
