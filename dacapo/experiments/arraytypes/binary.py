"""Binary masks, one channel per class."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import field

from .arraytype import ArrayType


@attrs.define
class BinaryArray(ArrayType):
    """Every channel marks the voxels of one class with 1."""

    channels: dict[int, str] = field("Name of each channel by its index.")

    @property
    def interpolatable(self) -> bool:
        """False: a voxel is in or out."""
        return False
