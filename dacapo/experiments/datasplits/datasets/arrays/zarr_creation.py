"""Create arrays of Zarr v2 and v3: what is asked for, whether it would destroy something, and the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, DtypeError, MetadataError, OutputExistsError, RoiError, StorageError
from dacapo.utils.paths import is_url, shown

from .axes import spatial_axes_of
from .containers import group_attributes, is_array
from .places import has_group
from .remote_files import check_writable_place
from .remote_zarr import create_remote_zarr2
from .zarr3_files import create_zarr3, is_zarr3_group
from .zarr_files import create_zarr2


def kept_axes(axes: Sequence[str], roi: Roi, num_channels: int | None, voxel_size: Coordinate) -> list[str]:
    """Return the axes of a new array, without ``c`` if it has no channels, if the region and its voxels fit them.

    Raises:
        ConfigError: If axes, channels and roi do not match.
        MetadataError: If the voxel size is not positive.
        RoiError: If the roi is empty or not a multiple of the voxel size.
    """
    kept = [axis for axis in axes if axis != "c" or num_channels is not None]
    if num_channels is not None and (num_channels < 1 or "c" not in kept):
        raise ConfigError(f"{num_channels} channels requested with axes {list(axes)}; expected a 'c' and at least one")
    dims = len(spatial_axes_of(kept))
    if roi.dims != dims or len(voxel_size) != dims:
        raise ConfigError(f"axes {list(axes)} have {dims} spatial ones, but roi is {roi}, voxel size {voxel_size}")
    if min(voxel_size) <= 0:
        raise MetadataError(f"voxel size is {voxel_size}; expected positive numbers")
    if None in roi.shape or min(roi.shape) <= 0 or any(roi.shape % voxel_size):
        raise RoiError(f"cannot create an array for roi {roi}; expected a positive multiple of voxel size {voxel_size}")
    return kept


def plain_dtype(dtype: Any) -> np.dtype[Any]:
    """Return a numeric data type, as numpy describes it.

    Raises:
        DtypeError: If it is not numeric.
    """
    kind: np.dtype[Any] = np.dtype(dtype)
    if kind.kind not in "biufc":
        raise DtypeError(f"cannot create an array of data type {kind}; expected a numeric one")
    return kind


def check_target(container: Path, dataset: str, overwrite: bool) -> None:
    """Raise an error if creating the array would destroy other data.

    Raises:
        OutputExistsError: If an array exists and ``overwrite`` is false, or a group with arrays.
        StorageError: If the place cannot be written.
    """
    target = container / dataset
    check_writable_place(container)
    if group_attributes(container).get("n5"):
        raise StorageError(
            f"{shown(container)} is N5, not a Zarr v2 container or one of v3, the only kinds written; name another"
        )
    parts = dataset.split("/") if dataset else []
    for depth in range(len(parts)):
        parent = container.joinpath(*parts[:depth])
        if is_array(parent):
            raise OutputExistsError(
                f"cannot create {shown(target)}: {shown(parent)} is an array, which cannot hold other arrays"
            )
    if is_array(target):
        if not overwrite:
            raise OutputExistsError(f"{shown(target)} exists; allow overwriting it, or choose another dataset")
    elif dataset and has_group(target):
        raise OutputExistsError(f"{shown(target)} is a nonempty group; an array cannot replace it")


def create_files(
    container: Path,
    dataset: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: np.dtype[Any],
    axes: Sequence[str],
    attributes: Mapping[str, Any],
) -> None:
    """Write the metadata of an array filled with zeros, in the version of its container.

    Raises:
        StorageError: If the folder, or URL, cannot be written.
    """
    try:
        if is_zarr3_group(container):
            create_zarr3(container, dataset, shape, chunks, dtype, axes, attributes)
        elif is_url(container):
            create_remote_zarr2(container, dataset, shape, chunks, dtype, attributes)
        else:
            create_zarr2(container, dataset, shape, chunks, dtype, attributes)
    except (OSError, KeyError, ValueError) as error:
        raise StorageError(f"cannot create {shown(container / dataset)}: {error.__cause__ or error}") from error
