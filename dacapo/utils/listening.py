"""Open ports to listen to."""

from __future__ import annotations

import socket

from dacapo.errors import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to a port.

    Args:
        host: Name or address of this machine.
        port: The port, 0 for any free one.

    Raises:
        ConfigError: If the address or port cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot listen to {host!r}: {error}; give the name or address of this machine") from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
    except OSError as error:
        opened.close()
        raise ConfigError(
            f"cannot listen to port {port} of {host}: {error.strerror or error}; give another --port, or 0 for any "
            "free one"
        ) from error
    return opened
