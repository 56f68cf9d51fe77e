"""A cache of decoded chunks, shared by all arrays that a process reads in :func:`cached_chunks`.

It is the cache pool of TensorStore: bounded in bytes, with least recently used chunks evicted first. Every use of a
chunk checks its file, and reads it again if it changed, so the cache never returns stale values, whoever wrote them.

TensorStore's threads do not survive a fork, and using it in a forked process would end that process. Therefore a
process that was forked after TensorStore was loaded reads without this cache.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import attrs
import numpy as np

from dacapo.options import Options

from .plane_cache import planes
from .remote import CONTEXT
from .stored_array import StoredArray
from .tensorstore_arrays import open_tensorstore, read_tensorstore, tensorstore_spec

_reads_cached: ContextVar[bool] = ContextVar("_reads_cached", default=False)


@contextmanager
def cached_chunks() -> Iterator[None]:
    """Read stored arrays through the cache inside a ``with`` block, in the calling thread.

    This pays off if the same chunks are read repeatedly, as for random samples. Values are the same without it.
    """
    token = _reads_cached.set(True)
    try:
        yield
    finally:
        _reads_cached.reset(token)


@attrs.define
class _Pool:
    """The cache of this process.

    Attributes:
        context: The context of TensorStore, None before the first use.
        processes: Number of processes that have a cache like this one.
        is_forked: Whether the process that this one was forked from had loaded TensorStore.
    """

    context: Any = None
    processes: int = 1
    is_forked: bool = False


_pool = _Pool()
_lock = threading.Lock()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # the old lock may have been held by a thread of the parent
    # If TensorStore was loaded, it was most likely used; it cannot be asked.
    _pool.is_forked = is_lost_by_forking()


os.register_at_fork(after_in_child=_after_fork)


def is_lost_by_forking() -> bool:
    """Return whether a forked child of this process would read without the cache."""
    return _pool.is_forked or "tensorstore" in sys.modules


def share_cache(processes: int) -> None:
    """Keep only this process's share of the option ``chunk_cache_bytes``.

    Args:
        processes: Number of processes that read.
    """
    planes.share(processes)
    with _lock:
        if processes != _pool.processes:
            _pool.processes, _pool.context = processes, None


def _context() -> Any:
    import tensorstore

    with _lock:
        if _pool.context is None:
            limit = Options.instance().chunk_cache_bytes // _pool.processes
            _pool.context = tensorstore.Context({**CONTEXT, "cache_pool": {"total_bytes_limit": limit}})
        return _pool.context


class CachedReader:
    """Reads a stored array through the cache of the process that it is used in.

    A copy in another process begins with nothing opened.
    """

    def __init__(self, found: StoredArray, dtype: np.dtype[Any]) -> None:
        """Set the array; nothing is opened yet.

        Args:
            found: The array.
            dtype: Data type of the returned values.
        """
        self._found = found
        self._dtype = dtype
        self._context: Any = None
        self._opened: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_context": None, "_opened": None}

    def read(self, index: tuple[slice, ...]) -> np.ndarray[Any, Any] | None:
        """Return the values at an index, or None if the array has to be read another way.

        That is the case outside of :func:`cached_chunks`, in forked processes, with codecs that TensorStore does not
        support, and for an unreadable chunk, for which the other way raises a precise error.
        """
        if not _reads_cached.get() or _pool.is_forked:
            return None
        opened = self._open()
        if opened is None:
            return None
        try:
            return read_tensorstore(opened, index)
        except (ValueError, OSError):
            return None  # not swallowed: the other way raises it again, naming the chunk

    def _open(self) -> Any:
        context = _context()
        if self._context is not context:
            # In this order, since another thread may run in between.
            self._opened, self._context = self._opened_with(context), context
        return self._opened

    def _opened_with(self, context: Any) -> Any:
        try:
            opened = open_tensorstore(tensorstore_spec(self._found), context)
        except ValueError:
            return None
        return opened if np.dtype(opened.dtype.numpy_dtype) == self._dtype else None
