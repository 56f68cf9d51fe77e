"""The main function of a worker process, ``python -m dacapo.blockwise``.

Environment variables tell it what to do: Daisy's name the scheduler of the blocks, and :data:`.JOB_VARIABLE` the file
with the job.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

from dacapo.blockwise.worker.job import JOB_VARIABLE, Job
from dacapo.blockwise.worker.leaving import LEAVING_SIGNALS, Leaving
from dacapo.blockwise.worker.loop import process_all, process_and_report
from dacapo.blockwise.worker.reports import START_ERROR, report
from dacapo.blockwise.worker.time_limit import limited
from dacapo.options import Options


def main() -> None:
    """Do the job that the environment names.

    Raises:
        SystemExit: With the code :data:`.LEFT`, if the worker leaves before all blocks are done.
    """
    started = time.time()
    # Its output goes to a log file.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    job = Job.from_json(Path(os.environ[JOB_VARIABLE]).read_text(encoding="utf-8"))
    try:
        Options.instance(**job.options)
        process = job.open()
    except Exception as error:
        if job.log_dir is not None:
            report(Path(job.log_dir) / START_ERROR, f"the worker {job.worker_file} cannot start", error)
        raise
    if process is None:
        return
    log_dir = None if job.log_dir is None else Path(job.log_dir)
    leaving = Leaving(log_dir, job.deadline(started))
    # In force once the watch is over: Slurm sends a signal twice when the time of a job is over.
    for number in LEAVING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with leaving.watch():
        if log_dir is None:
            process_all(process, leaving)
        else:
            process_and_report(limited(process, job.timeout), log_dir, leaving)
    leaving.leave()
