"""How many workers do the blocks, and how often and how long each block is tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import daisy.v2 as daisy

from dacapo.compute_context import ComputeContext
from dacapo.errors import ConfigError


@attrs.frozen
class Workers:
    """The workers of one or several tasks.

    Attributes:
        number: Number of workers at most.
        max_retries: How often a failed block is tried again.
        timeout: Seconds that a block may take in a worker process, None for no limit.
        upstream_tasks: Daisy tasks that come before.
        in_process: Whether to work in this process in any case, with an operation whose fields other processes could
            not get.

    Raises:
        ConfigError: If a number makes no sense.
    """

    number: int = 1
    max_retries: int = 2
    timeout: float | None = None
    upstream_tasks: Sequence[daisy.Task] | None = None
    in_process: bool = False

    def __attrs_post_init__(self) -> None:
        if (not self.in_process and self.number < 1) or self.max_retries < 0 or not _is_positive(self.timeout):
            raise ConfigError(
                f"got num_workers {self.number}, max_retries {self.max_retries}, timeout {self.timeout}; "
                "expected at least 1 worker, no less than 0 retries, and a timeout above 0 or none"
            )


def _is_positive(timeout: float | None) -> bool:
    return timeout is None or timeout > 0


def works_here(num_workers: int, upstream_tasks: Sequence[Any] | None, compute_context: ComputeContext) -> bool:
    """Return whether a single worker does the blocks of a task in the scheduling process."""
    return num_workers == 1 and not upstream_tasks and not compute_context.distribute_workers
