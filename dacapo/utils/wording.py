"""Words of messages."""

from __future__ import annotations


def in_channels(number: int | None, kind: str = "") -> str:
    """Return a number of channels in words; None stands for an array without a channel axis.

    >>> in_channels(1, "input"), in_channels(2), in_channels(None)
    ('1 input channel', '2 channels', 'no channel axis')
    """
    if number is None:
        return "no channel axis"
    return f"{number} {f'{kind} channel'.strip()}{'' if number == 1 else 's'}"
