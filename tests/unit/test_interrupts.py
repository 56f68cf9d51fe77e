"""Stopping at a safe point."""

from __future__ import annotations

import logging
import os
import signal
import time
from threading import Event

import pytest

from dacapo.utils import interrupts
from dacapo.utils.interrupts import SafeStop, interrupted_by_sigterm

pytestmark = pytest.mark.destructive


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_says_what_is_finished(number, caplog):
    with SafeStop("the iteration") as stop:
        with stop.during("the validation"), caplog.at_level(logging.WARNING):
            os.kill(os.getpid(), number)
            assert stop.requested
        assert stop.work == "the iteration"
    (record,) = caplog.records
    assert record.getMessage() == "stopping as soon as the validation is done; press Ctrl-C again to stop at once"


def interrupt_twice():
    with SafeStop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("not interrupted")


def test_the_second_signal_ends_at_once():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()
    assert signal.getsignal(signal.SIGINT) is before


def test_more_sigterms_change_nothing():
    with SafeStop() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def stop_at_a_safe_point(number):
    with SafeStop() as stop:
        os.kill(os.getpid(), number)
        assert stop.requested


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watcher_that_is_told_late_does_not_interrupt_again(number, monkeypatch):
    is_told, was_told, told_now = Event(), Event(), interrupts._pass_on

    def tell_late(*arguments):
        """Tell the watcher only once the safe stop is over."""
        is_told.wait()
        told_now(*arguments)
        was_told.set()

    monkeypatch.setattr(interrupts, "_pass_on", tell_late)
    with interrupted_by_sigterm() as sigterm:
        stop_at_a_safe_point(number)
        is_told.set()
        if number == signal.SIGTERM:
            was_told.wait()  # a second interrupt would end this
        assert sigterm.arrived == (number == signal.SIGTERM)


def test_sigterm_after_a_safe_stop_interrupts():
    with interrupted_by_sigterm() as sigterm:
        stop_at_a_safe_point(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 (the signal arrives while sleeping)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        assert sigterm.arrived
