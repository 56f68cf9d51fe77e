"""A part of an array."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np
from funlib.geometry import Roi

from dacapo.errors import RoiError
from dacapo.experiments.config import field

from .array import ArrayConfig
from .view import VoxelwiseView, build
from .world import scaled


class CropArray(VoxelwiseView):
    """The part of an array inside a roi; any part of the roi outside the array is ignored."""

    def __init__(self, array_config: CropArrayConfig) -> None:
        """Build the source and intersect the roi.

        Raises:
            RoiError: If the roi does not overlap the source, or is not aligned to its voxels.
        """
        super().__init__(array_config.name, [build(array_config.source_array_config)])
        asked, whole = array_config.roi, self._source.roi
        if asked.dims != whole.dims:
            raise RoiError(
                f"{self}: roi {asked} has {asked.dims} dimensions, {self._source} has {whole.dims} ({whole})"
            )
        self._roi = asked.intersect(whole)
        if self._roi.empty:
            raise RoiError(f"{self}: roi {asked} does not overlap {self._source}, which covers {whole}")
        self._source.check_roi(self._roi)

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return values[0]

    @property
    def channels(self) -> list[str] | None:
        """Names of the channels if the source knows them, else None."""
        return getattr(self._source, "channels", None)


@attrs.define
class CropArrayConfig(ArrayConfig):
    """Config of a part of an array."""

    array_type: ClassVar[type[CropArray]] = CropArray

    source_array_config: ArrayConfig = field("The array to crop.")
    roi: Roi = field("The region to keep, in world units of the source; any part outside of it is ignored.")

    def counted_in(self, unit: str) -> CropArrayConfig:
        factor = build(self.source_array_config).world.factor_to(unit)
        source = self.source_array_config.counted_in(unit)
        return attrs.evolve(self, source_array_config=source, roi=scaled(self.roi, factor))
