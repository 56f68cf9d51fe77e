"""A training that gets no more batches saves its work, and says what happened."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dacapo.errors import BatchError
from dacapo.experiments.run import Run
from dacapo.experiments.trainers import GunpowderTrainerConfig, TorchTrainerConfig
from dacapo.experiments.trainers.workers import WorkerIterator
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.train import train, train_run
from tests.helpers.processes import wait_until
from tests.helpers.runs import affinities_run_config, unet_config
from tests.helpers.zarr_files import chunk_files

pytestmark = pytest.mark.destructive

ITERATIONS = 20


def stored(folder: Path, config_type: Any, fetchers: int) -> Run:
    trainer = config_type("trainer", 1, 1e-3, num_data_fetchers=fetchers)
    config = affinities_run_config(
        folder,
        dims=2,
        num_iterations=ITERATIONS,
        validation_interval=ITERATIONS,
        trainer_config=trainer,
        architecture_config=unet_config(2),
    )
    create_config_store().store_run_config(config)
    return Run(config)


def after_three_iterations(run: Run, act: Callable[[], None]) -> None:
    """Let something happen in the middle of a training."""
    iterate = run.trainer.iterate

    def iterate_and_act(*args: Any) -> Iterator[TrainingIterationStats]:
        for stats in iterate(*args):
            if stats.iteration == 2:
                act()
            yield stats

    run.trainer.iterate = iterate_and_act  # type: ignore[method-assign]


def kill_a_fetcher(run: Run, number: int, wait: bool) -> list[int]:
    """Let a process that makes batches be killed after the third iteration, and return where its number will be."""
    killed, others = list[int](), set(multiprocessing.active_children())

    def kill() -> None:
        process = (set(multiprocessing.active_children()) - others).pop()
        assert process.pid is not None
        killed.append(process.pid)
        os.kill(process.pid, number)
        if wait:
            process.join()

    after_three_iterations(run, kill)
    return killed


@pytest.mark.parametrize("config_type", [GunpowderTrainerConfig, TorchTrainerConfig])
@pytest.mark.parametrize(
    ("number", "wait", "why"),
    [
        (signal.SIGKILL, True, "memory usually ran out"),
        (signal.SIGKILL, False, "memory usually ran out"),
        (signal.SIGBUS, True, "shared memory"),
    ],
)
def test_a_fetcher_that_is_killed_costs_no_work(
    options: DaCapoConfig, tmp_path: Path, config_type: Any, number: signal.Signals, wait: bool, why: str
) -> None:
    run = stored(tmp_path, config_type, 2)
    killed = kill_a_fetcher(run, number, wait)
    with pytest.raises(BatchError) as caught:
        train_run(run)
    reached = create_weights_store().latest_iteration(run.name)
    assert reached is not None
    assert 3 <= reached < ITERATIONS
    assert create_stats_store().retrieve_training_stats(run.name).trained_until() == reached
    message = str(caught.value)
    assert f"no batch for iteration {reached}: worker process {killed[0]} was killed by" in message
    assert f"{number.name} (signal {int(number)}): {why}" in message
    assert f"The {reached} iterations before are saved; train again to resume" in message

    again = train(run.name)
    assert again.training_stats.trained_until() == ITERATIONS


@pytest.mark.parametrize("config_type", [GunpowderTrainerConfig, TorchTrainerConfig])
@pytest.mark.parametrize("fetchers", [1, 2])
def test_data_that_cannot_be_read_any_more_costs_no_work(
    options: DaCapoConfig, tmp_path: Path, config_type: Any, fetchers: int
) -> None:
    run = stored(tmp_path, config_type, fetchers)
    labels = tmp_path / "train.zarr" / "labels"
    intact = {chunk: chunk.read_bytes() for chunk in chunk_files(labels)}

    def damage() -> None:
        for chunk in intact:
            chunk.write_bytes(b"damaged")

    after_three_iterations(run, damage)
    with pytest.raises(BatchError, match=r"(?s)batch of iteration \d+ could not be made.* iterations before are saved"):
        train_run(run)
    reached = create_weights_store().latest_iteration(run.name)
    assert reached is not None
    assert reached >= 3
    for chunk, values in intact.items():
        chunk.write_bytes(values)
    assert train(run.name).training_stats.trained_until() == ITERATIONS


class _Numbers(torch.utils.data.Dataset[int]):
    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> int:
        return index


def test_a_death_is_raised_nowhere_but_where_a_batch_is_asked_for() -> None:
    others = set(multiprocessing.active_children())
    batches = WorkerIterator(torch.utils.data.DataLoader(_Numbers(), batch_size=None, num_workers=2))
    assert next(batches) == 0
    process = (set(multiprocessing.active_children()) - others).pop()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: process.exitcode is not None)  # torch would raise here
    with pytest.raises(BatchError, match=f"process {process.pid}.* SIGKILL"):
        next(batches)


def _lost_connection() -> None:
    raise EOFError


class _Lost:
    """An item that cannot be received: whoever unpickles it finds that the sender is gone."""

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _lost_connection, ()


class _DiesSlowly(torch.utils.data.IterableDataset[_Lost]):
    def __iter__(self) -> Iterator[_Lost]:
        yield _Lost()
        time.sleep(0.1)  # the item is on its way by then
        os.closerange(3, 1024)  # the system does this first
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_signal_is_named_also_where_the_files_of_a_process_are_closed_long_before_it_has_ended() -> None:
    batches = WorkerIterator(torch.utils.data.DataLoader(_DiesSlowly(), batch_size=None, num_workers=1))
    with pytest.raises(BatchError, match="SIGKILL"):
        next(batches)


class _OneFails(torch.utils.data.IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        worker = torch.utils.data.get_worker_info()
        assert worker is not None
        if worker.id == 0:
            time.sleep(0.5)  # the other process has ended by then
            raise ValueError("the chunk is damaged")
        yield from ()


def test_an_exception_is_raised_also_where_another_process_has_ended() -> None:
    batches = WorkerIterator(torch.utils.data.DataLoader(_OneFails(), batch_size=None, num_workers=2))
    with pytest.raises(ValueError, match="the chunk is damaged"):
        next(batches)
