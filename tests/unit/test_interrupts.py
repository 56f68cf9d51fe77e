"""Stopping at a safe point."""

from __future__ import annotations

import logging
import os
import signal

import pytest

from dacapo.utils.interrupts import SafeStop

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
