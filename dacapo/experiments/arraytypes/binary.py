"""Binary masks, one channel per class."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import field

from .arraytype import ArrayType


@attrs.define
class BinaryArray(ArrayType):
    """Every channel says with 0 or 1 where something is."""

    channels: dict[int, str] = field("Name of each channel by its index.")

    @property
    def interpolatable(self) -> bool:
        """False: a voxel is in or out."""
        return False
