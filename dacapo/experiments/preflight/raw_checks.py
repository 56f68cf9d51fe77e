"""Checks of the values of raw data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .look import DatasetLook, Look
from .report import Finding

LARGEST = 32.0
"""Raw values beyond this are far from the range around 0 and 1 that networks expect."""


def unreadable(look: Look) -> Iterator[Finding]:
    """Find voxels that cannot be read."""
    for part in look.datasets:
        for field, error in part.unreadable.items():
            yield part.finding("error", "unreadable", field, error)


def not_finite(look: Look) -> Iterator[Finding]:
    """Find values that are NaN or infinite, which make the loss NaN."""
    for part in look.datasets:
        if part.raw.not_finite:
            message = (
                f"{part.raw.not_finite:,} of {part.raw.voxels:,} sampled voxels of raw data are NaN or infinite, and "
                "the loss would be too; replace them, or crop raw_config to a region without them"
            )
            yield part.finding("error", "NaN", "raw_config", message)


def constant_raw(look: Look) -> Iterator[Finding]:
    """Find raw data with one value everywhere, which teaches nothing."""
    for part in look.datasets:
        channels = part.raw.constant_channels
        if channels:
            which = "raw data is" if _is_constant(part) else f"channels {channels} of raw data are"
            message = (
                f"{which} {part.raw.smallest[channels[0]]:g} in all {part.raw.voxels:,} sampled voxels; check file, "
                "dataset and region of raw_config"
            )
            yield part.finding("warning", "constant", "raw_config", message)


def _is_constant(part: DatasetLook) -> bool:
    return bool(part.raw.smallest) and len(part.raw.constant_channels) == len(part.raw.smallest)


def missing_chunks(look: Look) -> Iterator[Finding]:
    """Find raw data whose chunks are not on disk, and are read as zeros."""
    for part in look.datasets:
        missing = sum(not is_stored for is_stored in part.raw.chunks.values())
        if missing:
            message = (
                f"{missing:,} of {len(part.raw.chunks):,} sampled chunks of raw data are not stored and are read as "
                "zeros; if a copy was interrupted, repeat it, else crop raw_config or mask these parts with mask_config"
            )
            yield part.finding("warning", "missing chunks", "raw_config", message)


def unscaled(look: Look) -> Iterator[Finding]:
    """Find raw values that reach the network without having been scaled to about 0..1."""
    if look.trainer is None:
        return
    for part in look.datasets:
        finite = [bound for bound in (*part.raw.smallest, *part.raw.largest) if np.isfinite(bound)]
        given = look.trainer.prepare_input(np.array(finite, dtype=np.float32))
        if finite and float(np.abs(given).max()) > LARGEST:
            message = (
                f"values from {given.min():g} to {given.max():g} reach the network; scale them to about 0..1 with an "
                "IntensitiesArrayConfig around the array in raw_config"
            )
            yield part.finding("warning", "unscaled", "raw_config", message)
