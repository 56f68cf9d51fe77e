"""Raw images."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import field

from .arraytype import ArrayType


@attrs.define
class IntensitiesArray(ArrayType):
    """Image intensities, one or more channels."""

    channels: dict[int, str] = field("Name of each channel by its index.")
    min: float = field("Intensity of black.")
    max: float = field("Intensity of white.")

    @property
    def interpolatable(self) -> bool:
        """True: intensities are continuous."""
        return True
