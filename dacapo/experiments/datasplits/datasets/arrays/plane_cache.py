"""A cache of decoded planes of images, for files that can only be decoded plane by plane."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from dacapo.options import Options

Plane = np.ndarray[Any, Any]


class PlaneCache:
    """The planes used last, within the memory of the option ``chunk_cache_bytes``; the last one is always kept."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._planes: OrderedDict[Hashable, Plane] = OrderedDict()
        self._bytes = 0
        self._share = 1

    def __contains__(self, key: Hashable) -> bool:
        return key in self._planes

    def get(self, key: Hashable, decode: Callable[[], Plane]) -> Plane:
        """Return a plane, decoded unless it is in the cache. It must not be changed."""
        with self.lock:
            if key in self._planes:
                self._planes.move_to_end(key)
                return self._planes[key]
        plane = decode()
        with self.lock:
            if key not in self._planes:
                self._planes[key] = plane
                self._bytes += plane.nbytes
            limit = Options.instance().chunk_cache_bytes // self._share
            while self._bytes > limit and len(self._planes) > 1:
                self._bytes -= self._planes.popitem(last=False)[1].nbytes
        return plane

    def share(self, processes: int) -> None:
        """Keep only the share of one of several processes."""
        self._share = processes

    def after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held; planes may be half entered then."""
        self.lock = threading.Lock()
        self._planes, self._bytes = OrderedDict(), 0


planes = PlaneCache()
os.register_at_fork(after_in_child=planes.after_fork)
