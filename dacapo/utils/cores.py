"""The processor cores that this process may use: those of the machine, or those that a cluster gives its job."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_PER_TASK, _ON_NODE = "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"
_OF_JOB = "LSB_DJOB_NUMPROC"
_RANKS = "LOCAL_WORLD_SIZE"
_OF_NODES = "SLURM_JOB_CPUS_PER_NODE"


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(here, job_cores() or here)


def job_cores(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the number of cores of the Slurm or LSF job of this process; None outside of jobs.

    A job may see more cores than it got, where the cluster does not bind it to them.
    """
    found = [_number(environment.get(name)) for name in (_PER_TASK, _ON_NODE, _OF_JOB)]
    return min((number for number in found if number), default=None)


def within_job(number: int, environment: Mapping[str, str] = os.environ) -> int:
    """Return a number of threads or processes, or less if this process has fewer cores of its Slurm or LSF job.

    Processes that train together on this machine share its cores. Outside of jobs the number stays.
    """
    cores = job_cores(environment)
    return number if cores is None else min(number, max(1, cores // local_ranks(environment)))


def local_ranks(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many processes train together on this machine, this one included."""
    return _number(environment.get(_RANKS)) or 1


def node_cores(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the cores of the largest node of the Slurm allocation of this process; None outside of allocations."""
    # Such as 8(x2),4: two nodes with 8 cores, and one with 4.
    numbers = re.findall(r"(\d+)(?:\(x\d+\))?(?:,|$)", environment.get(_OF_NODES, ""))
    return max(map(int, numbers), default=None)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
