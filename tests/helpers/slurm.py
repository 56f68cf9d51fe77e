"""A Slurm of one's own: two nodes on the loopback interface of this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.helpers.processes import free_ports, wait_until

# Debian has the daemons where only root looks for programs.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_DAEMONS = ("munged", "slurmctld", "slurmd")
NODES = ("n1", "n2")

# Nodes have more cores than this machine, so that jobs do not wait for each other, and GPUs that nobody uses.
_CONFIG = """
ClusterName=dacapo
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool_%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd_%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd_%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
{nodes}
PartitionName=normal Nodes={names} Default=YES DefMemPerCPU=100
PartitionName=gpu Nodes={names} DefMemPerCPU=100
"""


def is_installed() -> bool:
    """Return whether this machine has the programs."""
    return all(shutil.which(name, path=_PATH) for name in (*_DAEMONS, "srun", "sbatch", "scontrol", "squeue"))


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Run a cluster whose jobs are processes of this machine, and yield the environment to use it with."""
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # not in the folder of a test: the path of a socket is short
    environment = {"SLURM_CONF": str(_configure(folder))}
    daemons = []
    try:
        daemons.append(_start(folder, environment, "munged", *_munge_options(folder)))
        wait_until((folder / "munge.sock").exists)
        daemons.append(_start(folder, environment, "slurmctld", "-D"))
        daemons += [_start(folder, environment, "slurmd", "-D", "-N", node) for node in NODES]
        wait_until(lambda: ask("sinfo", "-hN", "-p", "normal", "-o", "%t", **environment).split() == ["idle"] * 2)
        yield environment
    except AssertionError as error:
        for file in sorted(folder.glob("*.log")):
            error.add_note(f"{file.name}:\n{file.read_text(errors='replace')}")
        raise
    finally:
        _end(folder)
        for daemon in daemons:
            daemon.wait()
        shutil.rmtree(folder)


def ask(*command: str, **environment: str) -> str:
    """Return the output of a command of Slurm, which may fail."""
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
    return done.stdout


def _configure(folder: Path) -> Path:
    host = socket.gethostname().split(".")[0]
    gpus = [folder / f"gpu{number}" for number in range(2)]
    for gpu in gpus:
        gpu.touch()
    (folder / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={folder}/gpu[0-1]\n")
    (folder / "cgroup.conf").touch()
    for name in ("state", *(f"spool_{node}" for node in NODES)):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    resources = "CPUs=16 RealMemory=16000 Gres=gpu:2"
    own, *ports = free_ports(1 + len(NODES))
    nodes = [
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {resources}"
        for node, port in zip(NODES, ports, strict=True)
    ]
    values = {"host": host, "port": own, "user": getpass.getuser(), "folder": folder}
    config = folder / "slurm.conf"
    config.write_text(_CONFIG.format(nodes="\n".join(nodes), names=",".join(NODES), **values))
    return config


def _munge_options(folder: Path) -> list[str]:
    files = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "seed-file": "munged.seed"}
    files["log-file"] = "munged.log"
    return ["--foreground", "--force", *(f"--{option}={folder / file}" for option, file in files.items())]


def _start(folder: Path, environment: Mapping[str, str], program: str, *options: str) -> subprocess.Popen[bytes]:
    path = shutil.which(program, path=_PATH)
    assert path is not None
    with (folder / f"{program}_{options[-1].rpartition('/')[2]}_start.log").open("wb") as log:
        return subprocess.Popen(
            [path, *options],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the tests
        )


def _end(folder: Path) -> None:
    """Kill all processes of a cluster: those that have its folder in their environment. Jobs outlive the daemons."""
    while found := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _belongs(pid, folder)]:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _belongs(pid: int, folder: Path) -> bool:
    try:
        return f"SLURM_CONF={folder}/".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or belongs to another user
        return False
