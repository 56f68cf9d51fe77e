"""Access to the recorded reference data in ``tests/golden``."""

from __future__ import annotations

import io
import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden"


@cache
def load_json(case: str) -> dict[str, Any]:
    """Return the description of a case."""
    return json.loads((GOLDEN / f"{case}.json").read_text())


def items(case: str) -> dict[str, Any]:
    """Return the items of a case by name."""
    return load_json(case)["items"]


@cache
def load_arrays(case: str) -> dict[str, np.ndarray]:
    """Return the arrays of a case, keyed ``<item>.<array>``."""
    data = lzma.decompress((GOLDEN / f"{case}.npz.xz").read_bytes())
    with np.load(io.BytesIO(data)) as arrays:
        return {name: arrays[name] for name in arrays.files}


def item_arrays(case: str, item: str) -> dict[str, np.ndarray]:
    """Return the arrays of one item, by the name after the dot."""
    prefix = f"{item}."
    return {k.removeprefix(prefix): v for k, v in load_arrays(case).items() if k.startswith(prefix)}
