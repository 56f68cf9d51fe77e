"""Workers as jobs of an LSF cluster."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import attrs

from dacapo.compute_context.batch_system import BatchSystem, job_field, job_name, megabytes, seconds
from dacapo.compute_context.waiting_jobs import ask, reasons


@attrs.define
class Bsub(BatchSystem):
    """Run each worker as a job that ``bsub`` submits and waits for.

    Jobs reach the scheduling process over the network, and inherit its environment, which is the default of ``bsub``.
    Arrays and logs must be in folders that all machines can access.
    """

    job_pattern: ClassVar[re.Pattern[str] | None] = re.compile(r"^Job <(\d+)> is submitted")
    cancel_program: ClassVar[str | None] = "bkill"

    distribute_workers: bool | None = job_field("distribute_workers", default=True)
    queue: str = attrs.field(default="local", metadata={"help_text": "Queue that jobs are submitted to."})
    num_gpus: int = job_field("num_gpus", default=1)
    num_cpus: int = job_field("num_cpus", default=5)
    billing: str | None = attrs.field(
        default=None, metadata={"help_text": "Project that pays for the jobs; by default none is given."}
    )
    memory: str | None = job_field("memory", default=None)
    time: str | None = job_field("time", default=None)
    extra_flags: list[str] = job_field("extra_flags", factory=list)
    environment_setup: list[str] = job_field("environment_setup", factory=list)
    host: str | None = job_field("host", default=None)
    gpu_memory: str | None = job_field("gpu_memory", default=None)

    def waiting_jobs(self) -> dict[str, str]:
        """Return the reason for which each job of the user waits, by its id, as ``bjobs -p`` tells it.

        Raises:
            BlockwiseError: If ``bjobs`` cannot be run, or fails.
        """
        return reasons(ask(["bjobs", "-p"], none="No pending job found"))

    def wrap_command(self, command: Sequence[str], log: Path | None = None) -> list[str]:
        """Return the ``bsub`` command that runs ``command`` as a job and returns its exit code.

        Args:
            command: A program and its arguments.
            log: Log file, which names the job. The output of the job goes to a file of the same name with the suffix
                ``.job``; without a log, output is discarded rather than mailed.
        """
        options = ["-K", "-q", self.queue, "-n", str(self.num_cpus)]
        if self.num_cpus > 1:
            options += ["-R", "span[hosts=1]"]  # or cores of other machines, which the worker cannot use, may count
        if self.num_gpus > 0:
            options += ["-gpu", f"num={self.num_gpus}"]
        options += ["-J", job_name(log)]
        if self.billing is not None:
            options += ["-P", self.billing]
        if self.memory is not None:
            # The memory to reserve, and the limit.
            size = f"{megabytes(self.memory)}MB"
            options += ["-R", f"rusage[mem={size}]", "-M", size]
        if self.time is not None:
            hours, minutes = divmod(-(-seconds(self.time) // 60), 60)
            options += ["-W", f"{hours}:{minutes:02}"]
        options += ["-o", "/dev/null" if log is None else str(log.with_suffix(".job")), *self.extra_flags]
        # LSF joins the words and passes them to a shell.
        return ["bsub", *options, *map(shlex.quote, self.with_setup(command))]
