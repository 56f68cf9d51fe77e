"""The scripts on the page about clusters, as far as they run without one."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dacapo.cli import cli
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store, create_weights_store
from tests.helpers.markdown import scripts
from tests.helpers.processes import PATIENCE, Started, wait_for_checkpoint
from tests.helpers.runs import affinities_run_config

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
TEXT = PAGE.read_text(encoding="utf-8")
SLURM, LSF = SCRIPTS = scripts(PAGE)
COMMANDS = re.findall(r"dacapo (?:train|predict|apply) [^`\n&]+", TEXT)


@pytest.mark.parametrize("script", SCRIPTS, ids=["Slurm", "LSF"])
def test_bash_accepts_the_script(script: str, tmp_path: Path) -> None:
    file = tmp_path / "job.sh"
    file.write_text(script)
    subprocess.run(["bash", "-n", file], check=True)


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_the_command_line_accepts_the_command(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    with cli.commands[name].make_context(name, arguments) as context:
        assert next(iter(context.params.values()))


def test_all_commands_were_found() -> None:
    assert {shlex.split(command)[1] for command in COMMANDS} == {"train", "apply"}
    assert all("dacapo train cells" in script for script in SCRIPTS)


@pytest.mark.slow
@pytest.mark.destructive
def test_a_job_of_slurm_whose_time_is_over_is_queued_again(options: DaCapoConfig, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in {
        "dacapo": f'exec {shlex.quote(sys.executable)} -m dacapo --runs-dir "$RUNS" "$@"',
        "scontrol": 'echo "$@" >> "$RUNS/scontrol"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    script = tmp_path / "job.sh"
    script.write_text(SLURM)
    config = affinities_run_config(tmp_path, name="cells", dims=2, num_iterations=10**6, validation_interval=2)
    create_config_store().store_run_config(config)
    base = options.runs_base_dir
    job = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "RUNS": str(base), "SLURM_JOB_ID": "17"}
    with Started(["bash", script], env={**os.environ, **job}) as process:
        wait_for_checkpoint(process, base, "cells")
        process.send_signal(signal.SIGUSR1)  # to this process alone, as B: says
        _, errors = process.communicate(timeout=PATIENCE)
    # 138 if the training was done before the script could ask again
    assert process.returncode in (130, 128 + signal.SIGUSR1), errors
    assert (base / "scontrol").read_text() == "requeue 17\n"
    assert (create_weights_store().latest_iteration("cells") or 0) > 0
    failed = subprocess.run(
        ["bash", "-c", SLURM.replace("cells &", "no_such_run &")], env={**os.environ, **job}, capture_output=True
    )
    assert failed.returncode == 1
    assert (base / "scontrol").read_text() == "requeue 17\n", "an error is not repeated"
