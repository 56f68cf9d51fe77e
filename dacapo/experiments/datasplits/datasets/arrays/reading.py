"""Reading several regions at once."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from funlib.geometry import Roi

from dacapo.errors import RoiError
from dacapo.utils.padding import read_reflected, read_zero_padded

from .array import Array
from .chunk_cache import cached_chunks

MAX_READS = 32
"""Number of reads that wait for a store at the same time."""

QUICK = 0.01
"""Seconds below which reads are not worth being handed to threads."""

_threads: ThreadPoolExecutor | None = None
_seconds: WeakKeyDictionary[Array, float] = WeakKeyDictionary()
"""How long the last read of an array took."""


class Read(NamedTuple):
    """What to read.

    Attributes:
        array: Where from.
        roi: In world units, on the voxel grid of the array.
        padding: Whether voxels outside mirror the ones inside, or are 0; by default there must be none.
        inside: The part of the array that counts as inside, on its voxel grid; all of it by default.
    """

    array: Array
    roi: Roi
    padding: Literal["reflect", "zero"] | None = None
    inside: Roi | None = None


def read_all(reads: Iterable[Read | tuple[Array, Roi]]) -> list[np.ndarray[Any, Any]]:
    """Read regions of arrays, all at the same time and through the cache of decoded chunks.

    Regions of arrays on disk are read in threads, so that a slow store is waited for once and not once per region.
    Where reading was quick before, no threads are used. No voxel is read that no region needs. The values are those of
    ``array[roi]``, and may be shared with the array: copy them before changing them.

    Args:
        reads: What to read; pairs of an array and a roi will do.

    Returns:
        The values of each region, with all axes of its array.

    Raises:
        RoiError: If a region is not on the grid, or reaches outside without padding.
        StorageError: If a chunk cannot be read; the message names it.
    """
    todo = [Read(*read) for read in reads]
    with cached_chunks():
        # The last one is left for this thread, which would only wait.
        elsewhere = {number: _submit(todo[number]) for number in _worth_waiting_for_together(todo)[:-1]}
        here = {number: _read(read) for number, read in enumerate(todo) if number not in elsewhere}
    return [here[number] if number in here else elsewhere[number].result() for number in range(len(todo))]


def _worth_waiting_for_together(reads: Sequence[Read]) -> list[int]:
    """Return the numbers of those reads that threads are used for, none if all of them are likely to be quick."""
    stored = [number for number, read in enumerate(reads) if read.array.is_stored]
    expected = sum(_seconds.get(reads[number].array, math.inf) for number in stored)
    return stored if expected > QUICK else []


def _submit(read: Read) -> Future[np.ndarray[Any, Any]]:
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(MAX_READS, thread_name_prefix="dacapo-read")
    return _threads.submit(copy_context().run, _read, read)


def _after_fork() -> None:
    """Forget the threads, which a forked process does not have."""
    global _threads
    _threads = None


os.register_at_fork(after_in_child=_after_fork)


def _read(read: Read) -> np.ndarray[Any, Any]:
    started = time.perf_counter()
    source = read.array if read.inside is None else _Inside(read.array, read.inside)
    if read.padding is None:
        values = source[read.roi]
    elif read.padding == "reflect":
        values = read_reflected(source, read.roi)
    else:
        values = read_zero_padded(source, read.roi)
    _seconds[read.array] = time.perf_counter() - started
    return values


class _Inside:
    """A part of an array, as far as reading needs it."""

    def __init__(self, array: Array, roi: Roi) -> None:
        self.array = array
        self.roi = roi.intersect(array.roi)
        self.voxel_size = array.voxel_size
        self.axes = array.axes
        self.dtype = array.dtype
        self.num_channels = None if array.channel_axis is None else array.num_channels

    def __getitem__(self, roi: Roi) -> np.ndarray[Any, Any]:
        if not self.roi.contains(roi):
            raise RoiError(f"{self.array}: roi {roi} reaches outside of {self.roi}")
        return self.array[roi]
