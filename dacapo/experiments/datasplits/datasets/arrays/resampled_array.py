"""An array with larger or smaller voxels."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, ClassVar

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, RoiError
from dacapo.experiments.config import field

from .array import ArrayConfig
from .axes import NON_SPATIAL_AXES
from .view import ArrayView, build


class ResampledArray(ArrayView):
    """An array with other voxels: ``upsample`` times smaller, ``downsample`` times larger, per axis.

    The roi is that of the source, shrunk to multiples of the new voxel size along the axes that change. Values keep
    their position in the world: a new voxel gets the value at its center. With ``interp_order`` false that is the value
    of the source voxel around the center (the higher one if the center lies between two), as is right for labels. With
    ``interp_order`` true, values are interpolated linearly, after a Gaussian blur along the axes where voxels grow
    (sigma of half the factor minus one, in source voxels) that prevents aliasing of fine structures; integer types are
    rounded.

    Interpolation uses only source voxels inside the roi that is read, mirrored at its border, so values up to two
    voxels from the border depend on the roi.
    """

    def __init__(self, array_config: ResampledArrayConfig) -> None:
        """Build the source.

        Raises:
            ConfigError: If the factors do not match the source or its voxel size.
            RoiError: If no new voxel fits into the source.
        """
        super().__init__(array_config.name, [build(array_config.source_array_config)])
        self._up, self._down = (
            self._factors(key, value)
            for key, value in (("upsample", array_config.upsample), ("downsample", array_config.downsample))
        )
        self._linear = array_config.interp_order
        size = self._source.voxel_size
        parts = [Fraction(s * d, u).denominator for s, d, u in zip(size, self._down, self._up, strict=True)]
        if max(parts) > 1:
            unit = attrs.evolve(self._source.world, parts=self._source.world.parts * math.lcm(*parts))
            raise ConfigError(
                f"{self}: voxel size {size} times {self._down} divided by {self._up} is not an integer; choose an "
                f"upsample that divides the voxel size, or open the source with world_unit={str(unit)!r}"
            )
        self._voxel_size = size * self._down / self._up
        self._roi = self._shrunk(self._source.roi)

    def _shrunk(self, roi: Roi) -> Roi:
        """Shrink a roi to multiples of the new voxel size, along the axes that change."""
        shrunk = roi.snap_to_grid(self._voxel_size, mode="shrink")
        same = [new == old for new, old in zip(self._voxel_size, self._source.voxel_size, strict=True)]
        begin = Coordinate(a if s else b for a, b, s in zip(roi.begin, shrunk.begin, same, strict=True))
        end = Coordinate(a if s else b for a, b, s in zip(roi.end, shrunk.end, same, strict=True))
        if any(a >= b for a, b in zip(begin, end, strict=True)):
            raise RoiError(f"{self}: no voxel of size {self._voxel_size} fits into roi {roi}")
        return Roi(begin, end - begin)

    def _factors(self, key: str, value: Coordinate) -> Coordinate:
        dims = self._source.dims
        if len(value) != dims or min(value) < 0:
            raise ConfigError(f"{self}: {key} is {value}; expected {dims} numbers, 0 or 1 for an unchanged axis")
        return Coordinate(max(1, factor) for factor in value)

    @property
    def voxel_size(self) -> Coordinate:
        return self._voxel_size

    @property
    def scale(self) -> tuple[float, ...]:
        """New voxels per source voxel, for each axis of :attr:`axes`; 1 for channels."""
        factors = iter([up / down for up, down in zip(self._up, self._down, strict=True)])
        return tuple(1.0 if axis in NON_SPATIAL_AXES else next(factors) for axis in self.axes)

    def _read(self, roi: Roi) -> np.ndarray[Any, Any]:
        source_roi = _grow_to_grid(roi, self._source.roi.offset, self._source.voxel_size)
        source_roi = source_roi.intersect(self._source.roi)
        values = self._source[source_roi]
        centers = self._centers(roi, source_roi)
        if not self._linear:
            for axis, numerator, denominator in centers:
                values = values.take(numerator // denominator, axis=axis)
            return values
        return self._interpolate(values, centers)

    def _centers(self, roi: Roi, source_roi: Roi) -> list[tuple[int, np.ndarray[Any, Any], int]]:
        """Return for each axis that changes the positions of the new centers, as fractions of source voxels.

        Positions are integers with a denominator, so that rounding never decides to which voxel a center belongs.
        """
        begin, size, step = (roi.offset - source_roi.offset), self._source.voxel_size, self._voxel_size
        spatial = [i for i, axis in enumerate(self.axes) if axis not in NON_SPATIAL_AXES]
        centers = []
        for i, axis in enumerate(spatial):
            count = roi.shape[i] // step[i]
            numerator = 2 * begin[i] + (2 * np.arange(count) + 1) * step[i]
            if step[i] != size[i] or begin[i] or source_roi.shape[i] != roi.shape[i]:
                centers.append((axis, numerator, 2 * size[i]))
        return centers

    def _interpolate(
        self, values: np.ndarray[Any, Any], centers: list[tuple[int, np.ndarray[Any, Any], int]]
    ) -> np.ndarray[Any, Any]:
        from scipy.ndimage import gaussian_filter

        working = np.dtype(np.float32) if self.dtype == np.float32 else np.dtype(np.float64)
        result = values.astype(working)
        # The same width as in skimage.transform.rescale.
        sigma = [max(0.0, (1 / scale - 1) / 2) for scale in self.scale]
        if any(sigma):
            result = gaussian_filter(result, sigma, mode="mirror")
        for axis, numerator, denominator in centers:
            result = _linear_along(result, axis, numerator / denominator - 0.5)
        if self.dtype.kind in "biu":
            limits = (0, 1) if self.dtype.kind == "b" else (np.iinfo(self.dtype).min, np.iinfo(self.dtype).max)
            result = np.clip(np.rint(result), *limits)
        typed: np.ndarray[Any, Any] = result.astype(self.dtype)
        return typed


def _grow_to_grid(roi: Roi, origin: Coordinate, size: Coordinate) -> Roi:
    return (roi - origin).snap_to_grid(size, mode="grow") + origin


def _linear_along(values: np.ndarray[Any, Any], axis: int, position: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Interpolate along one axis at positions in voxels from the first center, mirrored at the outermost centers."""
    lower = np.floor(position).astype(np.int64)
    last = values.shape[axis] - 1
    # Mirroring needs a neighbor; a single voxel has none.
    below, above = (last - abs(last - abs(i)) if last else i * 0 for i in (lower, lower + 1))
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    weight = (position - lower).astype(values.dtype).reshape(shape)
    mixed: np.ndarray[Any, Any] = values.take(below, axis=axis) * (1 - weight) + values.take(above, axis=axis) * weight
    return mixed


@attrs.define
class ResampledArrayConfig(ArrayConfig):
    """Config of an array with larger or smaller voxels."""

    array_type: ClassVar[type[ResampledArray]] = ResampledArray

    source_array_config: ArrayConfig = field("The array to resample.")
    upsample: Coordinate = field("How many times smaller voxels become, per axis; 0 or 1 for an unchanged axis.")
    downsample: Coordinate = field("How many times larger voxels become, per axis; 0 or 1 for an unchanged axis.")
    interp_order: bool = field("Interpolate linearly (true, for intensities) or use the nearest (false, for labels).")
