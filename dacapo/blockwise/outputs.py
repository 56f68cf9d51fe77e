"""Creating output arrays, and protecting those that must be kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ChannelMismatchError, ConfigError, OutputExistsError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.containers import is_array, is_container
from dacapo.experiments.datasplits.datasets.arrays.places import mode_of
from dacapo.experiments.datasplits.datasets.arrays.remote_files import check_writable_place
from dacapo.experiments.datasplits.datasets.arrays.zarr3_files import create_zarr3_group, is_zarr3_group
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.paths import is_url, shown, user_path

# Attribute that marks arrays written by the operations of this package.
ORIGIN = "dacapo"
FILE_FORMATS = ("zarr", "zarr3")
"""Formats of new containers for results: Zarr v2, and Zarr v3."""


def output_container(output_path: Path | str, input_container: Path | str, file_format: str = "zarr") -> Path:
    """Return the container that results about an input are written to.

    Args:
        output_path: A container (its name ends in ``.zarr``), or a folder for a container of the input's name; either
            on a disk or at a URL.
        input_container: Container of the input.
        file_format: See :func:`prepare_container`.

    Raises:
        ConfigError: If another format is asked for, or the place cannot be written.
    """
    _check_format(file_format)
    path = user_path(output_path)
    check_writable_place(path)
    return path if path.suffix == ".zarr" else path / f"{Path(input_container).stem}.zarr"


def prepare_container(container: Path, file_format: str) -> None:
    """Decide the format of a new container for results.

    Args:
        container: The container.
        file_format: ``zarr`` for Zarr v2, unless the container exists; ``zarr3`` for Zarr v3 with shards.

    Raises:
        ConfigError: If another format is asked for, or Zarr v3 and the container exists in another one.
    """
    _check_format(file_format)
    if file_format == "zarr3":
        exists = is_container(container) if is_url(container) else mode_of(container) is not None
        if exists and not is_zarr3_group(container):
            raise ConfigError(
                f"{shown(container)} exists and is not Zarr v3; name a new container, or leave out 'zarr3'"
            )
        create_zarr3_group(container)


def _check_format(file_format: str) -> None:
    if file_format not in FILE_FORMATS:
        raise ConfigError(f"results are written as {' or '.join(map(repr, FILE_FORMATS))}, not as {file_format!r}")


def output_exists(identifier: LocalArrayIdentifier) -> bool:
    """Return whether anything is in the place of an output; at a URL, whether an array is."""
    path = identifier.container / identifier.dataset
    return is_array(path) if is_url(path) else mode_of(path) is not None


def check_output(identifier: LocalArrayIdentifier, overwrite: bool) -> None:
    """Refuse to write over an array that must be kept, or where nothing can be written.

    With ``overwrite``, results of this package may be replaced, but nothing else.

    Raises:
        OutputExistsError: If the array exists and must be kept.
        ConfigError: If it is at a URL that cannot be written.
    """
    check_writable_place(identifier.container)
    if not output_exists(identifier):
        return
    path = shown(identifier.container / identifier.dataset)
    if ORIGIN not in ZarrArray.open_from_array_identifier(identifier, mode="r").attrs:
        raise OutputExistsError(f"{path} exists and was not written by dacapo, so it is kept; name another output")
    if not overwrite:
        raise OutputExistsError(f"{path} exists already; name another output or allow overwriting")


def channels_on_disk(count: int | None) -> int | None:
    """Return the length of the channel axis of an output; None, so no axis, for a single channel.

    Readers accept a single channel with an axis, too, as earlier versions wrote it.
    """
    return None if count == 1 else count


def in_form_of(target: Array, values: npt.NDArray[Any], channel_axis: int | None) -> npt.NDArray[Any]:
    """Return values of a single channel with a channel axis exactly if the array to write to has one.

    Resumed work may have an output of the other form.

    Args:
        target: The array to write to.
        values: With or without a channel axis; several channels are returned unchanged.
        channel_axis: The channel axis of the values, None without one.

    Raises:
        ChannelMismatchError: If the array has no axis for several channels.
    """
    if channel_axis is None and target.channel_axis is not None:
        return np.expand_dims(values, target.channel_axis)
    if channel_axis is not None and target.channel_axis is None:
        if values.shape[channel_axis] != 1:
            raise ChannelMismatchError(
                f"a result of {values.shape[channel_axis]} channels cannot be written to {target}, whose axes are "
                f"{target.axes}; it needs an axis 'c'"
            )
        return np.squeeze(values, channel_axis)
    return values


def create_output(
    identifier: LocalArrayIdentifier,
    like: Array,
    roi: Roi,
    block_shape: Coordinate,
    channels: int | None,
    dtype: npt.DTypeLike,
    overwrite: bool,
    origin: dict[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> ZarrArray:
    """Create an array for blocks to write to.

    Args:
        identifier: Where to create it.
        like: Gives the spatial axes, the voxel size and the units.
        roi: Region to cover, in world units. Blocks begin at its lower corner.
        block_shape: Shape of a block in world units; blocks never share a chunk.
        channels: Length of the channel axis, which comes first; None without one.
        dtype: Type of the values.
        overwrite: Whether to replace an earlier result.
        origin: How the result was made, for its attributes.
        metadata: Other attributes.

    Raises:
        OutputExistsError: If an existing array must be kept.
    """
    check_output(identifier, overwrite)
    spatial = [axis for axis in like.axes if axis not in ("b", "c")]
    return ZarrArray.create_from_array_identifier(
        identifier,
        ["c", *spatial],
        roi,
        channels,
        like.voxel_size,
        dtype,
        write_size=block_shape,
        overwrite=overwrite,
        world=like.world,
        attributes={**(metadata or {}), ORIGIN: origin},
    )
