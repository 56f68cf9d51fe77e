"""Change the config of a run on purpose, without giving up its checkpoints."""

from __future__ import annotations

import logging
from typing import Any

from dacapo.errors import ConfigError, DacapoError
from dacapo.experiments.config import ConfigChange, changes
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.stored_run import stored_config
from dacapo.store.converter import from_plain
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.store.trained_config import in_words
from dacapo.store.training_lock import training_lock

logger = logging.getLogger(__name__)


def config_changes(config: RunConfig) -> list[ConfigChange]:
    """Return the differences between a config and the one that the run of its name was trained with, or is stored with.

    Raises:
        ConfigNotFoundError: If no run of that name is stored.
    """
    return list(changes(_trained_config(config.name), config))


def _trained_config(name: str) -> RunConfig:
    plain = create_weights_store().recorded_config(name)
    source = f"the checkpoints of run {name!r}"
    return stored_config(name) if plain is None else from_plain(plain, RunConfig, source=source)


def replace_config(config: RunConfig, drop_scores: bool = False) -> list[ConfigChange]:
    """Let a stored run go on with another config, from the checkpoints that it has.

    The old config stays on record: in ``checkpoints/config.yaml.<number>`` beside the new one, with the iteration at
    which it was replaced. In the latest checkpoint, settings of the optimizer such as the learning rate become those of
    the new config; its weights and the losses so far stay as they are.

    Args:
        config: The new config; its name is that of the run.
        drop_scores: Whether to delete the validation scores so far. They have to go if the new config validates on
            other datasets or with other parameters, because scores of both could not be compared.

    Returns:
        The differences from the old config.

    Raises:
        ConfigNotFoundError: If no run of that name is stored.
        ConfigError: If the checkpoints do not fit the new config, or the scores do not and are not to be dropped.
        RunInUseError: If the run is being trained.
    """
    with training_lock(config.name, use="changed"):
        return _replace(_trained_config(config.name), config, drop_scores)


def _replace(old: RunConfig, config: RunConfig, drop_scores: bool) -> list[ConfigChange]:
    found = list(changes(old, config))
    run, weights = Run(config, load_starter_model=False), create_weights_store()
    latest = weights.latest_iteration(config.name)
    settings = _settings(run)
    if latest is not None:
        weights.retrieve_weights(config.name, latest).put_into(run)
    if not drop_scores:
        _check_scores(run)
    if latest is not None and found:
        _change_settings(run, _settings(Run(old, load_starter_model=False)), settings)
        weights.replace_config(run)
        weights.store_weights(run, latest)
    create_config_store().replace_run_config(config)
    if drop_scores:
        create_stats_store().delete_validation_scores(config.name)
    for change in found:
        logger.info("run %s, from iteration %d on: %s", config.name, latest or 0, in_words(change))
    return found


def _settings(run: Run) -> list[dict[str, Any]]:
    """Return the settings of the groups of parameters of an optimizer."""
    return [{name: value for name, value in group.items() if name != "params"} for group in run.optimizer.param_groups]


def _change_settings(run: Run, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    """Change the settings of the optimizer that differ between its old and its new config; others are of training."""
    for group, before, after in zip(run.optimizer.param_groups, old, new, strict=True):
        group.update({name: value for name, value in after.items() if before.get(name) != value})


def _check_scores(run: Run) -> None:
    for scores in create_stats_store().retrieve_validation_iteration_scores(run.name):
        try:
            run.validation_scores.add_iteration_scores(scores)
        except DacapoError as error:
            raise ConfigError(
                f"the scores of run {run.name!r} do not fit the new config: {error}; drop them with drop_scores=True "
                "(--drop-scores), or store the config as that of a new run"
            ) from error
