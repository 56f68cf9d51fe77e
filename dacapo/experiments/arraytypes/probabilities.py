"""Probabilities of classes."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import field

from .arraytype import ArrayType


@attrs.define
class ProbabilityArray(ArrayType):
    """Every channel holds the probability of one class."""

    classes: list[str] = field("Name of each class, in channel order.")

    @property
    def interpolatable(self) -> bool:
        """True: probabilities are continuous."""
        return True
