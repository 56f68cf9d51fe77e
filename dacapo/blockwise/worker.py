"""What a worker process does: get blocks and pass them to the function of a worker module.

``python -m dacapo.blockwise`` is such a process. It finds what to do in environment variables: Daisy's, which
say who hands out the blocks, and :data:`JOB_VARIABLE`, which names a file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import daisy.v2 as daisy

from dacapo.blockwise.jobs import JOB_VARIABLE, Job
from dacapo.blockwise.reports import DISK_FULL, START_ERROR, is_disk_full, noted, report, report_file, report_stop
from dacapo.blockwise.user_modules import function_of, load_module
from dacapo.errors import ConfigError
from dacapo.options import Options

Process = Callable[[daisy.Block], Any]


def prepare(job: Job) -> Process | None:
    """Load the worker module of a job and return the function for one block.

    Returns:
        The function, or None if the worker has done all there was to do.
    """
    return prepare_module(job.worker_file, job.args, job.kwargs)


def prepare_module(worker_file: str, args: list[Any], kwargs: dict[str, Any]) -> Process | None:
    """Load a worker module and return the function for one block, as :func:`prepare` does."""
    module = load_module(worker_file)
    if hasattr(module, "process_block"):
        process_block = function_of(module, worker_file, "process_block")
        return lambda block: process_block(block, *args, **kwargs)
    name = "open_worker" if hasattr(module, "open_worker") else "start_worker"
    process = function_of(module, worker_file, name)(*args, **kwargs)
    if process is not None and not callable(process):
        raise ConfigError(f"{name} of {worker_file} returned {process!r}; expected a function of one block, or None")
    return process  # type: ignore[no-any-return]


def process_blocks(process: Process, log_dir: str | Path) -> None:
    """Process blocks until there are none left, in a worker process.

    A block that fails is given back and reported, and the next one is taken; but none is when the disk is full.
    """
    client = daisy.Client()
    while not (Path(log_dir) / START_ERROR).exists():
        with client.acquire_block() as block:
            if block is None:
                return
            with noted(Path(log_dir), client.worker_id, block):
                # What Daisy sees itself it writes to the terminal, with a traceback.
                try:
                    process(block)
                except KeyboardInterrupt:  # it is for all
                    block.status = daisy.BlockStatus.FAILED
                    return
                except (Exception, SystemExit) as error:  # noqa: BLE001  # reported, and the block counts as failed
                    block.status = daisy.BlockStatus.FAILED
                    report(report_file(log_dir, block.block_id[1]), f"block {block.write_roi} failed", error)
                    if is_disk_full(error):
                        report_stop(log_dir, DISK_FULL, error)
                        return


def take_blocks(process: Process) -> None:
    """Process blocks of any Daisy task until there are none left, in a worker process.

    A block that fails is given back, and ends the worker with its error, which Daisy shows and counts.

    Raises:
        ConfigError: If this process is no worker of a Daisy task.
    """
    check_is_worker()
    client = daisy.Client()
    while True:
        with client.acquire_block() as block:
            if block is None:
                return
            process(block)


def check_is_worker() -> None:
    """Check that Daisy says in the environment who hands out blocks.

    Raises:
        ConfigError: If it does not.
    """
    if daisy.Context.ENV_VARIABLE not in os.environ:
        raise ConfigError(
            f"{daisy.Context.ENV_VARIABLE} is not set, so nobody hands out blocks; this is for the worker processes of "
            "a Daisy task: give the task spawn_worker(...) as its process_function, or call run_blockwise"
        )


def give_one_back() -> None:
    """Take a block and give it back as failed, in place of a worker that did not get to it, when all is to end.

    Daisy warns at length of each worker that ends without having asked for a block.
    """
    with suppress(OSError, RuntimeError), daisy.Client().acquire_block() as block:
        if block is not None:
            block.status = daisy.BlockStatus.FAILED


def main() -> None:
    """Do the job of the file that the environment names."""
    # The process has no other output than what is written into its log file.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    job = Job.from_json(Path(os.environ[JOB_VARIABLE]).read_text(encoding="utf-8"))
    try:
        Options.instance(**job.options)
        process = prepare(job)
    except Exception as error:
        if job.log_dir is not None:
            report(Path(job.log_dir) / START_ERROR, f"the worker {job.worker_file} cannot start", error)
        raise
    if process is not None and job.log_dir is not None:
        process_blocks(process, job.log_dir)
    elif process is not None:
        take_blocks(process)
