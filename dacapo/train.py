"""Train a run, from the beginning or from where it stopped."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from dacapo.compute_context import create_compute_context
from dacapo.errors import BatchError, ConfigError
from dacapo.experiments.checkpoints import resume, save
from dacapo.experiments.fit import check_training, check_validation
from dacapo.experiments.preflight import check_data
from dacapo.experiments.run import Run
from dacapo.experiments.trainers.training_memory import train_within
from dacapo.options import Options
from dacapo.store.create_store import create_array_store, create_config_store, create_weights_store
from dacapo.utils import distributed
from dacapo.utils.interrupts import SafeStop
from dacapo.utils.progress import progress
from dacapo.validate import validate_run

if TYPE_CHECKING:
    import torch
    from tqdm import tqdm

logger = logging.getLogger(__name__)

# Seconds of work that a crash may cost at most, beside the work since the last validation.
CHECKPOINT_SECONDS = 600


@Options.kept()
def train(run_name: str, max_memory: str | int | None = None, check: bool = True) -> Run:
    """Train a stored run until it is done, going on from its last checkpoint if there is one.

    See :func:`train_run`.

    Raises:
        ConfigNotFoundError: If there is no such run.
        KeyboardInterrupt: If it was asked to stop; everything is saved then.
    """
    with distributed.process_group():
        run = load_run(run_name)
        stopped = train_or_stop(run, max_memory, check)
    return _or_interrupt(stopped, run)


def load_run(run_name: str) -> Run:
    """Return a stored run to train; it loads the weights that it starts from only before its first checkpoint.

    Raises:
        ConfigNotFoundError: If there is no such run.
    """
    return Run.to_train(create_config_store().retrieve_run_config(run_name))


def train_run(run: Run, max_memory: str | int | None = None, check: bool = True) -> Run:
    """Train a run until ``run.train_until``, validating every ``run.validation_interval`` iterations.

    A run that was trained before goes on from its last checkpoint, with model, optimizer, trainer and statistics as
    they were. The first Ctrl-C finishes the iteration at hand, saves everything and then raises, so that a script does
    not go on with a network that is half trained; so does SIGTERM. A checkpoint is also saved every ten minutes, and
    removed when the next one is there unless it was validated. That the run can be trained and validated is checked
    first; see :mod:`dacapo.experiments.fit`. Before its first iteration, a run also looks at a sample of its data for a
    few seconds, and logs what is odd; see :mod:`dacapo.experiments.preflight`.

    Where a launcher such as torchrun has started several processes, they train together, each with batches of its own
    and on its own GPU. They stop all at the same iteration, and only rank 0 writes. The number of processes may change
    when a run is resumed.

    Args:
        run: The run.
        max_memory: What the training may take, such as ``"8GB"``, each process of several. The samples of an iteration
            are divided into smaller batches where there is need.
        check: Whether to look at the data before the first iteration.

    Returns:
        The run, trained to its end.

    Raises:
        KeyboardInterrupt: If any of the processes was asked to stop, in all of them; everything is saved then.
        TrainingError: If the loss is no longer finite, or checkpoint and statistics do not belong together.
        BatchError: If a batch could not be made, for example because a process that makes them was killed; what was
            trained before is saved first, unless several ranks train.
        ConfigError: If several processes cannot train, because of the trainer or for want of GPUs; or if the data
            cannot be learned from, such as labels of a one-hot task that are ids of objects.
        DacapoError: If parts of the run do not fit together; the message begins with the field of its config.
        MemoryBudgetError: If not even a batch of one sample fits into the memory; it says what would do.
    """
    return _or_interrupt(train_or_stop(run, max_memory, check), run)


@Options.kept()
def train_or_stop(run: Run, max_memory: str | int | None = None, check: bool = True) -> bool:
    """Do as :func:`train_run`, but return whether training was stopped before its end by Ctrl-C or SIGTERM."""
    with distributed.process_group():
        if max_memory is not None:
            train_within(run.trainer, run.model, max_memory)
        resume(run)
        check_validation(run)  # rather now than after the first iterations
        if run.training_stats.trained_until() < run.train_until:
            check_training(run, create_array_store().snapshot_container(run.name))
        if check and run.training_stats.trained_until() == 0 and distributed.is_main():
            _look_at_data(run)
        device = _device(run)
        if distributed.is_main():
            create_weights_store().record_config(run)
        run.model.to(device).train()
        run.move_optimizer(device)
        return _train(run, device)


def _look_at_data(run: Run) -> None:
    """Log what is odd about the data of a run.

    Raises:
        ConfigError: If it cannot be learned from.
    """
    report = check_data(run)
    for finding in report.warnings:
        logger.warning("%s", finding)
    if report.errors:
        logger.error("the data was refused before training; train with check=False (--no-check) to train nevertheless")
    report.raise_errors()


def progress_of(run: Run) -> str:
    """Return how far a run is trained, in words."""
    return f"{run.name}: trained {run.training_stats.trained_until()} of {run.train_until} iterations"


def _or_interrupt(stopped: bool, run: Run) -> Run:
    if stopped:
        # No class of our own: only for this one Python ends as if by the signal, with status 130.
        raise KeyboardInterrupt(f"{progress_of(run)}; all is saved, train it again to go on")
    return run


def _train(run: Run, device: torch.device) -> bool:
    """Train, and return whether it was stopped, the same on all ranks."""
    if _validation_is_due(run):  # an earlier process trained this far but could not finish validating
        _validate(run)
    if run.training_stats.trained_until() >= run.train_until:
        return False
    stopped = False
    with SafeStop() as stop, run.trainer, progress(total=run.train_until, desc=run.name, unit="iteration") as bar:
        bar.update(run.training_stats.trained_until())
        while run.training_stats.trained_until() < run.train_until and not stopped:
            stopped = _train_until_validation(run, device, stop, bar)
            if not stopped and _validation_is_due(run):
                with stop.during("the validation"):
                    _validate(run)
    (stopped,) = distributed.agree(stop.requested)  # during the last validation, for example
    if stopped:
        logger.info("run %s stopped at iteration %d; train it again to go on", run.name, run.trainer.iteration)
    return stopped


def _device(run: Run) -> torch.device:
    """Return where to train, after checking that all ranks can."""
    device = create_compute_context().device
    if distributed.world_size() > 1:
        if not run.trainer.trains_on_ranks:
            raise ConfigError(f"a {type(run.trainer).__name__} trains in one process only; start it without others")
        distributed.check_devices(device)
    return device


def _validation_is_due(run: Run) -> bool:
    iteration = run.training_stats.trained_until()
    at_stop = iteration > 0 and (iteration % run.validation_interval == 0 or iteration == run.train_until)
    validated = any(scores.iteration == iteration for scores in run.validation_scores.scores)
    return at_stop and bool(run.datasplit.validate) and not validated


def _validate(run: Run) -> None:
    distributed.copy_buffers(run.model)
    # An interrupt, which is to finish the validation, would end worker processes.
    validate_run(run, run.training_stats.trained_until(), num_workers=1)
    run.model.train()


def _train_until_validation(run: Run, device: torch.device, stop: SafeStop, bar: tqdm[None]) -> bool:
    """Train to the next multiple of the validation interval or the end, and save a checkpoint there.

    Returns:
        Whether to stop, as any of the ranks was asked to.
    """
    done = run.training_stats.trained_until()
    until = min(run.train_until, (done // run.validation_interval + 1) * run.validation_interval)
    saved, saved_at = done, time.monotonic()
    try:
        for stats in run.trainer.iterate(until - done, run.model, run.optimizer, device):
            run.training_stats.add_iteration_stats(stats)
            bar.set_postfix_str(f"loss {stats.loss:.4f}", refresh=False)
            bar.update()
            stopped, due = distributed.agree(stop.requested, time.monotonic() - saved_at > CHECKPOINT_SECONDS)
            if stopped:
                break
            if due:
                saved, saved_at = save(run, saved), time.monotonic()
    except BatchError as error:
        raise _saved_before(error, run, saved) from error.__cause__
    save(run, saved)
    return distributed.agree(stop.requested)[0]


def _saved_before(error: BatchError, run: Run, saved: int) -> BatchError:
    """Save what was trained before a batch could not be made, and return the error with a word about it."""
    reached = run.training_stats.trained_until()
    if distributed.world_size() > 1:  # saving takes all ranks, and the others are waiting for gradients of this one
        return BatchError(f"{error}. Train again to go on from the latest checkpoint")
    if reached == 0:
        return error
    if reached > saved:
        save(run, saved)
    return BatchError(f"{error}. The {reached} iterations before are saved; train again to go on")
