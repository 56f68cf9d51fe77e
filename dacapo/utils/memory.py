"""Sizes of memory: read, written, and how much there is."""

from __future__ import annotations

import math
import re
import resource
from pathlib import Path

from dacapo.errors import ConfigError

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT])(?:i?B)?", re.IGNORECASE)
_UNITS = "KMGT"

_SYSTEM, _PROCESS = Path("/proc/meminfo"), Path("/proc/self/status")
# Files of a control group with its limit and its use, by version.
_GROUP_FILES = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}
# Lines of its statistics, https://docs.kernel.org/admin-guide/cgroup-v2.html.
_RECLAIMED = ("active_file", "inactive_file", "slab_reclaimable")


def parse_size(size: str | int | float) -> int:
    """Return a size in bytes, rounded up.

    Args:
        size: A text such as ``"8GB"``, ``"1.5 GiB"`` or ``"500M"``, 1 GB being 1024 MB; or a number of bytes.

    Raises:
        ConfigError: If it is neither, or not above 0.
    """
    if isinstance(size, (int, float)) and not isinstance(size, bool) and 0 < size < math.inf:
        return -int(-size // 1)
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    number = 0.0 if match is None else float(match[1]) * 1024 ** (_UNITS.index(match[2].upper()) + 1)
    if not 0 < number < math.inf:
        raise ConfigError(
            f"memory must be a size with its unit K, M, G or T, such as '16GB' or '500MB', or bytes; got {size!r}"
        )
    return -int(-number // 1)


def format_size(number: float) -> str:
    """Return a number of bytes for people to read, such as ``"1.5 GB"`` (1 GB being 1024 MB).

    >>> format_size(1536 * 1024**2)
    '1.5 GB'
    """
    for unit in ("bytes", "KB", "MB", "GB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if number >= 100 or unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TB"


def available_memory() -> int | None:
    """Return how many bytes this process can still take without swapping, None where the system does not tell.

    Limits of control groups, which clusters and containers set, count, and so does that of ``ulimit -v``.
    """
    free = [_line(_SYSTEM, "MemAvailable:"), _free_addresses()]
    free += [max(0, limit - used) for limit, used in _groups()]
    return min((each for each in free if each is not None), default=None)


def total_memory() -> int | None:
    """Return how many bytes this machine or the control group has, used or not, None where the system does not tell."""
    known = [_line(_SYSTEM, "MemTotal:"), _most_addresses(), *(limit for limit, _ in _groups())]
    return min((each for each in known if each is not None), default=None)


def process_memory() -> int | None:
    """Return how many bytes this process holds, None where the system does not tell."""
    return _line(_PROCESS, "VmRSS:")


def _most_addresses() -> int | None:
    """Return the limit of this process's address space, in bytes."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _free_addresses() -> int | None:
    limit, used = _most_addresses(), _line(_PROCESS, "VmSize:")
    return None if limit is None or used is None else max(0, limit - used)


def _line(file: Path, name: str) -> int | None:
    """Return the value, given in KB, of a line in one of the files of the Linux kernel."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def _groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[tuple[int, int]]:
    """Return limit and use of the control groups of this process, in their second and their first version."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base = root / controllers
        names = _GROUP_FILES[2 if not controllers else 1]
        group = base / path.lstrip("/")
        # In a container the own group is the root, whatever its name is outside; parents limit their children.
        for folder in (group, *group.parents):
            if base not in (folder, *folder.parents):
                break
            try:
                limit, used = ((folder / name).read_text().strip() for name in names)
            except OSError:
                continue
            if limit != "max":
                found.append((int(limit), max(0, int(used) - _reclaimable(folder / "memory.stat"))))
    return found


def _reclaimable(statistics: Path) -> int:
    """Return how many of the bytes that a control group uses the kernel takes back when memory runs short.

    Pages of files that were read or written count as used until then. Files in shared memory are not among them.
    """
    try:
        lines = statistics.read_text().splitlines()
    except OSError:
        return 0
    values = {name: int(value) for name, value in (line.split() for line in lines)}
    # Version 1 states what the children use under names of its own.
    return sum(values.get(f"total_{name}", values.get(name, 0)) for name in _RECLAIMED)
