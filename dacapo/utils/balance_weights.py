"""Weights that make rare classes count as much as frequent ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from dacapo.errors import ConfigError, DtypeError, LabelError

# For every slab and class: voxels of the class, and voxels of the slab plus one.
MovingCounts: TypeAlias = list[list[tuple[float, float]]]

_VOXELS_AT_ONCE = 1 << 18  # of which numpy widens the codes to 64 bits


def balance_weights(
    label_data: npt.NDArray[Any],
    num_classes: int,
    masks: Sequence[npt.NDArray[Any]] = (),
    slab: Sequence[int] | None = None,
    clipmin: float | None = 0.05,
    clipmax: float | None = 0.95,
    moving_counts: MovingCounts | None = None,
) -> tuple[npt.NDArray[np.float32], MovingCounts]:
    """Weight every voxel by the inverse of how frequent its class is.

    The weight is 1 / (num_classes * f), where f is the fraction of the class among all voxels seen so far, this call
    included. Without clipping, all classes together then weigh the same over time.

    Args:
        label_data: Class of every voxel, integers or bool, below ``num_classes``.
        num_classes: Number of classes.
        masks: Arrays of the shape of ``label_data``; a voxel that is 0 in any of them gets weight 0 and is not
            counted.
        slab: Shape of the parts that are counted and weighted each on its own, -1 for the whole axis. The last part
            of an axis may be smaller. The whole array by default.
        clipmin: Lower limit of the fraction f, which limits the weights of rare classes; None for no limit.
        clipmax: Upper limit of the fraction f; None for no limit.
        moving_counts: Counts that the previous call returned; changed in place. None at the first call.

    Returns:
        The weights and the counts, by slab (the last axis runs fastest) and class: (voxels of the class, voxels + 1).

    Raises:
        DtypeError: If the classes are neither integers nor bool.
        LabelError: If a class is negative or not below ``num_classes``.
        ConfigError: If the slab, a mask or the counts do not fit the shape of the labels.
    """
    shape = label_data.shape
    _check(label_data, num_classes, masks, slab)
    slab_shape = [size if s == -1 else s for s, size in zip(slab or (-1,) * len(shape), shape, strict=True)]
    starts = list(itertools.product(*(range(0, size, s) for s, size in zip(slab_shape, shape, strict=True))))
    counts: MovingCounts = [] if moving_counts is None else moving_counts
    if not counts:
        counts.extend([(0.0, 1.0)] * num_classes for _ in starts)
    if len(counts) != len(starts) or any(len(slab_counts) != num_classes for slab_counts in counts):
        raise ConfigError(
            f"the counts handed in are of {len(counts)} slabs with {[len(c) for c in counts]} classes, but labels of "
            f"shape {shape} in slabs of {slab_shape} have {len(starts)} with {num_classes}; start without counts"
        )
    codes = label_data.astype(np.min_scalar_type(num_classes), copy=False)
    if masks:
        codes = mark_unknown(codes, _combine(masks), num_classes)
    weights = np.empty(shape, dtype=np.float32)
    for index, start in enumerate(starts):
        part = tuple(slice(begin, begin + size) for begin, size in zip(start, slab_shape, strict=True))
        found = count_codes(codes[part], num_classes)
        counts[index] = [
            (old + new, total + sum(found)) for new, (old, total) in zip(found, counts[index], strict=True)
        ]
        look_up(codes[part], _class_weights(counts[index], clipmin, clipmax), weights[part])
    return weights, counts


def _check(
    label_data: npt.NDArray[Any],
    num_classes: int,
    masks: Sequence[npt.NDArray[Any]],
    slab: Sequence[int] | None,
) -> None:
    if label_data.dtype.kind not in "biu":
        raise DtypeError(f"class weights need classes of an integer type or bool, not {label_data.dtype}")
    if label_data.size and not (label_data.min() >= 0 and label_data.max() < num_classes):
        found = np.unique(label_data)
        raise LabelError(f"{num_classes} classes are numbered 0 to {num_classes - 1}, but the labels are {found}")
    for mask in masks:
        if mask.shape != label_data.shape:
            raise ConfigError(f"a mask has shape {mask.shape}, but the labels it is for have {label_data.shape}")
    if slab is not None and (len(slab) != label_data.ndim or any(s < 1 and s != -1 for s in slab)):
        raise ConfigError(f"slab {tuple(slab)} needs one size (or -1) for each of the {label_data.ndim} axes")


def _combine(masks: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    combined: npt.NDArray[np.bool_] = masks[0] != 0
    for mask in masks[1:]:
        combined &= mask != 0
    return combined


def mark_unknown(classes: npt.NDArray[Any], known: npt.NDArray[np.bool_], unknown: int) -> npt.NDArray[Any]:
    """Return classes with another number where they are not known: such voxels have weight 0 and are not counted.

    Args:
        classes: Class of every voxel.
        known: Where the classes are known, of a shape that broadcasts.
        unknown: A number above those of all classes.
    """
    if known.all():
        return classes
    # Arithmetic on bytes takes a tenth of the time of a selection by a mask.
    marked: npt.NDArray[Any] = np.maximum(classes, ~known * classes.dtype.type(unknown))
    return marked


def count_codes(codes: npt.NDArray[Any], num_classes: int) -> list[int]:
    """Return the number of voxels of each class."""
    # Comparing bytes once per class is faster than a histogram, which first widens them to 64 bits.
    return [int(np.count_nonzero(codes == code)) for code in range(num_classes)]


def look_up(codes: npt.NDArray[Any], weights: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None:
    """Write the weight of every voxel, given those of the classes and, at the end, that of unknown ones."""
    step = max(1, _VOXELS_AT_ONCE * len(codes) // max(1, codes.size))
    for begin in range(0, len(codes), step):
        part = slice(begin, begin + step)
        np.take(weights, codes[part], out=out[part], mode="clip")  # other modes copy the output


def _class_weights(
    counts: list[tuple[float, float]], clipmin: float | None, clipmax: float | None
) -> npt.NDArray[np.float32]:
    """Return the weight of each class, followed by the 0 of unknown voxels."""
    found, total = torch.tensor(counts, dtype=torch.float64).T
    return np.append(inverse_frequencies(found, total, clipmin, clipmax).numpy(), 0).astype(np.float32)


def inverse_frequencies(
    found: torch.Tensor, total: torch.Tensor, clipmin: float | None, clipmax: float | None
) -> torch.Tensor:
    """Return 1 / (number of classes * fraction), the weight of every class, on the device of the counts.

    A class that was never seen has weight 0, unless its fraction is clipped.

    Args:
        found: Voxels of each class, float64, the last axis being classes.
        total: All voxels, of a shape that broadcasts.
        clipmin: Lower limit of the fraction of a class; None for no limit.
        clipmax: Upper limit of the fraction; None for no limit.
    """
    fractions = found / total
    if clipmin is not None or clipmax is not None:
        fractions = fractions.clamp(clipmin, clipmax)
    return torch.where(fractions > 0, 1 / (found.shape[-1] * fractions).clamp(min=1e-30), 0.0)
