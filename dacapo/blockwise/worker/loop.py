"""The loop of a worker process over the blocks that Daisy hands out."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import daisy.v2 as daisy

from dacapo.blockwise.worker.leaving import JobEnds, Leaving
from dacapo.blockwise.worker.progress import did_a_block
from dacapo.blockwise.worker.reports import (
    DISK_FULL,
    START_ERROR,
    is_disk_full,
    report,
    report_file,
    report_stop,
)
from dacapo.blockwise.worker.taken import taken_block
from dacapo.blockwise.worker.user_modules import ProcessBlock
from dacapo.errors import ConfigError


def process_and_report(process: ProcessBlock, log_dir: Path, leaving: Leaving) -> None:
    """Process blocks of one of our tasks until none are left, or the worker has to leave.

    A failed block is reported and handed back, and the worker takes the next one, unless the disk is full.
    """
    client = daisy.Client()
    stop = str(log_dir / START_ERROR)  # joined once: it is looked for before each block
    done = False
    with taken_block(log_dir, client.worker_id) as taken:
        while not leaving.is_due and not os.path.exists(stop):
            with client.acquire_block() as block:
                if block is None:
                    return
                with taken.of(block):
                    if not _goes_on_after(block, process, log_dir, leaving):
                        return
            if not done and block.status == daisy.BlockStatus.SUCCESS:
                done = True
                with suppress(OSError):  # then the number of blocks that are done tells it, somewhat later
                    did_a_block(log_dir, client.worker_id).touch()


def _goes_on_after(block: daisy.Block, process: ProcessBlock, log_dir: Path, leaving: Leaving) -> bool:
    """Process a block, and return whether the worker may take another one."""
    # Errors are caught here, since Daisy writes those that it sees to the terminal, with a traceback.
    try:
        with leaving.interrupts(block):
            process(block)
    except (JobEnds, KeyboardInterrupt):
        leaving.hand_back(block)
        return False
    except (Exception, SystemExit) as error:  # noqa: BLE001  # reported, and the block counts as failed
        if leaving.reason:  # an interrupt can become any other error
            leaving.hand_back(block)
            return False
        block.status = daisy.BlockStatus.FAILED
        report(report_file(log_dir, block.block_id[1]), f"block {block.write_roi} failed", error)
        if is_disk_full(error):
            report_stop(log_dir, DISK_FULL, error)
            return False
    return True


def process_all(process: ProcessBlock, leaving: Leaving | None = None) -> None:
    """Process blocks of any Daisy task until none are left, or the worker has to leave.

    A failed block is handed back and ends the worker with its error, which Daisy shows and counts.

    Raises:
        ConfigError: If this process is no worker of a Daisy task.
    """
    check_is_worker()
    client = daisy.Client()
    leaving = leaving or Leaving()
    while not leaving.is_due:
        with client.acquire_block() as block:
            if block is None:
                return
            try:
                with leaving.interrupts(block):
                    process(block)
            except JobEnds:
                leaving.hand_back(block)


def make_start_worker(open_worker: Callable[..., ProcessBlock]) -> Callable[..., Callable[[], None] | None]:
    """Return the ``start_worker`` of a worker module: the loop over the blocks of a Daisy task.

    It takes the arguments of ``open_worker`` that can be positional, and after them ``return_io_loop``: whether to
    return the loop, which connects to the task when it is called, instead of running it.
    """
    signature = inspect.signature(open_worker)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    flag = inspect.Parameter("return_io_loop", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False, annotation=bool)
    named = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    own_signature = signature.replace(parameters=[*parameters[:named], flag, *parameters[named:]])

    def start_worker(*args: Any, **kwargs: Any) -> Callable[[], None] | None:
        """Process the blocks of the Daisy task that this process is a worker of.

        The arguments are those of ``open_worker``. With ``return_io_loop``, return the function that does so.

        Raises:
            ConfigError: If this process is no worker of a Daisy task.
        """
        given = own_signature.bind(*args, **kwargs).arguments
        return_io_loop = given.pop("return_io_loop", False)
        if not return_io_loop:
            check_is_worker()
        bound = inspect.BoundArguments(signature, given)
        process = open_worker(*bound.args, **bound.kwargs)
        if return_io_loop:
            return lambda: process_all(process)
        process_all(process)
        return None

    start_worker.__signature__ = own_signature  # type: ignore[attr-defined]
    return start_worker


def check_is_worker() -> None:
    """Check that this process is a worker of a Daisy task.

    Raises:
        ConfigError: If it is not.
    """
    if daisy.Context.ENV_VARIABLE not in os.environ:
        raise ConfigError(
            f"{daisy.Context.ENV_VARIABLE} is not set, so this process is no worker of a Daisy task; give the task "
            "spawn_worker(...) as its process_function, or call run_blockwise"
        )


def hand_back_one_block() -> None:
    """Take a block and hand it back as failed, for a worker that stops before its first block.

    Daisy prints long warnings about workers that end without having asked for a block.
    """
    with suppress(OSError, RuntimeError), daisy.Client().acquire_block() as block:
        if block is not None:
            block.status = daisy.BlockStatus.FAILED
