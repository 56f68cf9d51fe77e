"""Counts over parts of a volume that add up to those of the whole."""

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
    """The counts of a part of a volume.

    Adding the tallies of disjoint parts gives the tally of their union, in any order. A subclass implements the
    addition and lists its arrays of numbers.
    """

    @abstractmethod
    def __add__(self, other: Self) -> Self:
        """Return the tally of both parts together."""
        raise NotImplementedError

    @abstractmethod
    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the content of the tally as arrays of numbers by name."""
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Return the tally that :meth:`to_arrays` serialized."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write the tally to a file, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with open(partial, "wb") as file:
            np.savez(file, **self.to_arrays())  # type: ignore[arg-type]  # wrong stubs
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a tally written by :meth:`save`.

        Raises:
            StorageError: If the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls.from_arrays(arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StorageError(f"{path} is missing or damaged: {error}") from error


def add_up(tallies: Iterable[T]) -> T:
    """Add many tallies while holding only a few of them in memory.

    Two tallies are added when they represent equally many, so each one is copied only logarithmically often.

    Raises:
        ValueError: If no tally is given.
    """
    waiting: list[tuple[int, T]] = []
    for tally in tallies:
        number = 1
        while waiting and waiting[-1][0] == number:
            tally = waiting.pop()[1] + tally
            number *= 2
        waiting.append((number, tally))
    if not waiting:
        raise ValueError("no tallies to add")
    total = waiting.pop()[1]
    while waiting:
        total = waiting.pop()[1] + total
    return total
