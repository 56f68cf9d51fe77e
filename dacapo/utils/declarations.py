"""Whether one method of a class stands for others, decided where the class is defined."""

from __future__ import annotations

from collections.abc import Iterable


def stands_for(cls: type, method: str, others: Iterable[str], *, inherited: bool) -> bool:
    """Return whether a method of a class does all that some others do.

    A class that defines the method vouches for it. A subclass that redefines any of the others, in its own body or
    through a mixin, and leaves the method alone takes this back: the method knows nothing of the change.

    Args:
        cls: The class, as it is being defined.
        method: Name of the method.
        others: Names of the methods that it replaces.
        inherited: Whether the method stands for the others in the class that this one derives from.
    """
    mixins = (dir(base) for base in cls.__bases__ if not hasattr(base, method))
    defined = set(vars(cls)).union(*mixins)
    return method in defined or (inherited and defined.isdisjoint(others))
