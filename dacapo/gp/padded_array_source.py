"""Arrays as sources without bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import gunpowder as gp
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Read, read_all

from .dacapo_array_source import DaCapoArraySource
from .specs import Spec

if TYPE_CHECKING:
    import numpy.typing as npt

    from dacapo.experiments.datasplits.datasets.arrays import Array


class PaddedArraySource(DaCapoArraySource):
    """Provide the values of an array anywhere, also outside of it.

    Whatever a deformation or the context of a network reaches for can be read; where to sample is decided downstream
    (see `RandomTargetLocation`).
    """

    def __init__(
        self,
        array: Array,
        key: gp.ArrayKey,
        padding: Literal["reflect", "zero"],
        *,
        roi: Roi | None = None,
        origin: Coordinate | None = None,
        dtype: npt.DTypeLike | None = None,
        interpolatable: bool | None = None,
    ) -> None:
        """Set the array and what stands outside of it.

        Args:
            array: Read whenever a batch is requested.
            key: The key under which it is provided.
            padding: Whether voxels outside mirror the ones inside, or are 0.
            roi: The part of the array that counts as inside, on its voxel grid; all of it by default.
            origin: The point of the world that is 0 in the pipeline. Gunpowder wants offsets that are multiples of the
                voxel size, which those of arrays need not be.
            dtype: What values are converted to; the array's own type by default.
            interpolatable: Whether values between voxels may be averaged; None leaves it open.

        Raises:
            ConfigError: If the voxel grid of the array does not pass through the origin.
        """
        super().__init__(array, key, interpolatable=interpolatable)
        self.padding = padding
        self.origin = Coordinate((0,) * array.dims) if origin is None else Coordinate(origin)
        self.dtype = np.dtype(array.dtype if dtype is None else dtype)
        self.inside = None if roi is None else roi.intersect(array.roi)
        if any(((array.roi if self.inside is None else self.inside).offset - self.origin) % array.voxel_size):
            raise ConfigError(
                f"{key}: the voxels (size {array.voxel_size}) of the array at {array.roi} do not line up with the "
                f"point {self.origin}, where those of the arrays of the same dataset begin"
            )

    def provided_spec(self) -> gp.ArraySpec:
        """Return the spec of an array without bounds."""
        dims = self.array.dims
        return Spec(
            roi=Roi((None,) * dims, (None,) * dims),
            voxel_size=self.array.voxel_size,
            interpolatable=self.interpolatable,
            dtype=self.dtype,
        )

    def to_read(self, roi: Roi) -> Read:
        """Return what has to be read for a region in pipeline coordinates."""
        return Read(self.array, roi + self.origin, self.padding, self.inside)

    def read(self, roi: Roi) -> np.ndarray[Any, Any]:
        """Return the values in a region in pipeline coordinates, as the array has them."""
        return read_all([self.to_read(roi)])[0]
