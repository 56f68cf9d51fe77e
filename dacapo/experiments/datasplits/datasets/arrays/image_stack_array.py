"""A folder of images as the planes of a volume, or a single image."""

from __future__ import annotations

import itertools
import re
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import ArrayNotFoundError, DacapoError, DtypeError, MetadataError, StorageError
from dacapo.utils.byte_order import native_dtype
from dacapo.utils.paths import shown

from .file_array import FileArray, FileArrayConfig
from .metadata import Candidates
from .placement import stated_in
from .plane_cache import planes
from .plane_reader import read_planes
from .remote_file import readable, version_of
from .tiff_file import opened_tiff

SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
"""Endings of the files that count as planes."""


def planes_in(folder: Path) -> list[Path]:
    """Return the images in a folder in the order of the numbers in their names."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    return sorted(files, key=lambda file: _natural(file.name))


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if number % 2 else (0, part) for number, part in enumerate(parts)]


def read_image(path: Path) -> np.ndarray[Any, Any]:
    """Return the values of a single plane.

    Raises:
        StorageError: If the file cannot be read.
    """
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            with opened_tiff(path) as file:
                return np.asarray(file.asarray())
        import imageio.v3

        return np.asarray(imageio.v3.imread(readable(path), extension=path.suffix))
    except DacapoError:
        raise
    except Exception as error:
        raise StorageError(f"cannot read the image {shown(path)}: {error}") from error


class ImageStackArray(FileArray):
    """The images in a folder as the planes of a volume, in the order of the numbers in their names; or one image.

    Color images have a channel axis, which comes last. The files state no voxel size. Decoded planes are cached.
    """

    config: ImageStackArrayConfig

    def _header(self) -> tuple[tuple[int, ...], np.dtype[Any], Candidates]:
        self._files = planes_in(self._file) if self._file.is_dir() else [self._file]
        if not self._files:
            raise ArrayNotFoundError(f"{self._file} holds no images; expected files that end in {', '.join(SUFFIXES)}")
        _check_numbers(self._file, self._files)
        first = read_image(self._files[0])
        if first.dtype.kind not in "biuf":
            raise DtypeError(f"{self._files[0]} holds {first.dtype}; expected numbers")
        if first.ndim not in (2, 3):
            raise MetadataError(f"{self._files[0]} has shape {first.shape}; expected a single plane, in gray or color")
        self._plane_shape = first.shape
        outer = (len(self._files),) if self._file.is_dir() else ()
        found = Candidates(axes=[("images", ["z"] * len(outer) + ["y", "x", "c"][: first.ndim])])
        return (*outer, *first.shape), native_dtype(first.dtype), found

    def _read(self, index: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        return read_planes(index, self._shape, len(self._plane_shape), self._dtype, self._plane)

    def _plane(self, number: int) -> np.ndarray[Any, Any]:
        file = self._files[number]
        plane = planes.get((str(file), version_of(file)), partial(read_image, file))
        if plane.shape != self._plane_shape or native_dtype(plane.dtype) != self._dtype:
            raise StorageError(
                f"{file} has shape {plane.shape} and type {plane.dtype}, but the first plane, {self._files[0].name}, "
                f"has {self._plane_shape} and {self._dtype}; all planes of a folder must be alike"
            )
        return plane


def _check_numbers(folder: Path, files: list[Path]) -> None:
    """Raise an error if a plane is missing, as far as the numbers in the names tell.

    Raises:
        MetadataError: If the numbers are not evenly spaced.
    """
    split = [re.split(r"(\d+)", file.stem) for file in files]
    if len({len(parts) for parts in split}) != 1:
        return
    varying = [column for column in zip(*split, strict=True) if len(set(column)) > 1]
    if len(varying) != 1 or not all(entry.isdigit() for entry in varying[0]):
        return
    steps = [int(b) - int(a) for a, b in itertools.pairwise(varying[0])]
    gap = next((number for number, step in enumerate(steps) if step != min(steps)), None)
    if gap is not None:
        raise MetadataError(
            f"{folder}: planes seem to be missing between {files[gap].name} and {files[gap + 1].name}; later planes "
            "would lie in the wrong place. Add the missing ones, or number the files without gaps"
        )


@attrs.define
class ImageStackArrayConfig(FileArrayConfig):
    """Config of a folder of images as the planes of a volume, or of a single image."""

    array_type: ClassVar[type[ImageStackArray]] = ImageStackArray

    def stated_metadata(self) -> frozenset[str]:
        """Return that the files state the axes only."""
        return stated_in(Candidates(axes=[("images", [])]))
