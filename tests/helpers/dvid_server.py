"""A small server that speaks the documented part of DVID's HTTP interface that arrays are read by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import attrs
import numpy as np

UUID = "28841c8277e044a7b187dda03e18da13"


@attrs.define
class Instance:
    """A data instance.

    Attributes:
        values: Of shape z, y, x, or z, y, x, values.
        begin: The first voxel, x, y, z.
        kind: Its TypeName.
        extended: What its metadata says beside, or instead of, what follows from the values.
    """

    values: np.ndarray
    begin: tuple[int, int, int] = (0, 0, 0)
    kind: str = "uint8blk"
    extended: dict[str, Any] = attrs.field(factory=dict)

    def info(self, name: str) -> dict[str, Any]:
        shape = self.values.shape[2::-1]
        several = self.values.shape[3] if self.values.ndim == 4 else 1
        return {
            "Base": {"TypeName": self.kind, "Name": name, "DataUUID": UUID},
            "Extended": {
                "Values": [{"DataType": self.values.dtype.name, "Label": name}] * several,
                "BlockSize": [4, 4, 4],
                "VoxelSize": [4, 8, 12],
                "VoxelUnits": ["nanometers", "nanometers", "nanometers"],
                "MinPoint": list(self.begin),
                "MaxPoint": [b + n - 1 for b, n in zip(self.begin, shape, strict=True)],
                **self.extended,
            },
        }

    def voxels(self, shape: list[int], offset: list[int]) -> bytes:
        begin = [o - b for o, b in zip(offset, self.begin, strict=True)][::-1]
        assert min(begin) >= 0
        index = tuple(slice(b, b + n) for b, n in zip(begin, shape[::-1], strict=True))
        part = self.values[index]
        assert part.shape[2::-1] == tuple(shape)
        return part.astype(part.dtype.newbyteorder("<")).tobytes()


@attrs.define
class DvidServer:
    """What the server holds and was asked for.

    Attributes:
        instances: By name.
        requests: Paths, in the order in which they were asked for.
        failures: What to answer to the next requests for voxels instead: a status, or None to break the connection.
    """

    address: str
    instances: dict[str, Instance]
    requests: list[str] = attrs.field(factory=list)
    failures: list[int | None] = attrs.field(factory=list)


def _handler(server: DvidServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            server.requests.append(self.path)
            match = re.fullmatch(
                r"/api/node/([^/]+)/([^/]+)/(info|raw/0_1_2/(\d+_\d+_\d+)/(-?\d+_-?\d+_-?\d+))", self.path
            )
            if match is None:
                self.answer(404, b"no such endpoint")
            elif not UUID.startswith(match[1]):
                self.answer(400, f"could not find UUID with partial match to {match[1]}".encode())
            elif match[2] not in server.instances:
                self.answer(400, f"no data instance {match[2]}".encode())
            elif match[3] == "info":
                self.answer(200, json.dumps(server.instances[match[2]].info(match[2])).encode())
            elif server.failures:
                self.fail(server.failures.pop(0))
            else:
                shape, offset = ([int(n) for n in match[i].split("_")] for i in (4, 5))
                self.answer(200, server.instances[match[2]].voxels(shape, offset))

        def fail(self, status: int | None) -> None:
            if status is None:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"short")
            else:
                self.answer(status, b"Throttled, please try again")

    return Handler


@contextmanager
def serve(**instances: Instance) -> Iterator[DvidServer]:
    """Run a server on this machine as long as this lasts."""
    held = DvidServer("", instances)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(held))
    held.address = f"127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
