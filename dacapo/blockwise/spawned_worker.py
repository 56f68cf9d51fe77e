"""A worker process for a Daisy task of the user."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import attrs
import daisy.v2 as daisy

from dacapo.blockwise.jobs import JOB_VARIABLE, Job, write_job
from dacapo.blockwise.worker import check_is_worker
from dacapo.blockwise.worker_starter import ends_with, log_base
from dacapo.compute_context import ComputeContext, create_compute_context
from dacapo.options import Options
from dacapo.store.array_store import LocalArrayIdentifier


@attrs.frozen
class SpawnedWorker:
    """Starts a worker where the compute context of the options says, and waits for its end.

    A Daisy task takes it as its ``process_function``, and calls it in a small process for each worker.

    Attributes:
        job: What the worker does; the settings of the process that made it are part of that.
        compute_context: Where the worker runs.
        python_path: Where modules are looked for.
    """

    job: Job
    compute_context: ComputeContext = attrs.field(factory=create_compute_context)
    python_path: str = attrs.field(factory=lambda: os.pathsep.join(path for path in sys.path if path))

    @classmethod
    def of(
        cls,
        worker_file: str,
        input_array: LocalArrayIdentifier | None,
        output_array: LocalArrayIdentifier,
        **kwargs: Any,
    ) -> SpawnedWorker:
        """Make one for a worker module whose function takes containers and datasets.

        Args:
            worker_file: A Python file, or the import path of a module.
            input_array: What its workers read; None if that is not for the caller to say.
            output_array: What they write.
            **kwargs: Further arguments of its function: numbers, strings, lists, dicts or paths.

        Raises:
            ConfigError: If an argument cannot be sent to another process.
        """
        arrays = {"input": input_array, "output": output_array}
        names = {
            f"{name}_{part}": getattr(array, part)
            for name, array in arrays.items()
            if array is not None
            for part in ("container", "dataset")
        }
        job = Job(worker_file, [], {**names, **kwargs}, None, Options.instance().serialize())
        return cls(Job.from_json(job.to_json()))

    def __call__(self) -> None:
        """Start the worker.

        Raises:
            ConfigError: If this process is no worker of a Daisy task.
            BlockwiseError: If the worker cannot be started or fails; the message ends with its last output.
        """
        check_is_worker()
        folder = log_base(self.compute_context, None)
        folder.mkdir(parents=True, exist_ok=True)
        worker = int(daisy.Context.from_env()["worker_id"])
        with tempfile.TemporaryDirectory(prefix="dacapo_worker_", dir=folder) as own, ends_with(os.getppid()):
            self.compute_context.execute(
                [sys.executable, "-m", "dacapo.blockwise"],
                environment={
                    JOB_VARIABLE: str(write_job(self.job.to_json(), Path(own))),
                    "PYTHONPATH": self.python_path,
                    **self.compute_context.worker_environment(worker),
                },
            )
