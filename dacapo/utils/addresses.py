"""Addresses of servers and databases, as far as messages may show them."""

from __future__ import annotations

import re


def without_secrets(address: str) -> str:
    """Return an address without its user, password and options, for messages.

    >>> without_secrets("mongodb://me:secret@server:27017/?tls=true")
    'mongodb://server:27017/'
    >>> without_secrets("postgresql://me:secret@server/lab")
    'postgresql://server/lab'
    """
    return re.sub(r"^([\w+]+://)?.*@", r"\1", address).partition("?")[0]
