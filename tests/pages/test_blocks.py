"""Every code block of the interface pages runs, and shows what its page says."""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from dacapo.experiments.validation_scores import ValidationScores
from dacapo.options import DaCapoConfig

from .blocks import BLOCKS, Block
from .placeholders import COMMON, NUM_ITERATIONS, PLACEHOLDERS

CASES = [(page, block) for block in BLOCKS for page in block.pages]

# Words that stand for any object of a class.
KINDS = {
    "torch.Tensor": torch.Tensor,
    "ValidationScores object": ValidationScores,
    "Optimizer object": torch.optim.Optimizer,
}


def test_all_blocks_are_here() -> None:
    assert len(CASES) == 73
    assert len({(page, block.member) for page, block in CASES}) == 73


def test_every_contradiction_has_a_note() -> None:
    assert {block.member for block in BLOCKS if block.note} == {
        "ValidationScores.add_iteration_scores",
        "NumpyArray.num_channels",
    }
    assert all(block.note for block in BLOCKS if block.raises or block.warns)


@pytest.mark.parametrize(
    ("page", "block"), CASES, ids=[f"{page.rpartition('.')[2]}-{block.member}" for page, block in CASES]
)
def test_the_block_runs(
    page: str, block: Block, options: DaCapoConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {**vars(importlib.import_module(page)), **COMMON, **PLACEHOLDERS[block.member.partition(".")[0]]()}
    expected: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if block.raises:
        expected = pytest.raises(block.raises)
    elif block.warns:
        expected = pytest.warns(UserWarning, match=block.warns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with expected:
            for code, shown in block.steps:
                value = ending(code, names) if shown and "Error: " in shown else outcome(code, names)
                assert shown is None or agrees(value, shown, names), f"{code} gave {value!r}"
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == ("print(" in block.steps[0][0]) * NUM_ITERATIONS


def outcome(code: str, names: dict[str, Any]) -> Any:
    """Run code and return the value of its last line, None if that is no expression."""
    tree = ast.parse(code)
    names["_"] = None
    if isinstance(tree.body[-1], ast.Expr):
        tree.body[-1] = ast.parse(f"_ = {ast.unparse(tree.body[-1])}").body[0]
    exec(compile(tree, "<block>", "exec"), names)
    return names["_"]


def ending(code: str, names: dict[str, Any]) -> Exception:
    """Run code and return the error that it ends with."""
    with pytest.raises(Exception) as caught:
        outcome(code, names)
    return caught.value


def agrees(value: Any, shown: str, names: dict[str, Any]) -> bool:
    """Return whether a value is what a page shows: by its text, its class, or its equality.

    Other packages have changed the text of coordinates, rois and data arrays since.
    """
    if shown in KINDS:
        return isinstance(value, KINDS[shown])
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {value}" == shown
    if "Coordinate(" in shown or "Roi(" in shown:
        return bool(value == outcome(shown, dict(names)))
    return normalized(repr(value)) == normalized(shown)


def normalized(text: str) -> str:
    """Return a text on one line, without the sizes in bytes that xarray adds."""
    return " ".join(re.sub(r"(Size: )?\b\d+B\b", "", text).split())


def test_the_comparison_can_fail() -> None:
    assert agrees(np.zeros(2), "array([0.,\n   0.])", {})
    assert not agrees(np.ones(2), "array([0., 0.])", {})
    assert not agrees(3, "torch.Tensor", {})
    assert not agrees((1, 2), "Coordinate(1, 1)", COMMON)
    assert not agrees(ValueError("a"), "TypeError: a", {})
