"""Dense annotations of several classes."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import field

from .arraytype import ArrayType


@attrs.define
class AnnotationArray(ArrayType):
    """Every voxel carries the id of one class."""

    classes: dict[int, str] = field("Name of each class by its id.")

    @property
    def interpolatable(self) -> bool:
        """False: an average of two class ids is the id of another class."""
        return False
