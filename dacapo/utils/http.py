"""HTTP requests that retry while a server is busy."""

from __future__ import annotations

import http.client
import random
import socket
import time
import urllib.error
import urllib.request

from dacapo.errors import ConfigError, StorageError

TIMEOUT = 60.0
"""Seconds to wait for any response of a server."""

ATTEMPTS = 5
"""Maximum number of attempts if the server is busy or the connection breaks."""

FIRST_PAUSE = 0.25
"""Seconds before the second attempt; each later pause is twice as long."""

LONGEST_PAUSE = 30.0
"""Maximum pause in seconds, even if the server asks for more."""

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes that are worth a retry."""


def get(url: str, timeout: float = TIMEOUT, attempts: int = ATTEMPTS) -> bytes:
    """Return the response of a server to a GET request.

    Args:
        url: An http or https address.
        timeout: Seconds to wait for a silent server.
        attempts: Maximum number of attempts.

    Raises:
        ConfigError: If the address is another one.
        StorageError: If the server refuses, or cannot be reached; the message names the address and the cause. If the
            server refused, the error's ``__cause__`` is a `urllib.error.HTTPError`.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise ConfigError(f"cannot read {url!r}: expected an address that begins with http:// or https://")
    for attempt in range(1, attempts + 1):
        try:
            with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310  # checked above
                body: bytes = answer.read()
                return body
        except (OSError, http.client.HTTPException) as error:
            if attempt == attempts or not _is_transient(error):
                tried = "" if attempt == 1 else f" ({attempt} attempts)"
                raise StorageError(f"cannot read {url}{tried}: {_sentence(error)}") from error
            time.sleep(_pause(error, attempt))
    raise ValueError(f"attempts is {attempts}; expected at least 1")


def _is_transient(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in BUSY
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    # An unknown host name is most likely mistyped.
    unknown_host = isinstance(reason, socket.gaierror) and reason.errno != socket.EAI_AGAIN
    return isinstance(reason, (OSError, http.client.HTTPException)) and not unknown_host


def _pause(error: Exception, attempt: int) -> float:
    """Return the seconds to wait; a random part keeps many workers from retrying all at once."""
    asked = error.headers.get("Retry-After", "") if isinstance(error, urllib.error.HTTPError) else ""
    pause = (
        float(asked) if asked.isdigit() else FIRST_PAUSE * 2 ** (attempt - 1) * random.SystemRandom().uniform(1, 1.5)
    )
    return min(pause, LONGEST_PAUSE)


def _sentence(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        with error:
            said = " ".join(error.read(500).decode(errors="replace").split())
        return f"the server answers {error.code} {error.reason}" + (f": {said}" if said else "")
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
