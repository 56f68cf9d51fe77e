"""Workers that stay for the next pass, instead of ending with each.

One call, such as :func:`dacapo.apply.apply`, has several passes over blocks, each of them a Daisy task. A pool keeps
the workers of a pass, processes or jobs, for the next passes that need the same resources. These processes take part:

- the calling one, with the :class:`WorkerPool`;
- for each slot of the pool one that holds it (:mod:`.holder`) on the same machine: it starts a worker whenever there is
  an order and none runs, and ends it, or cancels its job, together with the calling process;
- for each worker of a pass the small one in which Daisy starts workers (:mod:`.starter`): it takes a slot, and gives
  the order to do the pass (:mod:`.lease`); a worker that dies is replaced as without a pool;
- the worker (:mod:`.process`), which does one order after the other, and ends by itself after some idle time.

They talk through the files of a :class:`~.slot.Slot`.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from dacapo.blockwise.worker.holder import Holder
from dacapo.blockwise.worker.lease import HeldSlot
from dacapo.blockwise.worker.place import locked_file
from dacapo.blockwise.worker.slot import Order, Slot
from dacapo.blockwise.worker.starter import WorkerStarter
from dacapo.compute_context import ComputeContext, Step, create_compute_context
from dacapo.store.files import make_folder

IDLE = 600.0
"""Seconds that a worker waits for the next pass."""
_FOLDER = "workers_"
# Seconds for workers to end by themselves, and to be ended: batch systems are asked to cancel jobs.
_GRACE = 10.0
_END = 45.0


@attrs.define
class _Open:
    """An open slot: the resources of its workers, its number among those with the same, and its process."""

    resources: dict[str, Any]
    place: int
    held: HeldSlot
    process: subprocess.Popen[bytes]

    @property
    def is_open(self) -> bool:
        return self.process.poll() is None and not self.held.slot.order.is_last

    def let_go(self) -> None:
        """Let its worker end, or take it out of the queue of a cluster."""
        if self.held.slot.state.what == "starting":
            self.process.terminate()
        self.held.slot.put(Order(is_last=True))


@attrs.define
class WorkerPool:
    """The workers of a call, to be used in a ``with`` block, at whose end they end.

    Attributes:
        steps: The steps of the call that are not over.
        idle: Seconds that a worker waits for the next pass before it ends.
    """

    steps: set[Step]
    idle: float = IDLE
    _slots: list[_Open] = attrs.field(factory=list, init=False)
    _folder: Path | None = attrs.field(default=None, init=False)
    _locks: Path | None = attrs.field(default=None, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._let_go(self._slots)
                _wait(self._slots, _GRACE)
        finally:
            for slot in self._slots:
                slot.process.terminate()
            _wait(self._slots, _END)
            for slot in self._slots:
                slot.process.kill()
                slot.process.wait()
        for folder in (self._locks, self._folder if kind is None else None):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def lend(self, starter: WorkerStarter, num_workers: int, most: int, folder: Path) -> list[HeldSlot]:
        """Return the slots for the workers of a task.

        Args:
            starter: What starts the workers without a pool.
            num_workers: Number of the workers.
            most: Number of workers for whose memory there is room, if they run on this machine; others are let go.
            folder: Where the pool keeps its files, if this is its first task: workers see it, no other call uses it.

        Raises:
            StorageError: If the files cannot be written.
        """
        wanted = resources(starter.compute_context)
        fitting = [slot for slot in self._slots if slot.is_open and slot.resources == wanted]
        if starter.compute_context.local_cores is not None:
            self._let_go([slot for slot in self._slots if slot not in fitting[:most]])
        while len(fitting) < num_workers:
            taken = {slot.place for slot in fitting}
            fitting.append(self._open(starter, min(set(range(num_workers)) - taken), folder))
        return [slot.held for slot in fitting[:num_workers]]

    def over(self, *steps: Step) -> None:
        """Take note that steps are over: workers with resources that no other step needs are let go."""
        self.steps -= set(steps)
        needed = [resources(create_compute_context(step=step)) for step in self.steps]
        self._let_go([slot for slot in self._slots if slot.resources not in needed])

    def _let_go(self, slots: Iterable[_Open]) -> None:
        for slot in slots:
            if slot.is_open:
                slot.let_go()

    def _open(self, starter: WorkerStarter, place: int, folder: Path) -> _Open:
        if self._folder is None or self._locks is None:
            make_folder(folder)
            for left in folder.glob(f"{_FOLDER}*"):  # by a call that was killed
                shutil.rmtree(left, ignore_errors=True)
            self._folder = Path(tempfile.mkdtemp(prefix=_FOLDER, dir=folder)).resolve()
            self._locks = Path(tempfile.mkdtemp(prefix="dacapo_locks_"))
        number = len(self._slots)
        slot = Slot.create(self._folder, number, self.idle)
        environment = {**starter.environment, **starter.compute_context.worker_environment(place)}
        holder = Holder(starter.compute_context, slot, environment)
        life, use = self._locks / f"life_{number}", self._locks / f"use_{number}"
        lock = locked_file(life)
        assert lock is not None, "nobody else knows the file"
        with lock:
            process = holder.start(starter.python_path, [lock.fileno()])
        held = HeldSlot(slot, process.pid, life, use)
        opened = _Open(resources(starter.compute_context), place, held, process)
        self._slots.append(opened)
        return opened


def resources(context: ComputeContext) -> dict[str, Any]:
    """Return by what workers with the same resources are known."""
    names = {field.name for field in attrs.fields(type(context))} - {"steps", "num_workers", "distribute_workers"}
    return {"type": type(context), **{name: getattr(context, name) for name in names}}


def _wait(slots: Iterable[_Open], seconds: float) -> None:
    end = time.monotonic() + seconds
    for slot in slots:
        with suppress(subprocess.TimeoutExpired):
            slot.process.wait(max(0.0, end - time.monotonic()))
