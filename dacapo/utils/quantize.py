"""The one place that scales predictions to integers for storage, and back.

A model's output spans a range that its predictor names: 0 to 1 for probabilities and affinities, -1 to 1 for signed
distances. Stored as an unsigned integer, the lowest value of the range becomes 0 and the highest the largest integer;
values between are rounded to the nearest step, values outside are clipped. With ``uint8`` a probability of 0.5 and a
distance of 0 both lie between 127 and 128. Floating point types store the values as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError, DtypeError


def quantize(
    values: npt.NDArray[np.floating], value_range: tuple[float, float], dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Convert a model's output to the data type it is stored in.

    Args:
        values: Output of a model in eval mode.
        value_range: Lowest and highest value that the output can have.
        dtype: An unsigned integer type of up to 32 bits, or a floating point type.

    Returns:
        ``round((values - low) / (high - low) * largest)``, clipped, for integers; else the values. NaN becomes 0.

    Raises:
        DtypeError: If ``dtype`` is another type.
        ConfigError: If the range is empty.

    >>> quantize(np.array([-2.0, -1.0, 0.5, 1.0]), (-1, 1), np.uint8).tolist()
    [0, 0, 191, 255]
    """
    target = np.dtype(dtype)
    if target.kind == "f":
        return np.asarray(values, dtype=target)
    low, high = _check(value_range, target)
    largest = np.iinfo(target).max
    # Single precision holds every step of 8 and 16 bits, but not of 32.
    scaled: npt.NDArray[Any] = np.array(values, dtype=np.float32 if target.itemsize <= 2 else np.float64)
    scaled -= low
    scaled *= largest / (high - low)
    np.rint(scaled, out=scaled)
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=largest, neginf=0.0)
    return np.clip(scaled, 0, largest, out=scaled).astype(target)


def dequantize(values: npt.NDArray[Any], value_range: tuple[float, float]) -> npt.NDArray[np.floating]:
    """Convert stored predictions back to the range of the model's output.

    Args:
        values: Stored predictions; unsigned integers are scaled, floating point values returned as they are.
        value_range: Lowest and highest value that the output can have.

    Raises:
        DtypeError: If the values are of another type.
        ConfigError: If the range is empty.
    """
    stored = np.asarray(values)
    if stored.dtype.kind == "f":
        return stored
    low, high = _check(value_range, stored.dtype)
    restored: npt.NDArray[Any] = np.array(stored, dtype=np.float32 if stored.dtype.itemsize <= 2 else np.float64)
    restored *= (high - low) / np.iinfo(stored.dtype).max
    restored += low
    return restored


def _check(value_range: tuple[float, float], dtype: np.dtype[np.generic]) -> tuple[float, float]:
    low, high = value_range
    if dtype.kind != "u" or dtype.itemsize > 4:  # a double cannot hold the steps of 64 bits
        raise DtypeError(f"predictions are stored as uint8, uint16, uint32 or floating point numbers, not as {dtype}")
    if not low < high:
        raise ConfigError(f"the range of a prediction must go from a lower to a higher value, not from {low} to {high}")
    return low, high
