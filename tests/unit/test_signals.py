"""Signals are heard beside a busy main thread."""

from __future__ import annotations

import hashlib
import os
import signal
from threading import Event, Timer, current_thread, main_thread

import pytest

from dacapo.utils.signals import heard
from tests.helpers.processes import PATIENCE

pytestmark = pytest.mark.destructive


def test_a_signal_is_heard_while_the_main_thread_is_busy():
    order, is_heard = [], Event()

    def hear(number):
        order.append(("heard", number, current_thread() is main_thread()))
        is_heard.set()

    def handle(number, frame):
        is_heard.wait(PATIENCE)
        order.append(("handled", number, current_thread() is main_thread()))

    before = signal.getsignal(signal.SIGUSR2)
    with heard((signal.SIGUSR2,), handle, hear):
        Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2)).start()
        while not order:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**6)
    assert order == [("heard", signal.SIGUSR2, False), ("handled", signal.SIGUSR2, True)]
    assert signal.getsignal(signal.SIGUSR2) is before


def test_what_came_is_heard_before_the_end():
    numbers = []
    with heard((signal.SIGUSR2,), lambda number, frame: None, numbers.append):
        signal.signal(signal.SIGUSR2, lambda number, frame: None)  # other code takes over
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR2)
    assert numbers == [signal.SIGUSR2] * 3


def test_a_forked_process_hears_nothing_and_holds_nothing_up():
    numbers, (end, to_child) = [], os.pipe()
    with heard((signal.SIGUSR2,), lambda number, frame: None, numbers.append):
        child = os.fork()
        if child == 0:
            os.close(to_child)
            os.read(end, 1)  # lives until the parent has left
            os.kill(os.getpid(), signal.SIGUSR2)
            os._exit(0)
    os.close(to_child)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGUSR2
    os.close(end)
    assert not numbers
