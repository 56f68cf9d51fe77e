"""The time that a block may take: when it is over, the worker is killed, whatever it is doing."""

from __future__ import annotations

import faulthandler
import signal
from typing import Any

import daisy.v2 as daisy

from dacapo.blockwise.worker.user_modules import ProcessBlock

OUT_OF_TIME = frozenset({-signal.SIGALRM, 128 + signal.SIGALRM})
"""Exit codes of a worker whose block took too long, the second one as shells and batch systems pass it on."""


def limited(process: ProcessBlock, seconds: float | None) -> ProcessBlock:
    """Return a function for a block that kills this process with SIGALRM if a block takes too long.

    Compiled code cannot hold that up, and the output then ends with the lines of code that were running.

    Args:
        process: The function for a block.
        seconds: How long it may take; None for no limit.
    """
    if seconds is None:
        return process
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, chain=True)

    def process_in_time(block: daisy.Block) -> Any:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return process(block)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    return process_in_time
