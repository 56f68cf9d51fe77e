"""Capabilities of methods, declared where a method is defined.

A declaration belongs to the method: an override in a subclass has only the capabilities that it declares itself. So
callers get the right answer for subclasses that were written without knowing of a capability.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def declares(capability: str) -> Callable[[F], F]:
    """Declare that a method has a capability.

    >>> class Reader:
    ...     @declares("reads in blocks")
    ...     def read(self): ...
    >>> class Other(Reader):
    ...     def read(self): ...
    >>> can(Reader().read, "reads in blocks"), can(Other().read, "reads in blocks")
    (True, False)
    """

    def mark(method: F) -> F:
        method.__dict__[_KEY] = method.__dict__.get(_KEY, frozenset()) | {capability}
        return method

    return mark


def can(method: Callable[..., Any], capability: str) -> bool:
    """Return whether a method declares a capability."""
    return capability in getattr(method, _KEY, frozenset())


_KEY = "_dacapo_capabilities"
