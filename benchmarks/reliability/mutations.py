"""Make strange files of good ones; each change follows from a generator of random numbers alone."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

NUMBERS = (
    "0", "-1", "1", "2", "1000000000000", "-9223372036854775808", "9223372036854775807", "18446744073709551616",
    "1e308", "-1e308", "1e400", "NaN", "-Infinity", "0.5", "1e-320", "9" * 400,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**12, 2**63, 1e308, float("nan"), float("inf"), "", "a", "../../x", "\0", "\ud800",
    "<f8", "|O", "<M8[ns]", [], [[]], [0], [-1, 5], [10**12] * 3, {}, {"a": {}}, {"": 1}, "9" * 50, [1.5] * 4,
    ["z"] * 4,
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def of_bytes(content: bytes, dice: random.Random) -> bytes:
    """Change, cut, repeat or insert some bytes."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        where = dice.randrange(len(data) + 1)
        kind = dice.randrange(6)
        if kind == 0 and data:
            data[where % len(data)] ^= 1 << dice.randrange(8)
        elif kind == 1 and data:
            data[where % len(data)] = dice.choice((0, 1, 127, 128, 255, dice.randrange(256)))
        elif kind == 2:
            del data[where:]
        elif kind == 3:
            data[where:where] = dice.randbytes(dice.choice((1, 2, 8, 64)))
        elif kind == 4:
            end = where + dice.choice((1, 4, 32))
            data[where:where] = data[where:end] * dice.choice((1, 3))
        else:
            data[where : where + 4] = dice.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
    return bytes(data)


def of_text(content: bytes, dice: random.Random) -> bytes:
    """Change a number, a word, the nesting, or bytes."""
    kind = dice.randrange(5)
    found = list(_NUMBER.finditer(content))
    if kind < 2 and found:
        one = dice.choice(found)
        return content[: one.start()] + dice.choice(NUMBERS).encode() + content[one.end() :]
    if kind == 2:
        bracket = dice.choice((b"[", b"{", b"(", b"- ", b'{"a":', b"&a [*a, ", b'"'))
        where = dice.randrange(len(content) + 1)
        return content[:where] + bracket * dice.choice((1, 3, 200, 20_000)) + content[where:]
    if kind == 3 and content:
        words = content.split(b" ")
        dice.shuffle(words)
        return b" ".join(words)
    return of_bytes(content, dice)


def of_json(content: bytes, dice: random.Random) -> bytes:
    """Change a value of a JSON document, or its text."""
    if dice.random() < 0.25:
        return of_text(content, dice)
    document = json.loads(content)
    for _ in range(dice.choice((1, 1, 2, 3))):
        _change(document, dice)
    return json.dumps(document).encode()


def _change(document: Any, dice: random.Random) -> None:
    """Replace, remove, repeat or exchange something below a list or an object."""
    places = [(document, key) for key in _keys(document)]
    for parent, key in places:
        places.extend((parent[key], inner) for inner in _keys(parent[key]))
    if not places:
        return
    parent, key = dice.choice(places)
    kind = dice.randrange(8)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent[key], list):
        parent[key] = parent[key] * dice.choice((0, 2, 3))
    elif kind == 2:
        other, place = dice.choice(places)
        if isinstance(other, dict) and place in other:
            parent[key] = json.loads(json.dumps(other[place]))
    elif kind == 3 and isinstance(parent[key], (int, float)):
        parent[key] = parent[key] * dice.choice((-1, 0, 10**6, 10**12, 0.5))
    else:
        parent[key] = copy.deepcopy(dice.choice(VALUES))


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []
