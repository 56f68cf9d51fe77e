"""Items prepared one ahead, on the device of the network while it computes on the previous one."""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")
U = TypeVar("U")


class Prefetcher(Generic[T, U]):
    """Prepares one item ahead of the one in use, in a thread and on a CUDA stream of its own.

    The thread works with the context variables, such as overridden options, of the one that made this object.

    A prepared item may be used at once: the stream of the user waits for its pending operations.
    """

    def __init__(
        self,
        items: Iterator[T],
        work: Callable[[T], U],
        device: torch.device,
        tensors: Callable[[U], Iterator[torch.Tensor]],
    ) -> None:
        """Start the thread.

        Args:
            items: The items.
            work: Prepares an item.
            device: The device of the network.
            tensors: Returns the tensors of a prepared item.
        """
        self._items = items
        self._work = work
        self._device = device
        self._tensors = tensors
        self._done: queue.Queue[tuple[U | None, Any, BaseException | None]] = queue.Queue(maxsize=1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._run,), name="batches", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[U]:
        """Return prepared items, in order.

        Raises:
            Exception: Any exception of the items or the work.
        """
        while True:
            item, event, error = self._done.get()
            if error is not None:
                if isinstance(error, StopIteration):
                    return
                raise error
            assert item is not None
            if event is not None:
                current = torch.cuda.current_stream(self._device)
                current.wait_event(event)
                for tensor in self._tensors(item):
                    tensor.record_stream(current)  # keep its memory until this stream is done with it
            yield item

    def close(self) -> None:
        """Stop the thread, and wait for its end."""
        self._stopped.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._done.get_nowait()
            self._thread.join(timeout=0.01)

    def _run(self) -> None:
        on_gpu = self._device.type == "cuda"
        stream: Any = torch.cuda.Stream(self._device) if on_gpu else None  # type: ignore[no-untyped-call]
        try:
            with torch.cuda.stream(stream) if on_gpu else contextlib.nullcontext():
                while not self._stopped.is_set():
                    made = self._work(next(self._items))
                    event = stream.record_event() if stream is not None else None
                    self._done.put((made, event, None))
        except BaseException as error:  # noqa: BLE001  (raised where items are taken)
            self._done.put((None, None, error))
