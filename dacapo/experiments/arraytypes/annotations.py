"""Dense annotations of several classes."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import field

from .arraytype import ArrayType


@attrs.define
class AnnotationArray(ArrayType):
    """Every voxel holds the id of one class."""

    classes: dict[int, str] = field("Name of each class by its id.")

    @property
    def interpolatable(self) -> bool:
        """False: the average of two class ids is the id of another class."""
        return False
