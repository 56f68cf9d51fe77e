"""Reading random samples of raw data and labels from compressed Zarr, as ``benchmarks/reading.py`` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dacapo.experiments.datasplits.datasets.arrays import ZarrArray

from ..harness import Case, Setting
from ..reading import Places, same_values
from .comparison import Comparison
from .limits import seconds_of_bytes

Place = tuple[slice, ...]


def by_zarr(path: str) -> Callable[[Place], Any]:
    import zarr

    array: Any = zarr.open_array(path, mode="r")
    return lambda place: array[place]


def by_tensorstore(path: str) -> Callable[[Place], Any]:
    import tensorstore

    array = tensorstore.open({"driver": "zarr", "kvstore": {"driver": "file", "path": path}}, read=True).result()
    return lambda place: array[place].read().result()


def by_dask(path: str) -> Callable[[Place], Any]:
    import dask.array

    array = dask.array.from_zarr(path)
    return lambda place: array[place].compute()


def reading(setting: Setting, other: str, opened: Callable[[str], Callable[[Place], Any]]) -> Comparison:
    """Read the same places."""
    read = Places(setting, ZarrArray)
    by_name = {name: opened(str(place.container / place.dataset)) for name, place in read.stored.items()}

    def theirs() -> list[Any]:
        return [by_name[name](place) for name, place in read.places]

    case = Case(read.ours, theirs, same_values, prepare=read.prepare)
    return Comparison("read two samples, 64^3", other, case, lambda: seconds_of_bytes(*read.ours()))


OTHERS = {"zarr": by_zarr, "TensorStore": by_tensorstore, "dask": by_dask}
