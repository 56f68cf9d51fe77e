"""A cache of decoded chunks, shared by all arrays that a process reads in :func:`cached_chunks`.

It is the cache pool of TensorStore: bounded in bytes, and what was not used for longest leaves first. The file of a
chunk is looked at whenever the chunk is used, and read again if it changed, so nothing old is ever returned, whoever
wrote it.

TensorStore works with threads, which a forked process does not have; it would end that process. So a process that was
forked after TensorStore was loaded reads without this cache.
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

from .containers import StoredArray, open_tensorstore, tensorstore_spec

_reads_cached: ContextVar[bool] = ContextVar("_reads_cached", default=False)


@contextmanager
def cached_chunks() -> Iterator[None]:
    """Read stored arrays through the cache as long as this lasts, in the calling thread.

    Worth it where the same chunks are read over and over, such as for random samples. Values are the same without.
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
        context: What TensorStore calls a context, None before the first use.
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
    _lock = threading.Lock()  # the former may have been held by a thread that is not here
    # Whoever loaded it has most likely used it, and there is no way to ask.
    _pool.is_forked = is_lost_by_forking()


os.register_at_fork(after_in_child=_after_fork)


def is_lost_by_forking() -> bool:
    """Return whether a process that this one forks reads without the cache."""
    return _pool.is_forked or "tensorstore" in sys.modules


def share_cache(processes: int) -> None:
    """Keep only a part of the option ``chunk_cache_bytes`` in this process, because others keep the rest.

    Args:
        processes: Number of processes that read.
    """
    with _lock:
        if processes != _pool.processes:
            _pool.processes, _pool.context = processes, None


def _context() -> Any:
    import tensorstore

    with _lock:
        if _pool.context is None:
            limit = Options.instance().chunk_cache_bytes // _pool.processes
            _pool.context = tensorstore.Context({"cache_pool": {"total_bytes_limit": limit}})
        return _pool.context


class CachedReader:
    """Reads a stored array through the cache of the process that it is used in.

    A copy in another process begins with nothing opened.
    """

    def __init__(self, found: StoredArray, dtype: np.dtype[Any]) -> None:
        """Set the array; nothing is opened yet.

        Args:
            found: The array.
            dtype: Type of the values to return.
        """
        self._found = found
        self._dtype = dtype
        self._context: Any = None
        self._opened: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_context": None, "_opened": None}

    def read(self, index: tuple[slice, ...]) -> np.ndarray[Any, Any] | None:
        """Return the values at an index, or None where the array has to be read another way.

        That is so outside of :func:`cached_chunks`, in forked processes, with codecs that TensorStore does not know,
        and where a chunk cannot be read: the other way then says what is wrong.
        """
        if not _reads_cached.get() or _pool.is_forked:
            return None
        opened = self._open()
        if opened is None:
            return None
        try:
            return np.asarray(opened[index].read().result())
        except (ValueError, OSError):
            return None  # not swallowed: reading the other way raises again, and says which chunk

    def _open(self) -> Any:
        context = _context()
        if self._context is not context:
            # In this order, since another thread may come in between.
            self._opened, self._context = self._opened_with(context), context
        return self._opened

    def _opened_with(self, context: Any) -> Any:
        try:
            opened = open_tensorstore(tensorstore_spec(self._found), context)
        except ValueError:
            return None
        return opened if np.dtype(opened.dtype.numpy_dtype) == self._dtype else None
