"""Scale predictions to integers for storage, and back.

The output of a model lies in a range given by its predictor: 0 to 1 for probabilities and affinities, -1 to 1 for
signed distances. Stored as an unsigned integer, the lowest value of the range maps to 0 and the highest to the largest
integer; values in between are rounded to the nearest step, values outside are clipped. With ``uint8`` a probability of
0.5 and a distance of 0 both lie between 127 and 128. Floating point types store the values unchanged.

Thresholds of predictions refer to the 256 levels of ``uint8``, regardless of the stored type. A value is above a level
if ``uint8`` would store it as a larger number: above level 127 lie probabilities over 0.5 and distances over 0.
:func:`above_level` converts a level to the number to compare stored values with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError, DtypeError

LEVELS = 256
"""Number of values of ``uint8``."""


def storage_type(dtype: npt.DTypeLike, value_range: tuple[float, float]) -> np.dtype[Any]:
    """Return the data type to store predictions in.

    Args:
        dtype: The requested type.
        value_range: Lowest and highest possible value of the output.

    Raises:
        DtypeError: If predictions cannot be stored in this type.
        ConfigError: If the range is empty.
    """
    try:
        target: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise DtypeError(f"{dtype!r} is not a data type; use one such as uint8 or float32") from error
    if target.kind != "f":
        _check(value_range, target)
    return target


def quantize(
    values: npt.NDArray[np.floating], value_range: tuple[float, float], dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Convert the output of a model to its storage type.

    Args:
        values: Output of a model in eval mode.
        value_range: Lowest and highest possible value of the output.
        dtype: An unsigned integer type of up to 32 bits, or a floating point type.

    Returns:
        ``round((values - low) / (high - low) * largest)``, clipped, for integers; else the values. NaN becomes 0.

    Raises:
        DtypeError: If ``dtype`` is any other type.
        ConfigError: If the range is empty.

    >>> quantize(np.array([-2.0, -1.0, 0.5, 1.0]), (-1, 1), np.uint8).tolist()
    [0, 0, 191, 255]
    """
    target = np.dtype(dtype)
    if target.kind == "f":
        return np.asarray(values, dtype=target)
    low, high = _check(value_range, target)
    largest = np.iinfo(target).max
    # Single precision represents every step of 8 and 16 bits, but not of 32.
    scaled: npt.NDArray[Any] = np.array(values, dtype=np.float32 if target.itemsize <= 2 else np.float64)
    scaled -= low
    scaled *= largest / (high - low)
    np.rint(scaled, out=scaled)
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=largest, neginf=0.0)
    return np.clip(scaled, 0, largest, out=scaled).astype(target)


def dequantize(values: npt.NDArray[Any], value_range: tuple[float, float]) -> npt.NDArray[np.floating]:
    """Convert stored predictions back to the range of the model's output.

    Args:
        values: Stored predictions; unsigned integers are scaled, floating point values returned unchanged.
        value_range: Lowest and highest possible value of the output.

    Raises:
        DtypeError: If the values are of any other type.
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


def above_level(level: float, value_range: tuple[float, float], dtype: npt.DTypeLike) -> float:
    """Return the stored number above which a prediction is above a level of ``uint8``.

    A level comprises the values that round to it, so the next one begins half a step higher.

    Args:
        level: 0 to 255. Values above 255 are never reached.
        value_range: Lowest and highest possible value of the output.
        dtype: Type of the stored prediction.

    Raises:
        DtypeError: If predictions are not stored as ``dtype``.
        ConfigError: If the range is empty or the level is not between 0 and 255.

    >>> [above_level(127, (-1, 1), dtype) for dtype in ("uint8", "uint16", "float32")]
    [127, 32767.5, 0.0]
    """
    if not 0 <= level <= LEVELS - 1:
        raise ConfigError(
            f"the threshold is {level:g}, but thresholds refer to the {LEVELS} levels of uint8, 0 for the lowest "
            f"value of a prediction ({value_range[0]:g}) and {LEVELS - 1} for the highest ({value_range[1]:g})"
        )
    target = np.dtype(dtype)
    if target == np.uint8:
        return level
    part = (level + 0.5) / (LEVELS - 1)
    if target.kind == "f":
        low, high = value_range
        return low + part * (high - low)
    _check(value_range, target)
    return float(part * np.iinfo(target).max)


def comparable(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values in a type that compares exactly with a number: half precision becomes single.

    NumPy rounds the number to the type of the values, and half precision has only three digits.

    >>> values = np.array([0.394], np.float16)  # stored as 0.39404
    >>> values > 0.394, comparable(values) > 0.394
    (array([False]), array([ True]))
    """
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _check(value_range: tuple[float, float], dtype: np.dtype[np.generic]) -> tuple[float, float]:
    low, high = value_range
    if dtype.kind != "u" or dtype.itemsize > 4:  # a double cannot represent the steps of 64 bits
        raise DtypeError(f"predictions are stored as uint8, uint16, uint32 or floating point numbers, not as {dtype}")
    if not low < high:
        raise ConfigError(f"the range of a prediction must go from a lower to a higher value, not from {low} to {high}")
    return low, high
