"""Worker of :func:`dacapo.blockwise.segment_blockwise`: segments single blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import daisy.v2 as daisy

from dacapo.blockwise.segmentation import BlockSegmenter, Segmentation


def start_worker(
    settings: dict[str, Any], args: list[Any], parameters: dict[str, Any]
) -> Callable[[daisy.Block], None]:
    """Return the function that segments a block.

    Args:
        settings: What :meth:`Segmentation.settings` gives.
        args: For the function that segments.
        parameters: For the same.
    """
    segmenter = BlockSegmenter(Segmentation.from_settings(settings), args, parameters)
    return lambda block: segmenter.process(block.read_roi, block.write_roi)
