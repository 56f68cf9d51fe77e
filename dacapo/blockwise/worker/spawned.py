"""Starting a worker process for a Daisy task of the user."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import attrs
import daisy.v2 as daisy

from dacapo.blockwise.worker.job import JOB_VARIABLE, Job, write_job
from dacapo.blockwise.worker.lifetime import end_with
from dacapo.blockwise.worker.loop import check_is_worker
from dacapo.blockwise.worker.starter import WORKER_COMMAND, log_base, search_path
from dacapo.blockwise.worker.user_modules import declared_step, load_module
from dacapo.compute_context import ComputeContext, Step, create_compute_context
from dacapo.options import Options
from dacapo.store.array_store import LocalArrayIdentifier


@attrs.frozen
class SpawnedWorker:
    """Starts a worker where the compute context of the options says, and waits until it ends.

    It is the ``process_function`` of a Daisy task, which calls it in a small process for each worker.

    Attributes:
        job: The job of the worker, with the settings of the process that made it.
        compute_context: Where the worker runs.
        python_path: Where the worker looks for modules.
    """

    job: Job
    compute_context: ComputeContext = attrs.field(factory=create_compute_context)
    python_path: str = attrs.field(factory=search_path)

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
            input_array: The array that workers read; None if the function takes no input.
            output_array: The array that they write.
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
        step = declared_step(load_module(worker_file), worker_file, Step.BLOCKWISE)
        context = create_compute_context(step=step)
        options = Options.instance().serialize()
        job = Job(worker_file, [], {**names, **kwargs}, None, options, context.time_limit, context.end_variable)
        return cls(Job.from_json(job.to_json()), context)

    def __call__(self) -> None:
        """Start the worker.

        Raises:
            ConfigError: If this process is no worker of a Daisy task.
            BlockwiseError: If the worker cannot be started or fails; the message ends with its last output.
        """
        check_is_worker()
        folder = log_base(self.compute_context, None)
        folder.mkdir(parents=True, exist_ok=True)
        context = daisy.Context.from_env()
        worker = int(context["worker_id"])
        with tempfile.TemporaryDirectory(prefix="dacapo_worker_", dir=folder) as own, end_with(os.getppid(), context):
            self.compute_context.execute(
                WORKER_COMMAND,
                environment={
                    JOB_VARIABLE: str(write_job(self.job.to_json(), Path(own))),
                    "PYTHONPATH": self.python_path,
                    **self.compute_context.worker_environment(worker),
                },
            )
