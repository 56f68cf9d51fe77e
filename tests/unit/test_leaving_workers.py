"""A worker knows when to leave: after a signal, and before its job ends."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import daisy.v2 as daisy
import pytest
from funlib.geometry import Roi

from dacapo.blockwise.worker.job import Job
from dacapo.blockwise.worker.leaving import LEFT, JobEnds, Leaving, blocks_handed_back
from dacapo.compute_context import Bsub, ComputeContext, LocalTorch, Slurm


@pytest.fixture
def block() -> daisy.Block:
    roi = Roi((3,), (1,))
    return daisy.Block(roi, roi, roi, "task", 7)


def ask_to_end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def test_a_signal_in_mid_block(tmp_path: Path, block: daisy.Block, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    leaving = Leaving(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    with leaving.watch():
        with leaving.interrupts(block):
            assert not leaving.is_due
        with pytest.raises(JobEnds), leaving.interrupts(block):
            ask_to_end()
        leaving.hand_back(block)
        assert leaving.is_due
        os.kill(os.getpid(), signal.SIGTERM)  # another one interrupts nothing
    assert signal.getsignal(signal.SIGTERM) == before
    assert block.status == daisy.BlockStatus.FAILED
    with pytest.raises(SystemExit) as left:
        leaving.leave()
    assert left.value.code == LEFT
    (line,) = [record.getMessage() for record in caplog.records if "handed back" in record.getMessage()]
    assert line == "it got SIGTERM, so block [3:4] (1) is handed back; 1 blocks were done here"
    assert blocks_handed_back(tmp_path) == {7}
    assert not blocks_handed_back(tmp_path)


def test_a_signal_before_the_block_arrives(tmp_path: Path, block: daisy.Block) -> None:
    leaving = Leaving(tmp_path, reason="it got SIGTERM")
    with pytest.raises(JobEnds), leaving.interrupts(block):
        raise AssertionError("the block is not begun")


def test_a_worker_that_may_stay(tmp_path: Path) -> None:
    leaving = Leaving(tmp_path)
    assert not leaving.is_due
    leaving.leave()


def test_no_block_is_begun_that_would_take_too_long(block: daisy.Block, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    leaving = Leaving(end=1100.0)
    for seconds in (30, 20):
        assert not leaving.is_due
        with leaving.interrupts(block):
            now[0] += seconds
    assert not leaving.is_due, "50 seconds are left, and a block takes up to 30"
    now[0] += 21
    assert leaving.is_due
    assert leaving.reason == "the time of its job is nearly over"


def test_the_clock_interrupts_a_block(tmp_path: Path, block: daisy.Block) -> None:
    leaving = Leaving(tmp_path, end=time.time() + 0.05)
    with leaving.watch(), pytest.raises(JobEnds), leaving.interrupts(block):
        time.sleep(60)
    assert leaving.reason == "the time of its job is nearly over"


def test_a_forked_process_is_not_the_worker(tmp_path: Path, block: daisy.Block) -> None:
    leaving = Leaving(tmp_path)
    with leaving.watch(), leaving.interrupts(block):
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        assert not leaving.is_due
    assert not blocks_handed_back(tmp_path)


def deadline(context: ComputeContext) -> float | None:
    return Job("worker.py", [], {}, None, {}, context.time_limit, context.end_variable).deadline(500.0)


def test_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert deadline(LocalTorch()) is None
    assert deadline(Slurm()) is None
    for context in (Slurm(time="1:00:00"), Bsub(time="1:00:00")):
        assert deadline(context) == 500.0 + 3600 - 30
    assert deadline(Slurm(time="0:01:00")) == 500.0 + 54
    of_a_step = Bsub(time="1:00:00", steps={"segment": {"time": "9:00:00"}}).for_step("segment")
    assert deadline(of_a_step) == 500.0 + 9 * 3600 - 30
    monkeypatch.setenv("SLURM_JOB_END_TIME", "2500")
    for slurm in (Slurm(), Slurm(time="1:00:00")):
        assert deadline(slurm) == 2500 - 30, "also in an allocation of another length"
    assert deadline(LocalTorch()) is None, "its workers end with the process that started them"
