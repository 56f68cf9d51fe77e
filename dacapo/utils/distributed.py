"""Train one network in several processes.

Each process is a rank, counted from 0. In a single process, which is rank 0, the functions here do nothing. Values that
must agree on all ranks are exchanged over CPU memory; PyTorch exchanges the gradients.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from dacapo.errors import ConfigError, TrainingError
from dacapo.utils.cores import usable_cores
from dacapo.utils.presence import watched

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

# Environment variables that a launcher sets for every process it starts.
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

# How long the ranks wait for each other to start.
JOIN = timedelta(minutes=10)
# Timeout of waiting for a rank that validates, which may take long. A rank that died is noticed at once, and one whose
# machine has vanished after minutes, by `watched`.
TIMEOUT = timedelta(days=7)

_JOINED = "dacapo/joined/"

_rank, _world_size = 0, 1


def rank() -> int:
    """Return the rank of this process, 0 in a single process."""
    return _rank


def world_size() -> int:
    """Return the number of processes that train together."""
    return _world_size


def is_main() -> bool:
    """Return whether this process is the one that writes files and reports."""
    return _rank == 0


@contextmanager
def process_group(environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Join the process group of a launcher, such as torchrun, inside a ``with`` block.

    Does nothing without a launcher, or if the group exists already. With GPUs, each rank of a machine gets its own as
    the current device. If a rank fails, it raises its error; the others, which cannot continue without it, exit quietly
    with status 1.

    Raises:
        TrainingError: If some ranks do not join within ten minutes.
    """
    global _rank, _world_size
    if _world_size > 1 or int(environment.get("WORLD_SIZE", 1)) < 2 or any(v not in environment for v in VARIABLES):
        yield
        return
    import torch.distributed as dist

    store, own_rank, size = _join(int(environment.get("LOCAL_RANK", 0)))
    _rank, _world_size = own_rank, size
    master = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    try:
        with watched(store, own_rank, size, master):
            yield
            barrier()  # A launcher kills all processes once one has failed; let all of them finish first.
    except (Exception, KeyboardInterrupt) as error:
        if _first_to_fail(store) != own_rank:
            raise SystemExit(1) from error
        raise
    else:
        dist.destroy_process_group()
        # The threads that exchange data end with the last reference to the group. A thread that still ran when Python
        # exits, and then released a tensor, would end this process by SIGABRT.
        gc.collect()
    finally:
        _rank, _world_size = 0, 1


def _join(local_rank: int) -> tuple[Any, int, int]:
    """Connect to the other processes; return the shared store, the rank, and the number of processes."""
    import torch
    import torch.distributed as dist
    import torch.distributed.nn.functional  # loaded later, it would keep the group alive forever as a default argument

    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    if on_gpus:
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    store, own_rank, size = _met()
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpus else "gloo",
        store=dist.PrefixStore("group", store),  # type: ignore[attr-defined]
        rank=own_rank,
        world_size=size,
        timeout=TIMEOUT,
    )
    return store, own_rank, size


def _met() -> tuple[Any, int, int]:
    """Wait until all ranks have started; return the shared store, the rank, and the number of processes."""
    import torch.distributed as dist

    try:
        store, own_rank, size = next(dist.rendezvous("env://", timeout=JOIN))  # type: ignore[attr-defined]
        store.set(f"{_JOINED}{own_rank}", "")
        store.wait([f"{_JOINED}{rank}" for rank in range(size)], JOIN)
    except dist.DistError as error:
        expected, place = os.environ["WORLD_SIZE"], f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise TrainingError(
            f"not all of {expected} ranks have met at {place} within {JOIN.total_seconds() / 60:g} minutes; start all "
            f"at the same time, on machines that reach this address ({str(error).splitlines()[0]})"
        ) from error
    store.set_timeout(TIMEOUT)
    return store, own_rank, size


def _first_to_fail(store: Any) -> int | None:
    """Record this rank as failed, and return the first failed rank; None if the record is lost."""
    try:
        return int(store.compare_set("failed", "", str(_rank)))
    except (RuntimeError, ValueError):  # the process that holds the record has exited
        return None


def barrier() -> None:
    """Wait until all ranks have called this function."""
    agree(False)


def agree(*flags: bool) -> list[bool]:
    """Return for each flag whether any rank set it; all ranks must call this at the same time."""
    if _world_size == 1:
        return list(flags)
    import torch
    import torch.distributed as dist

    together = torch.tensor(flags, dtype=torch.uint8)
    dist.all_reduce(together, dist.ReduceOp.MAX)
    return [bool(flag) for flag in together.tolist()]


def check_devices(device: torch.device) -> None:
    """Check that all ranks use the same kind of device, and that no two share a GPU.

    Raises:
        ConfigError: If they do not.
    """
    import torch

    used = (socket.gethostname(), str(torch.cuda.get_device_properties(device).uuid if device.type == "cuda" else ""))
    taken = gather((device.type, used))
    if len({kind for kind, _ in taken}) > 1:
        raise ConfigError(
            f"ranks would train on {', '.join(kind for kind, _ in taken)}; all need the same kind of device"
        )
    if device.type == "cuda" and len(set(taken)) < len(taken):
        raise ConfigError(
            f"{len(taken)} ranks would share {len(set(taken))} GPUs, but each needs its own; start fewer ranks, or "
            "omit the device index in the option compute_context"
        )


def mean(value: float) -> float:
    """Return the mean of a value over all ranks."""
    if _world_size == 1:
        return value
    import torch
    import torch.distributed as dist

    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total) / _world_size


def gather(value: T) -> list[T]:
    """Return the values of all ranks, in order, on every rank."""
    if _world_size == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * _world_size
    dist.all_gather_object(values, value)
    return values


def share(items: Sequence[T]) -> list[T]:
    """Return this rank's share of some items; all of them in a single process."""
    return list(items[_rank::_world_size])


def copy_buffers(model: torch.nn.Module) -> None:
    """Copy the buffers of a model from rank 0 to all ranks, such as the running means of normalization."""
    if _world_size == 1:
        return
    import torch.distributed as dist

    for buffer in model.buffers():
        dist.broadcast(buffer, 0)


def launch(arguments: Sequence[str], count: int) -> int:
    """Run Python with the same arguments in several processes that form a group, and wait for all of them.

    SIGINT and SIGTERM are passed on, and the processes may take their time to exit. If a process fails, the others are
    terminated.

    Args:
        arguments: Arguments of ``python``, the same for all.
        count: Number of processes.

    Returns:
        The exit status of the process that failed first, 0 if none did.

    Raises:
        TrainingError: If a process was killed by a signal.
    """
    import torch.distributed as dist
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, start_processes

    # The parent hosts the store that connects the ranks, so its port is free and it outlives all of them.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    shared = {
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": store.port,
        "TORCHELASTIC_USE_AGENT_STORE": True,
        "TORCHELASTIC_RESTART_COUNT": 0,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", max(1, usable_cores() // count)),
    }
    environments = {
        number: {name: str(value) for name, value in {**shared, "RANK": number, "LOCAL_RANK": number}.items()}
        for number in range(count)
    }
    with TemporaryDirectory() as logs:
        context = start_processes(
            "dacapo",
            sys.executable,
            dict.fromkeys(range(count), tuple(arguments)),
            environments,
            DefaultLogsSpecs(logs),
        )

        def pass_on(number: int, frame: Any) -> None:
            for process in context.pids().values():
                with suppress(ProcessLookupError):
                    os.kill(process, number)

        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, pass_on)
            result = context.wait(period=0.1)
        finally:
            context.close()
    statuses = {} if result is None else {rank: failure.exitcode for rank, failure in result.failures.items()}
    return _first_status(statuses)


def _first_status(statuses: dict[int, int]) -> int:
    """Return the first nonzero status, given those of the failed ranks in the order in which they failed."""
    for number, status in statuses.items():
        # The others were terminated by SIGTERM.
        if status < 0 and status != -signal.SIGTERM:
            name = signal.Signals(-status).name
            raise TrainingError(f"rank {number} was killed by {name}; for SIGKILL, memory may have run out")
    return max(1, next(iter(statuses.values()))) if statuses else 0
