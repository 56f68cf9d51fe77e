"""The base class of compute contexts on clusters."""

from __future__ import annotations

import logging
import re
import subprocess
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from dacapo.compute_context.compute_context import DISTRIBUTE_HELP, ComputeContext, free_gpu_memory
from dacapo.errors import ConfigError
from dacapo.utils.memory import parse_size

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_TIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")

_HELP = {
    "distribute_workers": DISTRIBUTE_HELP.format("job"),
    "num_gpus": "Number of GPUs per worker.",
    "num_cpus": "Number of cores and threads per worker.",
    "memory": "Memory per worker, such as '16GB' or '500MB' (1 GB is 1024 MB); by default that of the cluster.",
    "time": "Time limit of a job, such as '4:00:00' or, with days, '1-12:00:00'; by default that of the cluster.",
    "extra_flags": (
        "Additional arguments of the program that starts jobs, one item each, after those from other fields."
    ),
    "environment_setup": (
        "Lines of bash to run before the worker in its job, such as 'module load cuda'. A line that fails ends the job."
    ),
    "host": (
        "Name or address under which jobs reach this machine, for machines with several networks or without a default "
        "route; detected by default."
    ),
    "gpu_memory": (
        "Memory of the GPU of a worker, such as '40GB', which determines the size of blocks. By default the free "
        "memory of this machine's GPU determines it, or else the input shape of the architecture."
    ),
}


def job_field(name: str, **default: Any) -> Any:
    """Return an attrs field that all batch systems have.

    Args:
        name: Name of the field, which determines the help text.
        **default: ``default`` or ``factory``, as for :func:`attrs.field`.
    """
    return attrs.field(**default, metadata={"help_text": _HELP[name]})


class BatchSystem(ComputeContext):
    """Run each worker as a job of a cluster, through a command that submits it and waits for its end.

    Jobs reach the scheduling process over the network, and inherit its environment. Arrays and logs must be in folders
    that all machines can access.

    A subclass declares the fields with :func:`job_field`, in the order that suits it.

    Attributes:
        job_pattern: Finds the id of a job in the output of the command that submits it, as its first group.
        chatter: Finds lines in that output that do not tell why a job failed.
        cancel_program: Ends the job of an id.
    """

    __slots__ = ()

    job_pattern: ClassVar[re.Pattern[str] | None] = None
    chatter: ClassVar[re.Pattern[str] | None] = None
    cancel_program: ClassVar[str | None] = None

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
            # A string would be read as a list of its letters.
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
        """The device for the network: a GPU if workers and this machine have one, else the CPU."""
        import torch

        return torch.device("cuda" if self.num_gpus > 0 and torch.cuda.is_available() else "cpu")

    @property
    def cpu_fields(self) -> dict[str, Any]:
        """No GPU."""
        return {"num_gpus": 0}

    @property
    def scheduler_host(self) -> str | None:
        """The ``host`` of the config."""
        return self.host

    @property
    def worker_memory(self) -> int | None:
        """The ``memory`` of the config, in bytes."""
        return None if self.memory is None else parse_size(self.memory)

    @property
    def time_limit(self) -> float | None:
        """The ``time`` of the config in seconds, None if the cluster's default applies."""
        return None if self.time is None else seconds(self.time)

    @property
    def has_gpus(self) -> bool:
        """Whether jobs get GPUs; this machine need not have any."""
        return self.num_gpus > 0

    def free_gpu_memory(self, num_workers: int) -> int | None:
        """Return the ``gpu_memory`` of the config, or else the free memory of this machine's GPU, if it has one."""
        if self.gpu_memory is not None:
            return parse_size(self.gpu_memory)
        return free_gpu_memory(self.device, 1) if self.device.type == "cuda" else None

    def threads_per_worker(self, num_workers: int) -> int:
        """Return the number of cores of a job."""
        return self.num_cpus

    @abstractmethod
    def wrap_command(self, command: Sequence[str], log: Path | None = None) -> list[str]:
        """Return the command that runs ``command`` as a job, waits for it, and returns its exit code.

        Args:
            command: A program and its arguments.
            log: Log file, which names the job.
        """
        raise NotImplementedError

    def job_in(self, line: str) -> str | None:
        """Return the id of the job that a line of the output of its command names, None if it names none."""
        match = None if self.job_pattern is None else self.job_pattern.search(line)
        return None if match is None else match[1]

    def tells_cause(self, line: str) -> bool:
        """Return whether a line of the output of a command may tell why its job failed."""
        return self.chatter is None or self.chatter.search(line) is None

    def cancel(self, job: str) -> None:
        """End a job, or take it out of the queue; the log has what the command says to that."""
        if self.cancel_program is None:
            return
        try:
            said = subprocess.run(
                [self.cancel_program, job], capture_output=True, text=True, errors="replace", timeout=30, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            logger.warning("job %s may still be in the queue: %s", job, error)
        else:
            logger.info("%s %s: %s%s", self.cancel_program, job, said.stdout, said.stderr)

    def with_setup(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs the lines of ``environment_setup`` and then ``command``, in one shell."""
        if not self.environment_setup:
            return list(command)
        # The words of the command stay separate arguments, so that none needs quotes.
        script = "\n".join(["set -e", *self.environment_setup, 'exec "$@"'])
        return ["bash", "-c", script, "bash", *command]


def job_name(log: Path | None) -> str:
    """Return a name for a job, after its log file if it has one."""
    return "dacapo" if log is None else f"dacapo_{re.sub('[^A-Za-z0-9_-]', '_', log.stem)}"


def megabytes(memory: str) -> int:
    """Return a size such as ``"16GB"`` or ``"1.5 GiB"`` in MB, of 1024 KB, rounded up.

    Raises:
        ConfigError: If the text is not a size.
    """
    if not isinstance(memory, str):  # the unit of a number is unknown
        raise ConfigError(f"memory must be a size with its unit, such as '16GB' or '500MB'; got {memory!r}")
    return -(-parse_size(memory) // 1024**2)


def seconds(time: str) -> int:
    """Return a time such as ``"4:00:00"`` or, with days, ``"1-12:00:00"`` in seconds.

    Raises:
        ConfigError: If the text is not a time, or 0.
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
