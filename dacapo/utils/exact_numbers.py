"""Exact values of the decimal numbers in metadata, and the integers that count them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

MAX_DECIMALS = 6
MAX_DENOMINATOR = 1000
MAX_PARTS = 10**9
_NOISE = 1e-12
_NEAR_INTEGER = 1e-6


def exact(value: float | Fraction) -> Fraction | None:
    """Return the number that a float stands for: 5.24 is 131/25, and so is what float32 makes of it.

    Up to six decimals count, or a denominator up to 1000, as in 100/3. A number within a millionth of an integer is
    that integer.

    Args:
        value: A finite number.

    Returns:
        The number, or None if the float stands for no such number.

    >>> exact(5.24), exact(5.239999771118164), exact(100 / 3), exact(2.71828182845)
    (Fraction(131, 25), Fraction(131, 25), Fraction(100, 3), None)
    """
    if isinstance(value, Fraction):
        return value
    number = float(value)
    if abs(number - round(number)) <= max(_NEAR_INTEGER, _NOISE * abs(number)):
        return Fraction(round(number))
    if abs(number) < np.finfo(np.float32).max and float(np.float32(number)) == number:
        number = float(str(np.float32(number)))
    for decimals in range(1, MAX_DECIMALS + 1):
        found = Fraction(round(number * 10**decimals), 10**decimals)
        if _is_close(found, number):
            return found
    found = Fraction(number).limit_denominator(MAX_DENOMINATOR)
    return found if _is_close(found, number) else None


def _is_close(found: Fraction, number: float) -> bool:
    return abs(float(found) - number) <= _NOISE * abs(number)


def parts_for(values: Iterable[Fraction]) -> int | None:
    """Return into how many parts to divide 1 so that all values are whole numbers of them.

    That is a power of ten if possible; None if it would exceed a limit.

    >>> parts_for([Fraction(131, 25), Fraction(9, 2)]), parts_for([Fraction(100, 3)]), parts_for([Fraction(4)])
    (100, 3, 1)
    """
    parts = math.lcm(*(value.denominator for value in values))
    for decimals in range(MAX_DECIMALS + 1):
        if 10**decimals % parts == 0:
            return int(10**decimals)
    return parts if parts <= MAX_PARTS else None


def plain_number(value: Fraction) -> int | float:
    """Return an int if a number is whole, otherwise the nearest float."""
    return int(value) if value.denominator == 1 else float(value)
