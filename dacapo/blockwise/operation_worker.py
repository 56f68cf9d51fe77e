"""Worker of :func:`dacapo.blockwise.running.run_operation`: does the blocks of an operation in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import daisy.v2 as daisy

from dacapo.blockwise.operation import BlockwiseOperation


def start_worker(operation: dict[str, Any]) -> Callable[[daisy.Block], None]:
    """Return the function that does a block.

    Args:
        operation: What :meth:`BlockwiseOperation.as_settings` gives.
    """
    opened = BlockwiseOperation.from_settings(operation)
    opened.open()
    return opened.process
