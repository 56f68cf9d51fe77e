"""Workers as jobs of a Slurm cluster."""

from __future__ import annotations

import getpass
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import attrs

from dacapo.compute_context.batch_system import BatchSystem, job_field, job_name, megabytes, seconds
from dacapo.compute_context.waiting_jobs import ask, reasons
from dacapo.utils.cores import node_cores

logger = logging.getLogger(__name__)


@attrs.define
class Slurm(BatchSystem):
    """Run each worker as a job that ``srun`` submits and waits for.

    Jobs reach the scheduling process over the network, and inherit its environment. Arrays must be in folders that
    all machines can access. Inside an allocation of ``salloc`` or ``sbatch``, a worker is a step of it instead of a
    separate job.
    """

    # Not the job of an allocation that srun runs in, of which it says other things.
    job_pattern: ClassVar[re.Pattern[str] | None] = re.compile(r"^srun: job (\d+) (?:queued|has been allocated)")
    # It says that a job failed after the job has said why.
    chatter: ClassVar[re.Pattern[str] | None] = re.compile(
        r"^srun: (?:[Jj]ob |Step created|(?:Force )?Terminat|error: .*: task \d+: Exited with exit code)"
        r'|^Try "srun --help"'
    )
    cancel_program: ClassVar[str | None] = "scancel"
    end_variable: ClassVar[str] = "SLURM_JOB_END_TIME"

    distribute_workers: bool | None = job_field("distribute_workers", default=True)
    queue: str | None = attrs.field(
        default=None,
        metadata={"help_text": "Partition that jobs are submitted to; by default that of the cluster."},
    )
    num_gpus: int = job_field("num_gpus", default=1)
    num_cpus: int = job_field("num_cpus", default=5)
    memory: str | None = job_field("memory", default=None)
    time: str | None = job_field("time", default=None)
    account: str | None = attrs.field(
        default=None, metadata={"help_text": "Account that pays for the jobs; by default that of the user."}
    )
    extra_flags: list[str] = job_field("extra_flags", factory=list)
    environment_setup: list[str] = job_field("environment_setup", factory=list)
    host: str | None = job_field("host", default=None)
    gpu_memory: str | None = job_field("gpu_memory", default=None)

    @property
    def cores(self) -> int:
        """Number of cores of a worker: ``num_cpus``, or those that a node of the allocation has, if these are fewer."""
        return min(self.num_cpus, node_cores() or self.num_cpus)

    def threads_per_worker(self, num_workers: int) -> int:
        """Return the number of cores of a worker, and warn if these are fewer than the config asks for."""
        if self.cores < self.num_cpus:
            logger.warning(
                "num_cpus is %d, but the allocation of Slurm has %d cores on a node, so a worker gets %d",
                self.num_cpus,
                self.cores,
                self.cores,
            )
        return self.cores

    def waiting_jobs(self) -> dict[str, str]:
        """Return the reason for which each job of the user waits, by its id, as ``squeue`` tells it.

        Raises:
            BlockwiseError: If ``squeue`` cannot be run, or fails.
        """
        states = ["--noheader", "--states=PENDING", f"--user={getpass.getuser()}"]
        return reasons(ask(["squeue", *states, "--format=%i %r"]))

    def wrap_command(self, command: Sequence[str], log: Path | None = None) -> list[str]:
        """Return the ``srun`` command that runs ``command`` as a job and returns its exit code.

        Unlike ``sbatch --wait``, ``srun`` forwards the output of the job, and ends the job if it is terminated.

        Args:
            command: A program and its arguments.
            log: Log file, which names the job.
        """
        options = [f"--job-name={job_name(log)}", "--nodes=1", "--ntasks=1", f"--cpus-per-task={self.cores}"]
        if self.queue is not None:
            options.append(f"--partition={self.queue}")
        if self.num_gpus > 0:
            options.append(f"--gres=gpu:{self.num_gpus}")
        elif node_cores() is not None:
            options.append("--gres=none")  # a step of an allocation gets all GPUs of it by default
        if self.memory is not None:
            options.append(f"--mem={megabytes(self.memory)}M")
        if self.time is not None:
            minutes, rest = divmod(seconds(self.time), 60)
            options.append(f"--time={minutes // 60}:{minutes % 60:02}:{rest:02}")
        if self.account is not None:
            options.append(f"--account={self.account}")
        # Whatever the site's defaults are, workers need our environment, but not our input.
        options += ["--export=ALL", "--input=none"]
        return ["srun", *options, *self.extra_flags, *self.with_setup(command)]
