"""Notice that the machine of another rank has vanished, such as one that lost its power or its network.

The connections that exchange gradients wait for days, since a rank may validate for that long. So each rank has another
connection with rank 0, over which nothing is sent. The kernels at its ends ask each other whether they are still there,
whatever the processes do. A process that ended closes its connections, which the exchange of gradients notices at once,
unless it waits for a third rank: so each rank also ends some time after rank 0 has.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

logger = logging.getLogger(__name__)

IDLE, INTERVAL, PROBES = 60, 15, 8
"""Seconds until the first question, seconds between questions, and questions without an answer: three minutes."""
GRACE = 60
"""Seconds in which a rank ends by itself after rank 0 has ended."""

_KEY = "dacapo/presence"
_JOIN_SECONDS = 300.0
_TOKEN_BYTES = 16


@contextmanager
def watched(store: Any, rank: int, size: int, master: tuple[str, int]) -> Iterator[None]:
    """End this process inside a ``with`` block if rank 0, or for rank 0 any other, is on a machine that has vanished.

    Rank 0 listens on the interface that leads to the store of the ranks, until all others have connected.

    Args:
        store: The store that all ranks share.
        rank: The rank of this process.
        size: Number of ranks.
        master: Host and port of the store.
    """
    connections = dict(_accepted(store, size, master)) if rank == 0 else {0: _connected(store, rank)}
    closing = threading.Event()
    for other, connection in connections.items():
        threading.Thread(target=_watch, args=(connection, other, closing, _end), daemon=True).start()
    try:
        yield
    finally:
        closing.set()
        for connection in connections.values():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def _accepted(store: Any, size: int, master: tuple[str, int]) -> Iterator[tuple[int, socket.socket]]:
    """Yield rank and connection of each other rank; others that connect do not know the token."""
    token = secrets.token_bytes(_TOKEN_BYTES)
    address = _own_address(master)
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        server.settimeout(_JOIN_SECONDS)
        store.set(_KEY, f"{token.hex()} {server.getsockname()[1]} {address}")
        missing = set(range(1, size))
        while missing:
            connection, _ = server.accept()
            connection.settimeout(10)
            with suppress(OSError):
                said = connection.recv(_TOKEN_BYTES + 4, socket.MSG_WAITALL)
                other = int.from_bytes(said[_TOKEN_BYTES:], "big")
                if secrets.compare_digest(said[:_TOKEN_BYTES], token) and other in missing:
                    missing.remove(other)
                    yield other, _kept_alive(connection)
                    continue
            connection.close()


def _connected(store: Any, rank: int) -> socket.socket:
    store.wait([_KEY], timedelta(seconds=_JOIN_SECONDS))
    token, port, address = store.get(_KEY).decode().split(" ")
    connection = socket.create_connection((address, int(port)), timeout=_JOIN_SECONDS)
    connection.sendall(bytes.fromhex(token) + rank.to_bytes(4, "big"))
    return _kept_alive(connection)


def _own_address(master: tuple[str, int]) -> str:
    """Return the address of the interface from which packets to a host leave; nothing is sent."""
    family, kind, _, _, address = socket.getaddrinfo(*master, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def _kept_alive(connection: socket.socket) -> socket.socket:
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", IDLE), ("TCP_KEEPINTVL", INTERVAL), ("TCP_KEEPCNT", PROBES)):
        if hasattr(socket, name):  # elsewhere, the settings of the system apply
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def _watch(connection: socket.socket, other: int, closing: threading.Event, end: Callable[[str], object]) -> None:
    """Wait until the other end closes the connection, or does not answer any more."""
    try:
        connection.recv(1)
    except ConnectionResetError:  # the process ended
        pass
    except OSError:
        if not closing.is_set():
            end(f"the machine of rank {other} has not answered for {IDLE + INTERVAL * PROBES} seconds")
        return
    # Rank 0 ends last, or has failed.
    if other == 0 and not closing.wait(GRACE):
        end("rank 0 has ended")


def _end(why: str) -> None:
    """End this process, which waits for another one in a call that nothing can interrupt."""
    logger.error(
        "%s; this rank cannot go on without it and ends. Train again to resume from the latest checkpoint", why
    )
    logging.shutdown()
    sys.stderr.flush()
    os._exit(1)
