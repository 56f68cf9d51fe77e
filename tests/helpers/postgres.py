"""A PostgreSQL server of one's own, on the loopback interface."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.processes import PATIENCE

# Where Debian and Fedora have the programs of the server, which are not on the path.
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/bin")
PASSWORD = "s3cret"


def programs() -> Path | None:
    """Return the folder of the newest installed server, or None."""
    found = [folder for place in _PLACES for folder in Path("/").glob(place[1:]) if (folder / "initdb").is_file()]
    return max(found, default=None, key=str)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a server with its data in a new folder, and yield its address, without a database."""
    bin_folder = programs()
    assert bin_folder is not None
    data = folder / "data"
    folder.mkdir(parents=True)
    password = folder / "password"
    password.write_text(PASSWORD)
    user = _user_for(folder)
    initdb = ["initdb", "-D", data, "-U", "dacapo", "--no-sync", "--auth=scram-sha-256", f"--pwfile={password}"]
    _run([str(bin_folder / initdb[0]), *map(str, initdb[1:]), "--encoding=UTF8", "--no-locale"], user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [str(bin_folder / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)],
        user=user,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("wb"),
    )
    try:
        _wait(bin_folder, port, folder / "log", process)
        yield f"postgresql://dacapo:{PASSWORD}@127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)  # ends connections; SIGTERM waits for them
        process.wait(timeout=PATIENCE)


def _wait(bin_folder: Path, port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    ready = [str(bin_folder / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ready).returncode != 0:
        assert process.poll() is None, f"the server has ended:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"the server does not answer:\n{log.read_text()}"
        time.sleep(0.05)


def _user_for(folder: Path) -> str | None:
    """Return the user that owns the folder from now on, since the server refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, "postgres")
    for parent in folder.parents:  # the user has to get there
        if parent != Path("/") and parent.owner() == "root" and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    return "postgres"


def _run(command: list[str], user: str | None) -> None:
    done = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
