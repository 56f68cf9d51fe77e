"""The same volume in every format that is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import imageio.v3
import numpy as np
import tensorstore
import tifffile
import zarr
from funlib.geometry import Coordinate

from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig, MemoryArrayConfig, config_for
from tests.helpers.volumes import write_array

SIZE, OFFSET = Coordinate(8, 4, 4), Coordinate(80, 40, 40)

Writer = Callable[[Path, str, np.ndarray], ArrayConfig]
"""Writes values of three axes into a folder under a name, and returns the config that reads them."""

GIVEN: dict[str, Any] = {"voxel_size": SIZE, "offset": OFFSET}
"""What files of some formats cannot tell."""


def zarr2(folder: Path, name: str, values: np.ndarray) -> ArrayConfig:
    write_array(folder / "a.zarr", name, values, SIZE, OFFSET)
    return config_for(folder / "a.zarr", name)


def zarr3(folder: Path, name: str, values: np.ndarray) -> ArrayConfig:
    """Write Zarr v3 with shards."""
    place = {"axes": ["z", "y", "x"], "resolution": [*SIZE], "offset": [*OFFSET], "units": ["nm"] * 3}
    inner = {"chunk_shape": [4, 4, 4], "codecs": [{"name": "bytes"}, {"name": "gzip"}]}
    metadata = {
        "shape": values.shape,
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8, 8, 8]}},
        "codecs": [{"name": "sharding_indexed", "configuration": inner}],
        "attributes": place,
    }
    kvstore = {"driver": "file", "path": f"{folder / 'c.zarr' / name}/"}
    spec = {"driver": "zarr3", "kvstore": kvstore, "metadata": metadata}
    tensorstore.open(spec, create=True).result()[...] = values
    return config_for(folder / "c.zarr", name)


def n5(folder: Path, name: str, values: np.ndarray) -> ArrayConfig:
    metadata = {
        "dimensions": values.shape[::-1],
        "blockSize": [8, 8, 8],
        "dataType": values.dtype.name,
        "compression": {"type": "gzip"},
        "axes": ["x", "y", "z"],
        "resolution": [*SIZE[::-1]],
        "units": ["nm"] * 3,
        "offset": [*OFFSET[::-1]],
    }
    kvstore = {"driver": "file", "path": f"{folder / 'a.n5' / name}/"}
    tensorstore.open({"driver": "n5", "kvstore": kvstore, "metadata": metadata}, create=True).result()[...] = values.T
    return config_for(folder / "a.n5", name)


def hdf5(folder: Path, name: str, values: np.ndarray) -> ArrayConfig:
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "a.h5", "a") as file:
        dataset = file.create_dataset(f"volumes/{name}", data=values, chunks=(4, 6, 8), compression="gzip")
        dataset.attrs.update({"resolution": SIZE, "offset": OFFSET})
        dataset.attrs["axes"] = ["z", "y", "x"]
    return config_for(folder / "a.h5", f"volumes/{name}")


def tiff(folder: Path, name: str, values: np.ndarray) -> ArrayConfig:
    """Write a compressed TIFF of ImageJ, in micrometers."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.tif"
    # ImageJ knows no 64 bit integers, and no 32 bit ones either.
    values = values.astype(np.uint16) if values.dtype.itemsize > 2 else values
    metadata = {"spacing": SIZE[0], "unit": "nm", "axes": "ZYX"}
    resolution = (1 / SIZE[2], 1 / SIZE[1])
    tifffile.imwrite(path, values, imagej=True, resolution=resolution, metadata=metadata, compression="zlib")
    return config_for(path, offset=OFFSET)


def ome_tiff(folder: Path, name: str, values: np.ndarray) -> ArrayConfig:
    folder.mkdir(parents=True, exist_ok=True)
    metadata: dict[str, Any] = {"axes": "ZYX"}
    for axis, size in zip("ZYX", SIZE, strict=True):
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "nm"}
    path = folder / f"{name}.ome.tif"
    tifffile.imwrite(path, values, metadata=metadata, tile=(16, 16), compression="zlib")
    return config_for(path, offset=OFFSET)


def png_slices(folder: Path, name: str, values: np.ndarray) -> ArrayConfig:
    (folder / name).mkdir(parents=True)
    for number, plane in enumerate(values, start=9):
        imageio.v3.imwrite(folder / name / f"slice_{number}.png", plane.astype(np.uint8))
    return config_for(folder / name, **GIVEN)


def precomputed(folder: Path, name: str, values: np.ndarray) -> ArrayConfig:
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder / name}/"},
        "multiscale_metadata": {
            "type": "segmentation" if values.dtype.itemsize > 2 else "image",
            "data_type": values.dtype.name,
            "num_channels": 1,
        },
        "scale_metadata": {
            "size": values.shape[::-1],
            "resolution": SIZE[::-1],
            "voxel_offset": (OFFSET / SIZE)[::-1],
            "encoding": "raw",
            "chunk_size": [16, 16, 16],
            "key": "s0",
        },
    }
    opened = tensorstore.open(spec, create=True).result()
    opened[..., 0] = tensorstore.array(values.T).translate_to[opened.domain.origin[:3]]
    return config_for(folder / name)


def multiscale(folder: Path, name: str, values: np.ndarray) -> ArrayConfig:
    """Write OME-NGFF 0.4 as bioformats2raw does: five axes, of which time and channel have one entry."""
    group = zarr.open_group(str(folder / "b.zarr" / name), mode="w")
    datasets = []
    for level in range(2):
        size = [1.0, 1.0, *(step * 2**level for step in SIZE)]
        begin = [0.0, 0.0, *OFFSET]
        group.create_dataset(str(level), data=values[None, None, :: 2**level, :: 2**level, :: 2**level])
        moves = [{"type": "scale", "scale": size}, {"type": "translation", "translation": begin}]
        datasets.append({"path": str(level), "coordinateTransformations": moves})
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return config_for(folder / "b.zarr", name, level=(1, *SIZE), select={"t": 0, "c": 0})


def memory(folder: Path, name: str, values: np.ndarray) -> ArrayConfig:
    return MemoryArrayConfig.of(values, name, ["z", "y", "x"], SIZE, OFFSET, "nm")


FORMATS: dict[str, Writer] = {
    "zarr2": zarr2,
    "zarr3": zarr3,
    "n5": n5,
    "hdf5": hdf5,
    "tiff": tiff,
    "ome_tiff": ome_tiff,
    "png_slices": png_slices,
    "precomputed": precomputed,
    "multiscale": multiscale,
    "memory": memory,
}
