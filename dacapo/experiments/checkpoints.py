"""Save the progress of a training, and resume from it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dacapo.errors import ConfigError, TrainingError
from dacapo.experiments.retention import remove_old_checkpoints
from dacapo.options import Options
from dacapo.store.create_store import create_stats_store, create_weights_store
from dacapo.utils import distributed

if TYPE_CHECKING:
    from dacapo.experiments.run import Run

logger = logging.getLogger(__name__)


def resume(run: Run) -> None:
    """Load statistics, scores and the latest checkpoint of a run, if it has any; damaged ones are passed over.

    Raises:
        TrainingError: If the statistics end before the checkpoint.
        ConfigError: If the config of the run differs from that of its checkpoints, or the run was opened from a folder
            that the options do not name.
    """
    check_place(run)
    # First, since statistics count until the checkpoint that can be loaded.
    iteration = create_weights_store().load_latest(run) or 0
    restore_record(run, iteration)
    if iteration:
        logger.info("run %s resumes from iteration %d", run.name, iteration)
    run.trainer.iteration = iteration


def restore_record(run: Run, iteration: int) -> None:
    """Load statistics and scores of a run until a checkpoint.

    Raises:
        TrainingError: If the statistics end before it.
    """
    stats_store = create_stats_store()
    run.training_stats = stats_store.retrieve_training_stats(run.name)
    if run.training_stats.trained_until() < iteration:
        raise TrainingError(
            f"run {run.name!r} has a checkpoint of iteration {iteration} but statistics of only "
            f"{run.training_stats.trained_until()} iterations; restore the statistics or remove the later checkpoints"
        )
    run.training_stats.delete_after(iteration)
    scores = [s for s in stats_store.retrieve_validation_iteration_scores(run.name) if s.iteration <= iteration]
    if scores:  # otherwise the data need not be there
        run.validation_scores.scores = []
    for one in scores:
        run.validation_scores.add_iteration_scores(one)


def check_place(run: Run) -> None:
    """Check that a run that was opened from a folder will be stored there.

    Raises:
        ConfigError: If the options name another folder for runs.
    """
    place = Options.instance().runs_base_dir
    if run.opened_from is not None and run.opened_from != place.resolve():
        raise ConfigError(
            f"run {run.name!r} was opened from {run.opened_from}, but the options store runs in {place}; continue "
            f"inside 'with Options.override(runs_base_dir={str(run.opened_from)!r}):'"
        )


def save(run: Run, previous: int) -> int:
    """Store statistics, then weights; drop the previous checkpoint if nothing was validated with it.

    The order matters: on resume, statistics beyond the checkpoint can be cut, but missing ones cannot be restored. All
    ranks call this function; rank 0 writes.
    """
    iteration = run.training_stats.trained_until()
    run.trainer.collect_state()
    if distributed.is_main():
        create_stats_store().store_training_stats(run.name, run.training_stats)
        weights_store = create_weights_store()
        weights_store.store_weights(run, iteration)
        if 0 < previous < iteration and previous % run.validation_interval:
            reason = "it was not validated, so the next one replaced it"
            weights_store.remove_old(run.name, previous, reason)
        remove_old_checkpoints(run)
    return iteration
