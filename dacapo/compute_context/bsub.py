"""Workers as jobs of an LSF cluster."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from dacapo.compute_context.compute_context import ComputeContext
from dacapo.errors import ConfigError

if TYPE_CHECKING:
    import torch

JOB_NAME = "dacapo"


@attrs.define
class Bsub(ComputeContext):
    """Runs each worker as a job that ``bsub`` submits and waits for.

    Jobs reach the process that hands out the blocks over the network, and inherit its environment, which is what
    ``bsub`` does unless told otherwise. Arrays and logs have to lie in folders that all machines see.
    """

    distribute_workers: bool | None = attrs.field(
        default=True, metadata={"help_text": "Start a job for a worker even where one worker is all there is."}
    )
    queue: str = attrs.field(default="local", metadata={"help_text": "Queue that jobs are submitted to."})
    num_gpus: int = attrs.field(default=1, metadata={"help_text": "GPUs per worker; 0 asks for none."})
    num_cpus: int = attrs.field(default=5, metadata={"help_text": "Cores per worker, and threads that it uses."})
    billing: str | None = attrs.field(
        default=None, metadata={"help_text": "Project that pays for the jobs; none is named if left out."}
    )

    def __attrs_post_init__(self) -> None:
        if self.num_gpus < 0 or self.num_cpus < 1:
            raise ConfigError(
                f"Bsub: got num_gpus {self.num_gpus} and num_cpus {self.num_cpus}; "
                "expected at least 0 GPUs and at least 1 core"
            )

    @property
    def device(self) -> torch.device:
        """The device for the network: a GPU where workers have one and this machine does too, else the CPU."""
        import torch

        return torch.device("cuda" if self.num_gpus > 0 and torch.cuda.is_available() else "cpu")

    def threads_per_worker(self, num_workers: int) -> int:
        """Return the number of cores of a job."""
        return self.num_cpus

    def wrap_command(self, command: Sequence[str], log: Path | None = None) -> list[str]:
        """Return the ``bsub`` command that runs ``command`` as a job and ends with its exit code.

        Args:
            command: A program and its arguments.
            log: Names the job after its file, and its output goes to a file of that name ending in ``.job``. Without
                it, output is dropped rather than mailed.
        """
        name = JOB_NAME if log is None else f"{JOB_NAME}_{re.sub('[^A-Za-z0-9_-]', '_', log.stem)}"
        output = "/dev/null" if log is None else str(log.with_suffix(".job"))
        gpus = ["-gpu", f"num={self.num_gpus}"] if self.num_gpus > 0 else []
        billing = ["-P", self.billing] if self.billing is not None else []
        options = ["-K", "-q", self.queue, "-n", str(self.num_cpus), *gpus, "-J", name, *billing, "-o", output]
        # LSF puts the words together again and gives them to a shell.
        return ["bsub", *options, *map(shlex.quote, command)]
