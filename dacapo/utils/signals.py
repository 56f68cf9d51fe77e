"""Hear signals in a thread: the main one runs no handler as long as compiled code keeps it busy."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType

# What a process that is forked while signals are heard has to do.
_in_forked: list[Callable[[], None]] = []


@contextmanager
def heard(
    numbers: Collection[int], handler: Callable[[int, FrameType | None], None], hear: Callable[[int], None]
) -> Iterator[None]:
    """Handle signals in the main thread, and tell another thread of them. For the main thread only.

    The thread is told also while other code has replaced the handler. Leaving waits for it. In a process that is
    forked meanwhile, a signal that still has the handler does what it does by default.

    Args:
        numbers: The signals.
        handler: Their handler.
        hear: Called in the thread with the number of each signal.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    thread = threading.Thread(target=_listen, args=(receiver, numbers, hear), daemon=True)

    def leave_to_parent() -> None:
        signal.set_wakeup_fd(-1)
        for number in numbers:
            if signal.getsignal(number) == handler:
                signal.signal(number, signal.SIG_DFL)
        sender.close()
        receiver.close()

    # From now on, so that no signal meets the handler alone.
    descriptor = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, handler) for number in numbers}
    _in_forked.append(leave_to_parent)
    thread.start()
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
        signal.set_wakeup_fd(descriptor)
        _in_forked.remove(leave_to_parent)
        sender.close()  # forked processes have closed theirs, so this ends the thread
        thread.join()
        receiver.close()


def _listen(receiver: socket.socket, numbers: Collection[int], hear: Callable[[int], None]) -> None:
    """Pass signals on until the other end closes."""
    for (number,) in iter(lambda: receiver.recv(1), b""):
        if number in numbers:
            hear(number)


def _after_fork() -> None:
    for leave_to_parent in _in_forked:
        leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)


def interrupt_main_thread(number: int) -> None:
    """Send a signal to the main thread; one to the process may reach another thread, and leave the main one asleep."""
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, number)
