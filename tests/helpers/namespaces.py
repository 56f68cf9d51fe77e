"""Two hosts with a cable between them and no other network, as network namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import pytest

ADDRESSES = ("10.213.77.1", "10.213.77.2")


@attrs.frozen
class Hosts:
    """The hosts.

    Attributes:
        names: Names of the namespaces.
        interfaces: The interface of each.
        addresses: The address of each.
    """

    names: tuple[str, str]
    interfaces: tuple[str, str]
    addresses: tuple[str, str] = ADDRESSES

    def vanish(self) -> None:
        """Cut the second host off; packets to it are dropped without an answer."""
        _ip("-n", self.names[1], "link", "set", self.interfaces[1], "down")


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Make the hosts for a ``with`` block; the test is skipped where that is not allowed."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need the program ip and the rights of root")
    names = (f"dacapo{os.getpid()}a", f"dacapo{os.getpid()}b")
    ends = (f"dc{os.getpid() % 10**6}a", f"dc{os.getpid() % 10**6}b")
    try:
        try:
            for name in names:
                _ip("netns", "add", name)
            _ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr}")
        for name, end, address in zip(names, ends, ADDRESSES, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", end)
            _ip("-n", name, "link", "set", end, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield Hosts(names, ends)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
