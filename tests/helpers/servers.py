"""Servers on this machine that serve files: S3, HTTP, and the part of Google Cloud Storage that reads."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.processes import PATIENCE

MOTO = Path(sys.prefix) / "moto"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Run moto in a process of its own and yield its address, with an empty bucket called ``bucket``."""
    if not MOTO.is_dir():
        pytest.fail(f"the S3 server of the tests is not in {MOTO}; run make test once, which installs it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(MOTO)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _await(f"{address}/moto-api/", process)
            put(f"{address}/bucket", b"")
            yield address
        finally:
            process.terminate()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "the S3 server has ended"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url).close()
            return
        time.sleep(0.1)
    raise AssertionError(f"no answer from {url}")


def put(url: str, content: bytes) -> None:
    headers = {"Content-Type": "application/octet-stream"}  # the default of urllib is that of a form
    urllib.request.urlopen(urllib.request.Request(url, content, headers, method="PUT"), timeout=PATIENCE).close()


def upload(folder: Path, url: str) -> None:
    """Copy all files below a folder to an address."""
    for file in folder.rglob("*"):
        if file.is_file():
            put(f"{url}/{urllib.parse.quote(file.relative_to(folder).as_posix())}", file.read_bytes())


class FileHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files, and fails as many requests as it is told to."""

    failures = 0
    requests: list[str] = []

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if type(self).failures > 0:
            type(self).failures -= 1
            self.send_error(503)
            return
        super().do_GET()


class RangeHandler(FileHandler):
    """Serves parts of files too, as most web servers do."""

    def do_GET(self) -> None:
        """Send a part, or the whole file if no part is asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if asked is None or not path.is_file():
            return super().do_GET()
        content = path.read_bytes()
        begin, end = int(asked[1]), min(int(asked[2]) + 1, len(content))
        self.requests.append(f"{self.path} {begin}-{end}")
        if begin >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
        self.send_header("Content-Length", str(end - begin))
        self.send_header("ETag", f'"{hash(content)}"')
        self.end_headers()
        self.wfile.write(content[begin:end])
        return None


class CloudStorageHandler(FileHandler):
    """Serves files at the paths of Google Cloud Storage."""

    def translate_path(self, path: str) -> str:
        """Return the file of an object: ``/storage/v1/b/BUCKET/o/OBJECT``."""
        parts = urllib.parse.urlsplit(path).path.split("/")
        return super().translate_path("/" + urllib.parse.unquote(parts[-1]))

    def do_GET(self) -> None:
        """Send an object, or if only that is asked for its description."""
        file = Path(self.translate_path(self.path))
        if "alt=media" in self.path or not file.is_file():
            super().do_GET()
            return
        answer = json.dumps({"name": file.name, "generation": "1", "size": str(file.stat().st_size)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5, many connections at once have to be tried again


@contextlib.contextmanager
def file_server(folder: Path, handler: type[FileHandler] = FileHandler) -> Iterator[tuple[str, type[FileHandler]]]:
    """Serve a folder and yield the address, and the handler of this server."""
    own = type("OwnHandler", (handler,), {"requests": []})

    def serve(*args: Any) -> FileHandler:
        return own(*args, directory=str(folder))  # type: ignore[no-any-return]

    with _Server(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", own
        finally:
            server.shutdown()
