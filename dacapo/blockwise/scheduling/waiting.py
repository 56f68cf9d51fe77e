"""Telling the user now and then why jobs of workers wait in the queue of a cluster."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dacapo.blockwise.scheduling.task import DaCapoBlockwiseTask
from dacapo.compute_context.commands import jobs_in
from dacapo.compute_context.waiting_jobs import summary
from dacapo.errors import BlockwiseError

logger = logging.getLogger(__name__)

# Seconds between questions to the cluster, and between lines that say the same.
_INTERVAL = 60.0
_REPEATED = 600.0


@contextmanager
def tell_waiting_jobs(tasks: Sequence[DaCapoBlockwiseTask], interval: float = _INTERVAL) -> Iterator[None]:
    """Log why jobs wait, when that changes, and every ten minutes.

    Args:
        tasks: The tasks whose workers may be jobs.
        interval: Seconds between questions to the cluster.
    """
    done = threading.Event()
    threading.Thread(target=_tell, args=(tasks, interval, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _tell(tasks: Sequence[DaCapoBlockwiseTask], interval: float, done: threading.Event) -> None:
    said, said_at = "", 0.0
    while not done.wait(interval):
        try:
            text = _waiting(tasks)
        except BlockwiseError as error:
            logger.warning("why jobs wait is not known, and not asked for again: %s", error)
            return
        if text and (text != said or time.monotonic() - said_at > _REPEATED):
            logger.info(text)
            said, said_at = text, time.monotonic()


def _waiting(tasks: Sequence[DaCapoBlockwiseTask]) -> str:
    jobs = {job: task.compute_context for task in tasks for job in jobs_in(task.log_dir)}
    waiting: dict[str, str] = {}
    for context in {id(context): context for context in jobs.values()}.values():
        waiting |= {job: reason for job, reason in context.waiting_jobs().items() if jobs.get(job) is context}
    return summary(waiting.values()) if waiting else ""
