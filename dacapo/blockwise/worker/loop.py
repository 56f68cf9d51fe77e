"""The loop of a worker process over the blocks that Daisy hands out."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import daisy.v2 as daisy

from dacapo.blockwise.worker.reports import (
    DISK_FULL,
    START_ERROR,
    block_in_progress,
    is_disk_full,
    report,
    report_file,
    report_stop,
)
from dacapo.blockwise.worker.user_modules import ProcessBlock
from dacapo.errors import ConfigError


def process_and_report(process: ProcessBlock, log_dir: Path) -> None:
    """Process blocks of one of our tasks until none are left.

    A failed block is reported and handed back, and the worker takes the next one, unless the disk is full.
    """
    client = daisy.Client()
    while not (log_dir / START_ERROR).exists():
        with client.acquire_block() as block:
            if block is None:
                return
            with block_in_progress(log_dir, client.worker_id, block):
                # Errors are caught here, since Daisy writes those that it sees to the terminal, with a traceback.
                try:
                    process(block)
                except KeyboardInterrupt:  # reaches all processes
                    block.status = daisy.BlockStatus.FAILED
                    return
                except (Exception, SystemExit) as error:  # noqa: BLE001  # reported, and the block counts as failed
                    block.status = daisy.BlockStatus.FAILED
                    report(report_file(log_dir, block.block_id[1]), f"block {block.write_roi} failed", error)
                    if is_disk_full(error):
                        report_stop(log_dir, DISK_FULL, error)
                        return


def process_all(process: ProcessBlock) -> None:
    """Process blocks of any Daisy task until none are left.

    A failed block is handed back and ends the worker with its error, which Daisy shows and counts.

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


def io_loop(open_worker: Callable[[], ProcessBlock], return_io_loop: bool) -> Callable[[], None] | None:
    """Process the blocks of a Daisy task until none are left, or return the function that does so.

    Args:
        open_worker: Returns the function for one block; called once, before the first block.
        return_io_loop: Whether to return the function instead of calling it. It connects to the task when called.

    Raises:
        ConfigError: If this process is to ask for blocks and is no worker of a Daisy task.
    """
    if return_io_loop:
        process = open_worker()
        return lambda: process_all(process)
    check_is_worker()
    process_all(open_worker())
    return None


def check_is_worker() -> None:
    """Check that the environment says who hands out blocks.

    Raises:
        ConfigError: If it does not.
    """
    if daisy.Context.ENV_VARIABLE not in os.environ:
        raise ConfigError(
            f"{daisy.Context.ENV_VARIABLE} is not set, so nobody hands out blocks; this is for the worker processes of "
            "a Daisy task: give the task spawn_worker(...) as its process_function, or call run_blockwise"
        )


def hand_back_one_block() -> None:
    """Take a block and hand it back as failed, for a worker that stops before its first block.

    Daisy prints long warnings about workers that end without having asked for a block.
    """
    with suppress(OSError, RuntimeError), daisy.Client().acquire_block() as block:
        if block is not None:
            block.status = daisy.BlockStatus.FAILED
