"""Progress outside of terminals: lines in the log."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dacapo.errors import ConfigError
from dacapo.options import DaCapoConfig, Options
from dacapo.utils.progress import progress

LINE = r"work: \d+ of 40 blocks, status \d+, [\d.]+ blocks/s, 00:0\d left"


def walk(seconds: float) -> None:
    said = iter(range(100))
    with (
        Options.override(progress_seconds=seconds),
        progress(total=40, desc="work", unit="block", status=lambda: f"status {next(said)}") as bar,
    ):
        for _ in range(40):
            time.sleep(0.005)
            bar.update()


def test_a_line_every_so_many_seconds(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dacapo"):
        walk(0.05)
    assert 1 <= len(caplog.messages) <= 4
    assert all(re.fullmatch(LINE, line) for line in caplog.messages), caplog.messages


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_quick_work_is_silent(
    seconds: float, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG, logger="dacapo"):
        walk(seconds)
    assert not caplog.messages
    assert capsys.readouterr() == ("", "")


def test_slow_work_tells_the_time_of_a_step(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dacapo"), Options.override(progress_seconds=0.01):
        for _ in progress(range(3), desc="slow", unit="volume"):
            time.sleep(1.1)
    assert re.fullmatch(r"slow: 1 of 3 volumes, 1\.\d+ s/volume, 00:0\d left", caplog.messages[0])


def test_a_script_without_logging_sees_the_lines() -> None:
    script = (
        "import time\nfrom dacapo.options import Options\nfrom dacapo.utils.progress import progress\n"
        "Options.instance(progress_seconds=0.02)\n"
        "for _ in progress(range(40), desc='work', unit='block', status=lambda: 'status 1'): time.sleep(0.005)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert all(re.fullmatch(LINE, line) for line in done.stderr.splitlines())
    assert done.stderr


@pytest.mark.parametrize("value", [-1, float("inf"), "30", True])
def test_seconds_that_cannot_be(value: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="progress_seconds must be a number of seconds"):
        DaCapoConfig(progress_seconds=value)  # type: ignore[arg-type]
