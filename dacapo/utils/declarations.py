"""Whether one method of a class stands for others, decided where the class is defined."""

from __future__ import annotations

from collections.abc import Iterable


def stands_for(cls: type, method: str, others: Iterable[str], *, inherited: bool) -> bool:
    """Return whether a method of a class replaces some others.

    It does in a class that defines it. It no longer does in a subclass that overrides any of the others, in its own
    body or through a mixin, but not the method, which would miss the change.

    Args:
        cls: The class, as it is being defined.
        method: Name of the method.
        others: Names of the methods that it replaces.
        inherited: Whether it does in the base class.
    """
    mixins = (dir(base) for base in cls.__bases__ if not hasattr(base, method))
    defined = set(vars(cls)).union(*mixins)
    return method in defined or (inherited and defined.isdisjoint(others))
