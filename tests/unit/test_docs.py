"""The code of the quickstart runs, and pages on the architecture show the modules and imports as they are."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dacapo.options import DaCapoConfig
from tests.helpers.markdown import code_blocks

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [p for p in sorted(DOCS.glob("**/*.md")) if not {"_build", "_generated"} & set(p.relative_to(DOCS).parts)]


def test_quickstart(
    tmp_path: Path, options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = DOCS / "quickstart.md"
    blocks = code_blocks(page)
    assert len(blocks) > 4
    names: dict[str, object] = {"__name__": "quickstart"}
    # The code on validation and on configs looks at the run of the quickstart.
    others = [block for page in ("validation", "configs") for block in code_blocks(DOCS / "concepts" / f"{page}.md")]
    for block in [*blocks, *others]:
        exec(compile(block, str(page), "exec"), names)
    printed = capsys.readouterr().out
    assert "20 iterations" in printed
    assert "voi" in printed
    assert (tmp_path / "quickstart" / "runs" / "cells" / "checkpoints" / "iterations" / "20").is_file()


def test_own_data_and_export(
    tmp_path: Path, options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "own_data"}
    for page in (DOCS / "own_data.md", DOCS / "export.md"):
        for block in code_blocks(page):
            exec(compile(block, str(page), "exec"), names)
    printed = capsys.readouterr().out
    assert "(9, 40, 48, 64) float32" in printed
    assert "WatershedPostProcessorParameters" in printed


def test_other_tasks(tmp_path: Path, options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = DOCS / "other_tasks.md"
    names: dict[str, Any] = {"__name__": "other_tasks"}
    for block in code_blocks(page):
        exec(compile(block, str(page), "exec"), names)
    assert names["tuned"].start is not None
    assert names["longer"].train_until == 3


@pytest.mark.slow
def test_parts_of_ones_own(tmp_path: Path) -> None:
    # In a process of its own, since configs are registered for good by being defined.
    file = tmp_path / "test_parts.py"
    file.write_text("\n".join(code_blocks(DOCS / "concepts" / "extending.md")))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file)]
    got = subprocess.run(command, capture_output=True, text=True)
    assert got.returncode == 0, got.stdout[-3000:]
    assert int(re.findall(r"(\d+) passed", got.stdout)[-1]) > 30


def test_python_on_other_pages_compiles() -> None:
    for page in PAGES:
        for block in code_blocks(page):
            compile(block, str(page), "exec")


def code_lines(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of code on a page, fenced or indented; output, which may be wide, is fenced as text."""
    fence = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            fence = None if fence is not None else line[3:]
        elif (fence is None and line.startswith("    ")) or fence not in (None, "text"):
            yield number, line


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_code_fits_the_column(page: Path) -> None:
    assert [(number, line) for number, line in code_lines(page) if len(line) > 85] == []


def modules_named_on(page: Path) -> set[str]:
    """Return the names in backticks that may be those of modules; with a table, those in its first column."""
    text = page.read_text(encoding="utf-8")
    text = "\n".join(re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)) or text
    return set(re.findall(r"`([a-z]\w*(?:\.\w+)*)`", text)) - {"dacapo"}


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_modules_that_pages_name_exist(page: str) -> None:
    names = modules_named_on(ROOT / page)
    assert len(names) > 20
    for name in names:
        found, *rest = importlib.import_module("dacapo"), *name.split(".")
        for part in rest:
            try:
                found = importlib.import_module(f"{found.__name__}.{part}")
            except ImportError:
                assert hasattr(found, part), f"{page} names {name}, but there is no {part} in {found.__name__}"
                found = getattr(found, part)


def test_drawings_are_up_to_date() -> None:
    script = DOCS / "draw.py"
    got = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
