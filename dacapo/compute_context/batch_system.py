"""The parts that the batch systems of clusters share."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dacapo.compute_context.compute_context import DISTRIBUTE_HELP, ComputeContext, free_gpu_memory
from dacapo.errors import ConfigError
from dacapo.utils.memory import parse_size

if TYPE_CHECKING:
    import torch

_TIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")

_HELP = {
    "distribute_workers": DISTRIBUTE_HELP.format("job"),
    "num_gpus": "GPUs per worker; 0 asks for none.",
    "num_cpus": "Cores per worker, and threads that it uses.",
    "memory": "Memory per worker, such as '16GB' or '500MB' (1 GB is 1024 MB); the default of the cluster if left out.",
    "time": (
        "How long a job may take, such as '4:00:00' or, with days, '1-12:00:00'; "
        "the default of the cluster if left out."
    ),
    "extra_flags": (
        "Further arguments of the program that starts jobs, one item each. They come last, after what is made from the "
        "other fields."
    ),
    "environment_setup": (
        "Lines of bash that come before the worker in its job, such as 'module load cuda'. A line that fails ends the "
        "job."
    ),
    "host": (
        "Name or address under which jobs reach this machine, for machines with several networks or without a default "
        "route; found out if left out."
    ),
    "gpu_memory": (
        "Memory of the GPU of a worker, such as '40GB'. It decides about the size of blocks; if left out, what is free "
        "of the GPU of the machine that starts the jobs does, or without one the shape that the architecture is for."
    ),
}


def job_field(name: str, **default: Any) -> Any:
    """Return an attrs field for something that all batch systems can be asked for.

    Args:
        name: Its name, which its help text depends on.
        **default: ``default`` or ``factory``, as for :func:`attrs.field`.
    """
    return attrs.field(**default, metadata={"help_text": _HELP[name]})


class BatchSystem(ComputeContext):
    """Runs each worker as a job of a cluster, through a command that submits it and waits for its end.

    Jobs reach the process that hands out the blocks over the network, and get its environment. Arrays and logs have to
    lie in folders that all machines see.

    A subclass declares the fields, so that they come in the order that suits it, with :func:`job_field`.
    """

    __slots__ = ()

    num_gpus: int
    num_cpus: int
    memory: str | None
    time: str | None
    extra_flags: list[str]
    environment_setup: list[str]
    host: str | None
    gpu_memory: str | None

    def __attrs_post_init__(self) -> None:
        whole = all(isinstance(number, int) for number in (self.num_gpus, self.num_cpus))
        if not whole or self.num_gpus < 0 or self.num_cpus < 1:
            raise ConfigError(
                f"{type(self).__name__}: got num_gpus {self.num_gpus!r} and num_cpus {self.num_cpus!r}; "
                "expected at least 0 GPUs and at least 1 core"
            )
        for name in ("extra_flags", "environment_setup"):
            value = getattr(self, name)
            # A string would be taken for a list of its letters.
            if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
                raise ConfigError(f"{type(self).__name__}: {name} must be a list of strings, got {value!r}")
        if self.host is not None and not (isinstance(self.host, str) and self.host):
            raise ConfigError(f"{type(self).__name__}: host must be a name or an address, got {self.host!r}")
        for size in (self.memory, self.gpu_memory):
            if size is not None:
                megabytes(size)
        if self.time is not None:
            seconds(self.time)

    @property
    def device(self) -> torch.device:
        """The device for the network: a GPU where workers have one and this machine does too, else the CPU."""
        import torch

        return torch.device("cuda" if self.num_gpus > 0 and torch.cuda.is_available() else "cpu")

    @property
    def scheduler_host(self) -> str | None:
        """The ``host`` of the config."""
        return self.host

    @property
    def worker_memory(self) -> int | None:
        """The ``memory`` of the config, in bytes."""
        return None if self.memory is None else parse_size(self.memory)

    @property
    def has_gpus(self) -> bool:
        """Whether jobs get GPUs, which this machine need not have."""
        return self.num_gpus > 0

    def free_gpu_memory(self, num_workers: int) -> int | None:
        """Return the ``gpu_memory`` of the config; else what is free of this machine's GPU, None if it has none."""
        if self.gpu_memory is not None:
            return parse_size(self.gpu_memory)
        return free_gpu_memory(self.device, 1) if self.device.type == "cuda" else None

    def threads_per_worker(self, num_workers: int) -> int:
        """Return the number of cores of a job."""
        return self.num_cpus

    @abstractmethod
    def wrap_command(self, command: Sequence[str], log: Path | None = None) -> list[str]:
        """Return the command that runs ``command`` as a job, waits for it, and ends with its exit code.

        Args:
            command: A program and its arguments.
            log: Names the job after its file.
        """
        raise NotImplementedError

    def with_setup(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs the lines of ``environment_setup`` and then ``command``, in one shell."""
        if not self.environment_setup:
            return list(command)
        # The words of the command stay arguments of their own, which nothing needs to quote.
        script = "\n".join(["set -e", *self.environment_setup, 'exec "$@"'])
        return ["bash", "-c", script, "bash", *command]


def job_name(log: Path | None) -> str:
    """Return a name for a job, made from that of its log where there is one."""
    return "dacapo" if log is None else f"dacapo_{re.sub('[^A-Za-z0-9_-]', '_', log.stem)}"


def megabytes(memory: str) -> int:
    """Return how many MB, of 1024 KB, a size such as ``"16GB"`` or ``"1.5 GiB"`` has, rounded up.

    Raises:
        ConfigError: If it is no such text.
    """
    if not isinstance(memory, str):  # of a number nobody knows the unit
        raise ConfigError(f"memory must be a size with its unit, such as '16GB' or '500MB'; got {memory!r}")
    return -(-parse_size(memory) // 1024**2)


def seconds(time: str) -> int:
    """Return how many seconds a time such as ``"4:00:00"`` or, with days, ``"1-12:00:00"`` has.

    Raises:
        ConfigError: If it is no such text, or no time at all.
    """
    match = _TIME.fullmatch(time) if isinstance(time, str) else None
    days, hours, minutes, rest = (0, 0, 0, 0) if match is None else (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if total == 0:
        # YAML reads 4:00:00 as the number 14400.
        raise ConfigError(
            "time must be hours:minutes:seconds or days-hours:minutes:seconds in quotes, such as '4:00:00' or "
            f"'1-12:00:00'; got {time!r}"
        )
    return total
