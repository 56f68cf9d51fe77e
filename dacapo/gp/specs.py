"""Requests and specs that are fast to copy, and the random numbers of a request.

Every node of gunpowder copies them several times with ``copy.deepcopy``, which took a quarter of the time of a plain
batch. Copies of these classes are just as independent and of the same class, so they stay fast in the whole pipeline.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import gunpowder as gp
import numpy as np
from funlib.geometry import Roi


class Spec(gp.ArraySpec):  # type: ignore[misc]
    """An ``ArraySpec`` that is fast to copy."""

    def copy(self) -> Self:
        """Return an independent copy."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        if self.roi is not None:
            # Its coordinates are tuples, and data types are immutable too, so this is deep enough.
            roi = Roi.__new__(Roi)
            roi.__dict__.update(self.roi.__dict__)
            twin.__dict__["roi"] = roi
        return twin


class Request(gp.BatchRequest):  # type: ignore[misc]
    """A ``BatchRequest`` that is fast to copy, and can carry the random number generator of a sample.

    Attributes:
        rng: Generator that nodes draw from, shared by all copies. Without it, each node seeds one of its own.
    """

    def __init__(self, *args: Any, rng: np.random.Generator | None = None, **kwargs: Any) -> None:
        """Set the generator; the other arguments are those of ``BatchRequest``."""
        self.rng = rng
        super().__init__(*args, **kwargs)

    def copy(self) -> Self:
        """Return an independent copy whose seed is the one that follows this seed."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.__dict__["array_specs"] = {key: spec.copy() for key, spec in self.array_specs.items()}
        twin.__dict__["graph_specs"] = {key: copy.deepcopy(spec) for key, spec in self.graph_specs.items()}
        twin._update_random_seed()
        return twin


def generator_of(request: gp.BatchRequest) -> np.random.Generator:
    """Return the random number generator of a request; one seeded from it if it carries none."""
    if isinstance(request, Request) and request.rng is not None:
        return request.rng
    # Gunpowder seeds numpy's global generator for every request.
    return np.random.default_rng(np.random.randint(2**32, dtype=np.uint32))
