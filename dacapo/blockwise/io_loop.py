"""The loop of a worker process that a user starts, for the worker modules of this package."""

from __future__ import annotations

from collections.abc import Callable

from dacapo.blockwise.worker import Process, check_is_worker, take_blocks


def io_loop(open_worker: Callable[[], Process], return_io_loop: bool) -> Callable[[], None] | None:
    """Process the blocks of a Daisy task until there are none left, or return the function that does so.

    Args:
        open_worker: Returns the function for one block; called once, before the first block.
        return_io_loop: Whether to return the function instead of calling it. It connects to the task when it is called.

    Raises:
        ConfigError: If blocks are asked for in a process that is no worker of a Daisy task.
    """
    if return_io_loop:
        process = open_worker()
        return lambda: take_blocks(process)
    check_is_worker()
    take_blocks(open_worker())
    return None
