"""Lengthen a run, in memory and where it is stored."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs

from dacapo.errors import ConfigError, ConfigNotFoundError
from dacapo.experiments.checkpoints import check_place
from dacapo.experiments.config import changes
from dacapo.store.create_store import create_config_store
from dacapo.store.trained_config import in_words
from dacapo.store.training_lock import training_lock
from dacapo.utils import distributed

if TYPE_CHECKING:
    from dacapo.experiments.run import Run
    from dacapo.experiments.run_config import RunConfig

logger = logging.getLogger(__name__)


def lengthen(run: Run, num_iterations: int) -> None:
    """Train a run for more iterations than its config says; its stored config changes too.

    Raises:
        ConfigError: If the run is longer already, its stored config is another one, or the run was opened from a folder
            that the options do not name.
        RunInUseError: If the run is being trained.
    """
    check_place(run)
    if num_iterations < run.train_until:
        raise ConfigError(
            f"run {run.name!r} is to be trained for {run.train_until} iterations, which {num_iterations} does not "
            "lengthen; give the number of all iterations, those that are done included"
        )
    config = attrs.evolve(run.config, num_iterations=num_iterations)
    if distributed.is_main():
        with training_lock(run.name, use="changed"):
            _store(config)
    run.config, run.train_until = config, num_iterations
    decay = getattr(run.config.trainer_config, "decay_iterations", None)
    if decay is not None and decay < num_iterations:
        logger.warning(
            "the learning rate of run %s has its lowest value from iteration %d on, as its trainer's decay_iterations "
            "says; to change that, replace its config",
            run.name,
            decay,
        )


def _store(config: RunConfig) -> None:
    store = create_config_store()
    try:
        stored = store.retrieve_run_config(config.name)
    except ConfigNotFoundError:
        return  # the run was built from a config that is stored nowhere
    other = [in_words(change) for change in changes(stored, config) if change.alters_training]
    if other:
        raise ConfigError(
            f"the stored config of run {config.name!r} is another one than that of this object: {'; '.join(other)}; "
            "open the run anew with Run.open, or replace its config with dacapo.experiments.replace_config"
        )
    if stored.num_iterations != config.num_iterations:
        store.replace_run_config(attrs.evolve(stored, num_iterations=config.num_iterations))
