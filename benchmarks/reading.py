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


class Places:
    """Random places of the samples of two volumes on disk.

    Args:
        setting: How large, and where.
        kind: The class that reads in the package's way.

    Attributes:
        stored: Where the volumes are, by name.
        places: The name of a volume and the index of each place to read.
    """

    def __init__(self, setting: Setting, kind: type[ZarrArray]) -> None:
        size, raw_size = setting.size(160, 64), setting.size(64, 24)
        labels = cells(size)
        volumes: dict[str, npt.NDArray[Any]] = {"raw": image(labels), "labels": labels}
        self.stored = {name: on_disk(setting.folder, name, values) for name, values in volumes.items()}
        self.places: list[tuple[str, tuple[slice, ...]]] = []
        self._sizes = {"raw": raw_size, "labels": raw_size - 12}
        self._extent = size
        self._arrays: dict[str, Array] = {
            name: kind.open_from_array_identifier(place, mode="r") for name, place in self.stored.items()
        }
        self._rng = np.random.default_rng(0)

    def prepare(self) -> None:
        """Choose where to read."""
        self.places.clear()
        for name in [*self._sizes, *self._sizes]:
            corner = self._rng.integers(0, self._extent - self._sizes[name] + 1, 3)
            self.places.append((name, tuple(slice(int(begin), int(begin) + self._sizes[name]) for begin in corner)))

    def ours(self) -> list[Any]:
        """Read the places in the package's way."""
        return read_all(Read(self._arrays[name], roi_of(place)) for name, place in self.places)


def same_values(got: list[Any], expected: list[Any]) -> None:
    """Check that the same was read."""
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def reading(setting: Setting, kind: type[ZarrArray], wait: float, goal: str) -> Case:
    """Read at random places; the floor is Zarr, after waiting once."""
    import zarr

    read = Places(setting, kind)
    stored = read.stored.items()
    plain = {name: zarr.open_array(str(place.container / place.dataset), mode="r") for name, place in stored}

    def floor() -> list[Any]:
        time.sleep(wait)
        return [plain[name][place] for name, place in read.places]

    return Case(read.ours, floor, same_values, goal, read.prepare)


def roi_of(place: tuple[slice, ...]) -> Roi:
    """Return the region of the voxels of an index."""
    begin, end = (Coordinate(getattr(s, side) for s in place) for side in ("start", "stop"))
    return Roi(begin * VOXEL_SIZE, (end - begin) * VOXEL_SIZE)


CASES: dict[str, Callable[[Setting], Case]] = {
    "read two samples, 64^3": lambda setting: reading(setting, ZarrArray, 0, "0.5"),
    "read two samples from a late store, 64^3": lambda setting: reading(setting, LateArray, WAIT, "1.1"),
}
