"""Test modules share what stands in ``tests/helpers``, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
# In the code that a test hands to another process as well.
IMPORT = re.compile(r"^\s*(?:from|import)\s+(tests(?:\.\w+)*).*", re.MULTILINE)
# The code blocks and statements of the pages stand beside the tests that run them.
SHARED = ("tests.helpers", "tests.pages.blocks", "tests.pages.members", "tests.pages.placeholders")


def test_no_test_module_imports_from_another() -> None:
    modules = list(TESTS.rglob("test_*.py"))
    assert modules
    for module in modules:
        for found in IMPORT.finditer(module.read_text(encoding="utf-8")):
            assert found[1].startswith(SHARED), f"{module}: {found[0].strip()}: move what is shared to tests/helpers"
