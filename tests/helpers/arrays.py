"""Arrays of given values, made from configs."""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.config import field
from dacapo.experiments.datasplits.datasets.arrays import Array, ArrayConfig, NumpyArray
from dacapo.experiments.datasplits.datasets.arrays.reading import QUICK
from tests.helpers.processes import PATIENCE


class GivenArray(NumpyArray):
    """A numpy array that a config can name, and that remembers which rois it was asked for."""

    def __init__(self, config: GivenArrayConfig) -> None:
        base = NumpyArray.from_np_array(config.values, config.roi, config.voxel_size, config.axes)
        vars(self).update(vars(base))
        self.name = config.name
        self.config = config

    @property
    def attrs(self) -> dict[str, Any]:
        return self.config.attributes

    def __getitem__(self, roi: Roi) -> np.ndarray:
        self.config.asked.append(roi)
        return super().__getitem__(roi)


class MeetingArray(NumpyArray):
    """An array in a slow store, it seems, of which as many reads must be under way at once as meet at the barrier."""

    barrier: threading.Barrier

    @property
    def is_stored(self) -> bool:
        return True

    def __getitem__(self, roi: Roi) -> np.ndarray:
        self.barrier.wait(timeout=PATIENCE)
        time.sleep(2 * QUICK)
        return super().__getitem__(roi)


@attrs.define
class GivenArrayConfig(ArrayConfig):
    """Values in memory as a config."""

    array_type: ClassVar[type[GivenArray]] = GivenArray

    values: Any = field("Values.", default=None)
    voxel_size: Any = field("Voxel size.", default=None)
    offset: Any = field("Corner.", default=None)
    axes: Any = field("Axes.", default=None)
    attributes: Any = field("Attributes.", factory=dict)
    asked: list[Roi] = field("Rois that were read.", factory=list)

    @property
    def roi(self) -> Roi:
        shape = [n for n, axis in zip(self.values.shape, self.axes, strict=True) if axis not in "bc"]
        return Roi(self.offset, Coordinate(shape) * Coordinate(self.voxel_size))


def given_array(
    shape: tuple[int, ...] = (6, 8, 10),
    axes: str = "zyx",
    dtype: Any = np.uint8,
    high: int = 5,
    seed: int = 0,
    offset: tuple[int, ...] | None = None,
    voxel_size: tuple[int, ...] | None = None,
    **kwargs: Any,
) -> GivenArrayConfig:
    dims = len(axes.replace("c", "").replace("b", ""))
    values = np.random.default_rng(seed).integers(0, high, shape).astype(dtype)
    return GivenArrayConfig(
        "given",
        values,
        Coordinate(voxel_size or (8, 4, 4)[-dims:]),
        Coordinate(offset or (12, 20, 8)[-dims:]),
        list(axes),
        **kwargs,
    )


def build(config: ArrayConfig) -> Array:
    return config.array_type(config)
