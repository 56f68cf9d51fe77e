"""Read several regions concurrently."""

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
"""Maximum number of concurrent reads."""

QUICK = 0.01
"""Threads are not used for reads expected to take less than this many seconds."""

_threads: ThreadPoolExecutor | None = None
_seconds: WeakKeyDictionary[Array, float] = WeakKeyDictionary()
"""Duration of the last read of each array."""


class Read(NamedTuple):
    """A region to read.

    Attributes:
        array: The array to read from.
        roi: In world units, on the voxel grid of the array.
        padding: Whether voxels outside mirror those inside, or are 0; by default the roi must lie inside.
        inside: The part of the array that counts as inside, on its voxel grid; by default all of it.
    """

    array: Array
    roi: Roi
    padding: Literal["reflect", "zero"] | None = None
    inside: Roi | None = None


def read_all(reads: Iterable[Read | tuple[Array, Roi]]) -> list[np.ndarray[Any, Any]]:
    """Read regions of arrays concurrently and through the cache of decoded chunks.

    Regions of arrays on disk are read in threads, so that the latency of a slow store counts once and not per region.
    If the last reads were fast, no threads are used. Only the requested voxels are read. The values are those of
    ``array[roi]``, and may share memory with the array: copy them before changing them.

    Args:
        reads: Regions to read; pairs of an array and a roi are accepted.

    Returns:
        The values of each region, with all axes of its array.

    Raises:
        RoiError: If a region is not on the grid, or extends outside without padding.
        StorageError: If a chunk cannot be read; the message names it.
    """
    todo = [Read(*read) for read in reads]
    with cached_chunks():
        # Keep the last one for this thread, which would only wait.
        elsewhere = {number: _submit(todo[number]) for number in _worth_waiting_for_together(todo)[:-1]}
        here = {number: _read(read) for number, read in enumerate(todo) if number not in elsewhere}
    return [here[number] if number in here else elsewhere[number].result() for number in range(len(todo))]


def _worth_waiting_for_together(reads: Sequence[Read]) -> list[int]:
    """Return the indices of the reads to do in threads; none if all of them are likely to be fast."""
    stored = [number for number, read in enumerate(reads) if read.array.is_stored]
    expected = sum(_seconds.get(reads[number].array, math.inf) for number in stored)
    return stored if expected > QUICK else []


def _submit(read: Read) -> Future[np.ndarray[Any, Any]]:
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(MAX_READS, thread_name_prefix="dacapo-read")
    return _threads.submit(copy_context().run, _read, read)


def _after_fork() -> None:
    """Forget the threads, which do not exist in a forked process."""
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
    """A part of an array, with the interface needed for reading."""

    def __init__(self, array: Array, roi: Roi) -> None:
        self.array = array
        self.roi = roi.intersect(array.roi)
        self.voxel_size = array.voxel_size
        self.axes = array.axes
        self.dtype = array.dtype
        self.num_channels = None if array.channel_axis is None else array.num_channels

    def __getitem__(self, roi: Roi) -> np.ndarray[Any, Any]:
        if not self.roi.contains(roi):
            raise RoiError(f"{self.array}: roi {roi} extends outside of {self.roi}")
        return self.array[roi]
