"""Reading the regions of two samples, each of raw data and labels, from compressed Zarr."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import Array, Read, ZarrArray, read_all

from .arrays import on_disk
from .data import VOXEL_SIZE, cells, image
from .harness import Case, Setting

WAIT = 0.05


class LateArray(ZarrArray):
    """An array in a store that answers late."""

    def __getitem__(self, roi: Roi) -> np.ndarray[Any, Any]:
        time.sleep(WAIT)
        return super().__getitem__(roi)


def reading(setting: Setting, kind: type[ZarrArray], wait: float, goal: str) -> Case:
    """Read at random places; the floor is Zarr, after waiting once."""
    import zarr

    size, raw_size = setting.size(160, 64), setting.size(64, 24)
    labels = cells(size)
    volumes: dict[str, npt.NDArray[Any]] = {"raw": image(labels), "labels": labels}
    sizes = {"raw": raw_size, "labels": raw_size - 12}
    stored = {name: on_disk(setting.folder, name, values) for name, values in volumes.items()}
    arrays: dict[str, Array] = {
        name: kind.open_from_array_identifier(place, mode="r") for name, place in stored.items()
    }
    plain = {name: zarr.open_array(str(place.container / place.dataset), mode="r") for name, place in stored.items()}
    rng = np.random.default_rng(0)
    places: list[tuple[str, tuple[slice, ...]]] = []

    def prepare() -> None:
        """Choose where to read."""
        places.clear()
        for name in [*sizes, *sizes]:
            corner = rng.integers(0, size - sizes[name] + 1, 3)
            places.append((name, tuple(slice(int(begin), int(begin) + sizes[name]) for begin in corner)))

    def ours() -> list[Any]:
        return read_all(Read(arrays[name], roi_of(place)) for name, place in places)

    def floor() -> list[Any]:
        time.sleep(wait)
        return [plain[name][place] for name, place in places]

    def check(got: list[Any], expected: list[Any]) -> None:
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, other)

    return Case(ours, floor, check, goal, prepare)


def roi_of(place: tuple[slice, ...]) -> Roi:
    """Return the region of the voxels of an index."""
    begin, end = (Coordinate(getattr(s, side) for s in place) for side in ("start", "stop"))
    return Roi(begin * VOXEL_SIZE, (end - begin) * VOXEL_SIZE)


CASES: dict[str, Callable[[Setting], Case]] = {
    "read two samples, 64^3": lambda setting: reading(setting, ZarrArray, 0, "0.5"),
    "read two samples from a late store, 64^3": lambda setting: reading(setting, LateArray, WAIT, "1.1"),
}
