"""The main function of a worker process, ``python -m dacapo.blockwise``.

Environment variables tell it what to do: Daisy's name the scheduler of the blocks, and :data:`.JOB_VARIABLE` the file
with the job. For a worker of a pool, that is the file of a slot, whose orders tell both.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import daisy.v2 as daisy

from dacapo.blockwise.worker.job import JOB_FILE, JOB_VARIABLE, WORKER_COMMAND, Job
from dacapo.blockwise.worker.leaving import LEAVING_SIGNALS, Leaving
from dacapo.blockwise.worker.loop import process_all, process_and_report
from dacapo.blockwise.worker.reports import START_ERROR, report
from dacapo.blockwise.worker.slot import Order, Slot, State, pauses
from dacapo.blockwise.worker.time_limit import limited
from dacapo.options import Options

_STARTED, _THREADS = "DACAPO_WORKER_STARTED", "OMP_NUM_THREADS"
# Seconds between looks for an order; other machines see files of a shared folder somewhat later anyway.
_LONGEST_PAUSE = 1.0


def main() -> None:
    """Do the job that the environment names, or the orders of a slot.

    Raises:
        SystemExit: With the code :data:`.LEFT`, if the worker leaves before all blocks are done.
    """
    started, file = float(os.environ.pop(_STARTED, time.time())), Path(os.environ[JOB_VARIABLE])
    # Its output goes to a log file.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    if file.name == JOB_FILE:
        _do_job(file, started)
    else:
        _do_orders(Slot.read(file), started)


def _do_job(file: Path, started: float) -> None:
    """Do a job.

    Args:
        file: The file with the job.
        started: When the process started, in seconds since 1970.
    """
    job = Job.from_json(file.read_text(encoding="utf-8"))
    try:
        Options.instance(**job.options)
        process = job.open()
    except Exception as error:
        if job.log_dir is not None:
            report(Path(job.log_dir) / START_ERROR, f"the worker {job.worker_file} cannot start", error)
        raise
    if process is None:
        return
    log_dir = None if job.log_dir is None else Path(job.log_dir)
    leaving = Leaving(log_dir, job.deadline(started))
    # In force once the watch is over: Slurm sends a signal twice when the time of a job is over.
    for number in LEAVING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with leaving.watch():
        if log_dir is None:
            process_all(process, leaving)
        else:
            process_and_report(limited(process, job.timeout), log_dir, leaving)
    leaving.leave()


def _do_orders(slot: Slot, started: float) -> None:
    """Do the orders of a slot, until none comes any more."""
    if slot.state.what == "starting":
        slot.put(State("waiting", slot.state.number))
    while (order := _next_order(slot)) is not None:
        if order.threads not in ("", os.environ.get(_THREADS)):
            _begin_anew(slot, started, order.threads)
        slot.put(State("begun", order.number))
        os.environ.update({JOB_VARIABLE: order.job, daisy.Context.ENV_VARIABLE: order.context})
        with _printing_to(Path(order.log)):
            _do_job(Path(order.job), started)
        for number in LEAVING_SIGNALS:
            signal.signal(number, signal.SIG_DFL)  # nothing is lost between orders
        slot.put(State("done", order.number))
        if "torch" in sys.modules:
            _begin_anew(slot, started, os.environ.get(_THREADS))
        gc.collect()


def _begin_anew(slot: Slot, started: float, threads: str | None) -> NoReturn:
    """Begin this program anew in the same process, the only way to forget PyTorch, its memory and its threads."""
    again = {JOB_VARIABLE: str(slot.file), _STARTED: str(started), **({_THREADS: threads} if threads else {})}
    os.execve(sys.executable, WORKER_COMMAND, {**os.environ, **again})  # noqa: S606


def _next_order(slot: Slot) -> Order | None:
    """Wait for an order; return None if the worker is to end."""
    done = slot.state.number
    leaving = Leaving()
    with leaving.watch():
        for waited in pauses(_LONGEST_PAUSE):
            order = slot.order
            if leaving.is_due or order.is_last:
                break
            if order.number > done and order.job:
                return order
            if waited > slot.idle:
                break
    leaving.leave()
    return None


@contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    """Append what the process prints to a file; after an error, it stays there."""
    with log.open("ab") as file:
        kept = [(number, os.dup(number)) for number in (1, 2)]
        for number, _ in kept:
            os.dup2(file.fileno(), number)
    yield
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number, copy in kept:
        os.dup2(copy, number)
        os.close(copy)
