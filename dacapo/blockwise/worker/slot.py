"""A slot of a worker pool: the files through which its worker gets orders, and tells what became of them.

A worker may run on another machine, so the files are in a folder that all machines see; each is replaced at once, and
written by one process only. The processes are described in :mod:`.pool`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs

from dacapo.store.files import write_text
from dacapo.utils.plain_json import parse_json


@attrs.frozen
class Order:
    """What the worker of a slot is to do.

    Attributes:
        number: Counts the orders of the slot, from 1 on; 0 stands for none.
        job: File with the job of a pass, see :mod:`.job`; empty to wait.
        context: Daisy's context of the worker, as text.
        log: File for what the worker prints meanwhile.
        threads: Number of threads that it may use; empty to keep that with which it was started.
        is_last: Whether to end, since the slot is needed no more.
    """

    number: int = 0
    job: str = ""
    context: str = ""
    log: str = ""
    threads: str = ""
    is_last: bool = False


@attrs.frozen
class State:
    """What a worker says of itself.

    Attributes:
        what: ``starting`` is said for it before it runs, ``waiting`` before its first order.
        number: The order that it has begun, or done.
    """

    what: Literal["starting", "waiting", "begun", "done"] = "starting"
    number: int = 0

    def is_done(self, order: Order) -> bool:
        """Return whether the worker has done an order."""
        return self.what == "done" and self.number >= order.number


@attrs.frozen
class End:
    """How a worker ended that had not done its order.

    Attributes:
        number: The order; 0 if no worker ended so.
        exit_code: Of its command, None if that could not be started.
        error: The error of its command, empty if it ended without one.
    """

    number: int = 0
    exit_code: int | None = None
    error: str = ""


@attrs.frozen
class Slot:
    """The files of a slot.

    Attributes:
        folder: Folder of the pool.
        number: Number of the slot in the pool.
        idle: Seconds that a worker waits for an order before it ends.
    """

    folder: Path
    number: int
    idle: float

    @classmethod
    def create(cls, folder: Path, number: int, idle: float) -> Slot:
        """Write a slot without orders to its :attr:`file`.

        Raises:
            StorageError: If it cannot be written.
        """
        slot = cls(folder, number, idle)
        write_text(slot.file, json.dumps({"number": number, "idle": idle}))
        slot.put(Order())
        return slot

    @classmethod
    def read(cls, file: Path) -> Slot:
        """Return the slot of a :attr:`file`."""
        return cls(file.parent, **parse_json(file.read_bytes()))

    @property
    def file(self) -> Path:
        """File with the number and the idle time, which a worker gets instead of a job."""
        return self.folder / f"slot_{self.number}.json"

    @property
    def log(self) -> Path:
        """File for what the command of the worker prints, and the worker between its orders."""
        return self.folder / f"worker_{self.number}.log"

    @property
    def order(self) -> Order:
        """The latest order; the last one if the pool is gone."""
        return Order(**(self._read(Order) or {"is_last": True}))

    @property
    def state(self) -> State:
        """The state of the worker."""
        return State(**self._read(State))

    @property
    def end(self) -> End:
        """How the latest worker ended that had not done its order."""
        return End(**self._read(End))

    def put(self, value: Order | State | End) -> None:
        """Replace an order, a state, or an end.

        Raises:
            StorageError: If it cannot be written.
        """
        write_text(self._file(type(value)), json.dumps(attrs.asdict(value)))

    def _read(self, kind: type) -> dict[str, Any]:
        try:
            return dict(parse_json(self._file(kind).read_bytes()))
        except FileNotFoundError:
            return {}

    def _file(self, kind: type) -> Path:
        return self.folder / f"slot_{self.number}_{kind.__name__.lower()}.json"


def pauses(longest: float) -> Iterator[float]:
    """Wait a little longer each time, up to some seconds; yields the seconds since the first time."""
    begun = time.monotonic()
    while True:
        waited = time.monotonic() - begun
        yield waited
        time.sleep(min(longest, 0.02 + waited / 10))
