"""Masks of the voxels that count."""

from __future__ import annotations

import attrs

from .arraytype import ArrayType


@attrs.define
class Mask(ArrayType):
    """A binary array, 1 where data is annotated."""

    @property
    def interpolatable(self) -> bool:
        """False: a voxel is in or out."""
        return False
