"""Worker of :func:`dacapo.blockwise.segment_blockwise`: writes the joined segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import daisy.v2 as daisy

from dacapo.blockwise.segmentation import BlockRelabeler, Segmentation


def start_worker(settings: dict[str, Any]) -> Callable[[daisy.Block], None]:
    """Return the function that writes a block.

    Args:
        settings: What :meth:`Segmentation.settings` gives.
    """
    relabeler = BlockRelabeler(Segmentation.from_settings(settings))
    return lambda block: relabeler.process(block.write_roi)
