"""Signed distances to a boundary."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import field

from .arraytype import ArrayType


@attrs.define
class DistanceArray(ArrayType):
    """Every channel holds the signed distance to the boundary of one class."""

    classes: dict[int, str] = field("Name of each class by its channel.")

    @property
    def interpolatable(self) -> bool:
        """True: distances vary smoothly."""
        return True
