"""Stand-ins for the programs of a cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Does what bsub -K does: the command goes to a shell of another process, its output to a file, its exit code is ours.
BSUB = """#!{python}
import argparse, json, os, subprocess, sys
parser = argparse.ArgumentParser()
parser.add_argument("-K", action="store_true", required=True)
for option in ("-q", "-n", "-gpu", "-J", "-P", "-R", "-M", "-W", "-m", "-o"):
    parser.add_argument(option)
parser.add_argument("command", nargs=argparse.REMAINDER)
job = parser.parse_args()
with open(os.environ["JOB_RECORD"], "a") as record:
    record.write(json.dumps(sys.argv[1:]) + "\\n")
print("Job <1> is submitted", flush=True)
with open(job.o, "a") as output:
    code = subprocess.run(" ".join(job.command), shell=True, start_new_session=True, stdout=output, stderr=output)
sys.exit(code.returncode)
"""

# Does what srun does: the command runs in another session, its output and its exit code are ours.
SRUN = """#!{python}
import argparse, json, os, subprocess, sys
parser = argparse.ArgumentParser(allow_abbrev=False)
for option in ("--cpus-per-task", "--ntasks", "--nodes", "--export", "--input"):
    parser.add_argument(option, required=True)
for option in ("--job-name", "--partition", "--gres", "--mem", "--time", "--account", "--qos"):
    parser.add_argument(option)
parser.add_argument("command", nargs=argparse.REMAINDER)
job = parser.parse_args()
with open(os.environ["JOB_RECORD"], "a") as record:
    record.write(json.dumps(vars(job)) + "\\n")
environment = os.environ if job.export == "ALL" else dict()
code = subprocess.run(job.command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL)
sys.exit(code.returncode)
"""


# Does what srun and bsub -K do while a job waits in a queue, for all but the first worker; says when it is ended.
QUEUE = """#!{python}
import os, signal, subprocess, sys, time
words = sys.argv[1:]
name, command = os.path.basename(sys.argv[0]), words[words.index({python!r}):]
if not any("worker_0" in word for word in words):
    def end(*_):
        open(os.environ["JOB_RECORD"], "a").write("terminated\\n")
        sys.exit(1)
    signal.signal(signal.SIGTERM, end)
    srun, bsub = "srun: job 4711 queued and waiting for resources", "Job <4711> is submitted to queue <local>."
    print(srun if name == "srun" else bsub, flush=True)
    open(os.environ["JOB_RECORD"] + "_waits", "w").close()
    time.sleep(600)
sys.exit(subprocess.run(command).returncode)
"""

# Does what scancel and bkill do, as far as they are asked.
CANCEL = """#!{python}
import os, sys
with open(os.environ["JOB_RECORD"], "a") as record:
    record.write(" ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
"""


def install_queue(folder: Path, monkeypatch: pytest.MonkeyPatch, submit: str, cancel: str) -> Path:
    """Put a cluster with room for a single job on the PATH.

    Returns:
        The file with what becomes of the others. One of the same name with ``_waits`` appended tells that one waits.
    """
    record = install(folder, monkeypatch, submit, QUEUE)
    program = folder / "bin" / cancel
    program.write_text(CANCEL.format(python=sys.executable))
    program.chmod(0o755)
    return record


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> Path:
    """Put a stand-in for a program on the PATH; returns the file in which it records its arguments."""
    (folder / "bin").mkdir()
    program = folder / "bin" / name
    program.write_text(script.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("JOB_RECORD", str(folder / "record"))
    return folder / "record"


def install_bsub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for ``bsub`` on the PATH; returns the file in which it records its arguments."""
    return install(folder, monkeypatch, "bsub", BSUB)


def install_srun(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for ``srun`` on the PATH; returns the file in which it records the arguments, a dict per line."""
    return install(folder, monkeypatch, "srun", SRUN)
