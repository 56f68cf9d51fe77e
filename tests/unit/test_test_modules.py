"""Test modules share what stands in ``tests/helpers``, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
MODULES = sorted(path.relative_to(TESTS.parent) for path in TESTS.rglob("test_*.py"))
# In the code that a test hands to another process as well.
IMPORT = re.compile(r"^\s*(?:from|import)\s+(tests(?:\.\w+)*).*", re.MULTILINE)
# The code blocks and statements of the pages stand beside the tests that run them.
SHARED = ("tests.helpers", "tests.pages.blocks", "tests.pages.members", "tests.pages.placeholders")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_test_module_imports_from_another(module: Path) -> None:
    for found in IMPORT.finditer((TESTS.parent / module).read_text(encoding="utf-8")):
        assert found[1].startswith(SHARED), f"{found[0].strip()}: move what is shared to tests/helpers"
