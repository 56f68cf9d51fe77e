"""Train a run from the beginning, or from its latest checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from dacapo.compute_context import create_compute_context
from dacapo.errors import BatchError, ConfigError
from dacapo.experiments.checkpoints import resume, save
from dacapo.experiments.early_stopping import EarlyStopping
from dacapo.experiments.fit import check_training, check_validation
from dacapo.experiments.loggers import Logger, Loggers, make_loggers
from dacapo.experiments.preflight import check_data
from dacapo.experiments.run import Run
from dacapo.experiments.trainers.training_memory import check_memory, train_within
from dacapo.experiments.training_session import recorded_session
from dacapo.options import Options
from dacapo.store.create_store import create_array_store, create_config_store, create_weights_store
from dacapo.store.early_end import early_end_at
from dacapo.store.files import storage_errors
from dacapo.store.training_lock import training_lock
from dacapo.utils import distributed
from dacapo.utils.cores import within_job
from dacapo.utils.interrupts import SafeStop
from dacapo.validate import validate_run

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Wanted = Sequence[str | Logger] | str | Logger | None

# A crash costs at most the work of this number of seconds.
CHECKPOINT_SECONDS = 600


@Options.kept()
@storage_errors()
def train(
    run_name: str,
    max_memory: str | int | None = None,
    check: bool = True,
    num_iterations: int | None = None,
    loggers: Wanted = None,
    force: bool = False,
) -> Run:
    """Train a stored run to its end, from its latest checkpoint if it has one; see :func:`train_run`.

    Args:
        run_name: Name of the run.
        max_memory: As in :func:`train_run`.
        check: As in :func:`train_run`.
        num_iterations: Lengthen the run to this number of iterations first; see :meth:`.Run.lengthen`.
        loggers: As in :func:`train_run`.
        force: As in :func:`train_run`.

    Raises:
        ConfigNotFoundError: If no run of that name is stored.
        ConfigError: If ``num_iterations`` would shorten the run.
        KeyboardInterrupt: If Ctrl-C or SIGTERM stopped the training; everything is saved.
    """
    with distributed.process_group():
        run = load_run(run_name, num_iterations)
        stopped = train_or_stop(run, max_memory, check, loggers, force)
    return _or_interrupt(stopped, run)


def load_run(run_name: str, num_iterations: int | None = None) -> Run:
    """Return a stored run to train, lengthened if asked; it loads initial weights only before its first checkpoint.

    Raises:
        ConfigNotFoundError: If no run of that name is stored.
        ConfigError: If ``num_iterations`` would shorten the run.
    """
    run = Run.to_train(create_config_store().retrieve_run_config(run_name))
    return run if num_iterations is None else run.lengthen(num_iterations)


def train_run(
    run: Run,
    max_memory: str | int | None = None,
    check: bool = True,
    loggers: Wanted = None,
    force: bool = False,
) -> Run:
    """Train a run until ``run.train_until``, validating every ``run.validation_interval`` iterations.

    An interrupted run resumes from its latest checkpoint, with the state of model, optimizer, trainer and statistics.
    The first Ctrl-C or SIGTERM finishes the current iteration, saves everything and then raises, so that a script does
    not continue with a half-trained network. A checkpoint is also saved every ten minutes; the next one replaces it
    unless it was validated.

    First, :mod:`dacapo.experiments.fit` checks that the run can be trained and validated. Before its first iteration,
    :mod:`dacapo.experiments.preflight` looks at a sample of the data for a few seconds, and logs anything unusual.

    Processes that a launcher such as torchrun started train together, each with its own batches and on its own GPU. All
    stop at the same iteration, and only rank 0 writes. The number of processes may change when a run is resumed.

    Args:
        run: The run.
        max_memory: Memory limit of each training process, such as ``"8GB"``. If necessary, the samples of an iteration
            are divided into smaller batches. Without a limit, a training that cannot fit into the free memory is
            refused.
        check: Whether to look at the data before the first iteration.
        loggers: Where to log beside the progress: names, such as ``"tensorboard"`` and ``"wandb"``, or objects of
            subclasses of :class:`.Logger`. By default those of the option ``loggers``.
        force: Whether to go on with a training that has ended early, as ``early_stopping`` of its config says. By
            default a warning says that it has; a run that was lengthened goes on.

    Returns:
        The run, trained to its end.

    Raises:
        KeyboardInterrupt: In all processes, if a signal stopped one of them; everything is saved.
        RunInUseError: If another process trains the run; the message says which one, and since when.
        LoggerError: If a logger failed; everything is saved.
        TrainingError: If the loss is no longer finite, or checkpoint and statistics do not belong together.
        BatchError: If a batch could not be made, for example because a fetcher was killed; the iterations before are
            saved first, unless several ranks train.
        ConfigError: If several processes cannot train, because of the trainer or because GPUs are missing; or if the
            network cannot learn from the data, such as object ids as labels of a one-hot task.
        DacapoError: If parts of the run do not fit together; the message begins with the field of its config.
        MemoryBudgetError: If not even a batch of one sample fits into the limit; the message says how much is enough.
            Without a limit, if the batches cannot fit into the free memory.
    """
    return _or_interrupt(train_or_stop(run, max_memory, check, loggers, force), run)


@Options.kept()
@storage_errors()
def train_or_stop(
    run: Run,
    max_memory: str | int | None = None,
    check: bool = True,
    loggers: Wanted = None,
    force: bool = False,
) -> bool:
    """Train like :func:`train_run`, but return whether Ctrl-C or SIGTERM stopped training before its end."""
    with distributed.process_group(), training_lock(run.name):
        following = make_loggers(loggers)
        if max_memory is not None:
            train_within(run.trainer, run.model, max_memory)
        resume(run)
        check_validation(run)  # now, rather than after the first iterations
        if run.training_stats.trained_until() < run.train_until:
            if max_memory is None:
                check_memory(run.trainer, run.model, run.optimizer, create_compute_context().device)
            check_training(run, create_array_store().snapshot_container(run.name))
        if check and run.training_stats.trained_until() == 0 and distributed.is_main():
            _look_at_data(run)
        device = _device(run)
        if distributed.is_main():
            create_weights_store().record_config(run)
        run.model.to(device).train()
        run.move_optimizer(device)
        early = EarlyStopping(run, force)
        settings = {"device": str(device), "max_memory": max_memory}
        with nullcontext() if early.ended else recorded_session(run, settings):
            return _train(run, device, following, early)


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
    """Return the progress of a run in words."""
    trained = run.training_stats.trained_until()
    ended = trained < run.train_until and early_end_at(run.name, trained) is not None
    return f"{run.name}: trained {trained} of {run.train_until} iterations{', then ended early' if ended else ''}"


def _or_interrupt(stopped: bool, run: Run) -> Run:
    if stopped:
        # Not a subclass: only for this class does Python exit as after the signal, with status 130.
        raise KeyboardInterrupt(f"{progress_of(run)}; everything is saved, train it again to resume")
    return run


def _train(run: Run, device: torch.device, loggers: Loggers, early: EarlyStopping) -> bool:
    """Train, and return whether a signal stopped it; all ranks return the same."""
    if (_is_done(run) or early.ended) and not _validation_is_due(run):
        return False
    stopped = False
    with SafeStop() as stop, loggers.following(run), nullcontext() if _is_done(run) else run.trainer:
        while not stopped:
            if _validation_is_due(run):  # at the beginning, if an earlier process did not finish it
                with stop.during("the validation"):
                    _validate(run, loggers)
            if _is_done(run) or early.ends(run):
                break
            stopped = _train_until_validation(run, device, stop, loggers)
    (stopped,) = distributed.agree(stop.requested)  # during the last validation, for example
    if stopped:
        logger.info("run %s stopped at iteration %d; train it again to resume", run.name, run.trainer.iteration)
    return stopped


def _is_done(run: Run) -> bool:
    return run.training_stats.trained_until() >= run.train_until


def _device(run: Run) -> torch.device:
    """Return the device to train on, after checking that all ranks can use theirs, and use the cores of the job."""
    import torch

    device = create_compute_context().device
    torch.set_num_threads(within_job(torch.get_num_threads()))
    if distributed.world_size() > 1:
        if not run.trainer.trains_on_ranks:
            raise ConfigError(f"a {type(run.trainer).__name__} trains in a single process only; start just one")
        distributed.check_devices(device)
    return device


def _validation_is_due(run: Run) -> bool:
    iteration = run.training_stats.trained_until()
    at_stop = iteration > 0 and (iteration % run.validation_interval == 0 or iteration == run.train_until)
    validated = any(scores.iteration == iteration for scores in run.validation_scores.scores)
    return at_stop and bool(run.datasplit.validate) and not validated


def _validate(run: Run, loggers: Loggers) -> None:
    run.trainer.use_average(run.model)
    distributed.copy_buffers(run.model)
    # An interrupt, which is to finish the validation, would end worker processes.
    begin = time.monotonic()
    scores = validate_run(run, run.training_stats.trained_until(), num_workers=1)
    loggers.log_validation(run, scores, time.monotonic() - begin)
    loggers.raise_failure()
    run.model.train()


def _train_until_validation(run: Run, device: torch.device, stop: SafeStop, loggers: Loggers) -> bool:
    """Train to the next multiple of the validation interval or the end, and save a checkpoint.

    Returns:
        Whether to stop, because a signal stopped any of the ranks.
    """
    done = run.training_stats.trained_until()
    until = min(run.train_until, (done // run.validation_interval + 1) * run.validation_interval)
    saved, saved_at = done, time.monotonic()
    try:
        for stats in run.trainer.iterate(until - done, run.model, run.optimizer, device):
            run.training_stats.add_iteration_stats(stats)
            loggers.log_iteration(run, stats)
            wanted = stop.requested or loggers.failure is not None
            ends, due = distributed.agree(wanted, time.monotonic() - saved_at > CHECKPOINT_SECONDS)
            if ends:
                break
            if due:
                saved, saved_at = save(run, saved), time.monotonic()
    except BatchError as error:
        raise _saved_before(error, run, saved) from error.__cause__
    save(run, saved)
    loggers.raise_failure()
    return distributed.agree(stop.requested)[0]


def _saved_before(error: BatchError, run: Run, saved: int) -> BatchError:
    """Save the iterations before a batch could not be made, and return the error with a note about it."""
    reached = run.training_stats.trained_until()
    if distributed.world_size() > 1:  # all ranks save together, and the others wait for gradients of this one
        return BatchError(f"{error}. Train again to resume from the latest checkpoint")
    if reached == 0:
        return error
    if reached > saved:
        save(run, saved)
    return BatchError(f"{error}. The {reached} iterations before are saved; train again to resume")
