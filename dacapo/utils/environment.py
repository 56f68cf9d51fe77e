"""The software and the machine that a process runs with, as plain values for records."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from dacapo.utils.cores import usable_cores
from dacapo.utils.memory import total_memory

_PACKAGE = "dacapo"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package, and of the packages that it requires and that are installed.

    Optional ones are included, and the packages that bring plugins.

    >>> sorted({"dacapo", "numpy", "python", "torch", "zarr"} - set(versions()))
    []
    """
    required = {_name(text) for text in metadata.requires(_PACKAGE) or ()}
    required |= {plugin.dist.name for plugin in metadata.entry_points(group="dacapo.plugins") if plugin.dist}
    found = {"python": platform.python_version(), _PACKAGE: metadata.version(_PACKAGE)}
    for name in sorted(required - {_PACKAGE}):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an extra that is not installed
            continue
    return found


def _name(requirement: str) -> str:
    found = _NAME.match(requirement)
    return found[0] if found else requirement


def machine() -> dict[str, Any]:
    """Return what of this machine may change results or speed: system, processor, memory, threads, GPUs."""
    import torch

    variables = {name: value for name, value in sorted(os.environ.items()) if name.endswith("_NUM_THREADS")}
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_bytes": total_memory(),
        "threads": torch.get_num_threads(),
        "thread_variables": variables,
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,  # type: ignore[no-untyped-call]
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _cpu(description: Path = Path("/proc/cpuinfo")) -> str:
    """Return the name of the processor, which Python knows on some systems only."""
    try:
        lines = description.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
