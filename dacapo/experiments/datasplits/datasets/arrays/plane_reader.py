"""Reading regions of images that are stored as a sequence of planes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Index = tuple[slice, ...]


def read_planes(
    index: Index, shape: Sequence[int], plane_ndim: int, dtype: np.dtype[Any], plane: Callable[[int], Any]
) -> np.ndarray[Any, Any]:
    """Read the values at an index of an image whose last axes are those of planes.

    Args:
        index: One slice per axis, inside the image and with step 1.
        shape: Shape of the image.
        plane_ndim: Number of axes of a plane.
        dtype: Type of the values.
        plane: Returns a plane by its number; planes are counted in the order of the data. Only those that the index
            touches are asked for.
    """
    bounds = [range(*part.indices(size)) for part, size in zip(index, shape, strict=True)]
    outer = len(shape) - plane_ndim
    result = np.empty([len(bound) for bound in bounds], dtype=dtype)
    inside = tuple(slice(bound.start, bound.stop) for bound in bounds[outer:])
    for place in itertools.product(*(enumerate(bound) for bound in bounds[:outer])):
        target = tuple(to for to, _ in place)
        number = int(np.ravel_multi_index([at for _, at in place], shape[:outer])) if outer else 0
        result[target] = plane(number)[inside]
    return result
