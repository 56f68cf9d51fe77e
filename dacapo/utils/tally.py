"""Sums over parts of a volume, which add up to that of the whole."""

from __future__ import annotations

import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from dacapo.errors import StorageError

T = TypeVar("T", bound="Tally")


class Tally(ABC):
    """What was counted in a part of a volume.

    Adding the tallies of parts that do not overlap gives the tally of both together, whatever the order. A subclass
    says how, and which arrays of numbers it consists of.
    """

    @abstractmethod
    def __add__(self, other: Self) -> Self:
        """Return the tally of both parts together."""
        raise NotImplementedError

    @abstractmethod
    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that the tally holds, as arrays of numbers by name."""
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Return the tally that :meth:`to_arrays` described."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write the tally to a file, at once or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with open(partial, "wb") as file:
            np.savez(file, **self.to_arrays())  # type: ignore[arg-type]  # the stubs take names for other arguments
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            StorageError: If the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls.from_arrays(arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StorageError(f"{path} is missing or damaged: {error}") from error


def add_up(tallies: Iterable[T]) -> T:
    """Add many tallies, of which only a few are held at once.

    Two tallies are added when they stand for as many, so that each is copied only as often as the number of tallies can
    be halved.

    Raises:
        ValueError: If there is none.
    """
    waiting: list[tuple[int, T]] = []
    for tally in tallies:
        number = 1
        while waiting and waiting[-1][0] == number:
            tally = waiting.pop()[1] + tally
            number *= 2
        waiting.append((number, tally))
    if not waiting:
        raise ValueError("there is nothing to add up")
    total = waiting.pop()[1]
    while waiting:
        total = waiting.pop()[1] + total
    return total
