"""Processor time of a process with all the processes it started; needs Linux, and nothing but the standard library."""

from __future__ import annotations

import os
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def tree_seconds(root: int | None = None) -> float:
    """Return the user and system time, in seconds, of a process and its descendants, those that ended included.

    Args:
        root: Its process id; this process without.
    """
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold spaces; state and parent follow, times are the 14th to 17th field.
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile, and its parent's sum holds its time
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        seconds[pid] = sum(int(field) for field in fields[11:15]) * _TICK
    root = os.getpid() if root is None else root
    return sum(spent for pid, spent in seconds.items() if _descends(pid, root, parents))


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid != root:
        if pid not in parents:
            return False
        pid = parents[pid]
    return True
