"""Notebooks: stored without outputs, on a page of the documentation, and checked by what their outputs are."""

from __future__ import annotations

import base64
import importlib
import io
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
RECORDED = ROOT / "docs" / "notebooks"


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module that checks and records outputs."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import notebook_outputs

    return notebook_outputs


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_are_stored_without_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            assert cell["execution_count"] is None
            assert all(len(line.rstrip("\n")) <= 85 for line in cell["source"])


def test_are_named_on_the_page_of_examples(path: Path) -> None:
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    assert f"](_generated/notebooks/{path.stem}.md)" in page
    assert f"\n_generated/notebooks/{path.stem}\n" in page


def test_recorded_outputs_belong_to_cells(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tags = {cell["id"]: cell["metadata"].get("tags", []) for cell in cells}
    recorded = {re.sub(r"(_\d+)?\.\w+$", "", file.name) for file in (RECORDED / path.stem).iterdir()}
    assert recorded <= set(tags)
    expected = {cell for cell, of_cell in tags.items() if {"picture", "scores", "trained"} & set(of_cell)}
    assert expected <= recorded, "run docs/run_notebooks.py --record"


def test_no_outputs_are_kept_of_notebooks_that_are_gone() -> None:
    assert sorted(folder.name for folder in RECORDED.iterdir()) == [path.stem for path in NOTEBOOKS]


def test_the_length_of_a_training_can_be_set(path: Path, outputs: ModuleType) -> None:
    assert outputs.default_iterations(nbformat.read(path, as_version=4)) >= 100


def test_pages_show_recorded_outputs_below_their_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    pages = importlib.import_module("pages")
    cells = [
        nbformat.v4.new_markdown_cell("# Title", id="title"),
        nbformat.v4.new_code_cell("1 + 1", id="sum"),
        nbformat.v4.new_code_cell("!dacapo info", id="command"),  # no Python, which Sphinx would complain about
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "sum.txt").write_text("2\n")
    (tmp_path / "a" / "command_0.png").touch()
    pages.notebook(tmp_path / "a.ipynb", tmp_path / "a", tmp_path / "pages" / "a.md")
    blocks = [
        "# Title",
        "```python\n1 + 1\n```",
        "```text\n2\n```",
        "```text\n!dacapo info\n```",
        "![](../a/command_0.png)",
        "The notebook is `examples/a.ipynb`.\n",
    ]
    assert (tmp_path / "pages" / "a.md").read_text() == "\n\n".join(blocks)


def png(values: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(np.asarray(values, dtype=np.uint8)).save(file, format="png")
    return base64.b64encode(file.getvalue()).decode()


def stream(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


def picture(values: Any) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", {"image/png": png(values)})


def executed(**replaced: list[Any]) -> nbformat.NotebookNode:
    """Return a notebook whose outputs are as they should be, but for those that are given by their tag."""
    good = {
        "trained": [nbformat.v4.new_output("execute_result", {"text/plain": "400"}, execution_count=1)],
        "picture": [picture(np.eye(8) * 255)],
        "scores": [
            stream("split 0.73 + merge 1.02 bits"),
            stream("a:  50%|##  | 1/2 [00:01<00:01, 1.0it/s]\r\n", "stderr"),
        ],
    }
    cells = []
    for number, (tag, shown) in enumerate({**good, **replaced}.items(), start=1):
        cell = nbformat.v4.new_code_cell(
            "pass", id=tag, metadata={"tags": [tag]}, outputs=shown, execution_count=number
        )
        cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells)


def test_good_outputs_pass(outputs: ModuleType) -> None:
    assert outputs.problems(executed(), 400) == []


@pytest.mark.parametrize(
    ("replaced", "problem"),
    [
        ({"trained": [stream("399")]}, "expected 400 iterations"),
        ({"picture": []}, "no picture"),
        ({"picture": [picture(np.full((8, 8), 7))]}, "a single color"),
        ({"scores": [stream("split nan + merge 1.02 bits")]}, "finite scores"),
        ({"scores": [stream("no numbers")]}, "finite scores"),
        ({"scores": [stream("0.5"), stream("x.py:1: UserWarning: no offset\n", "stderr")]}, "UserWarning: no offset"),
        (
            {"scores": [stream("0.5"), nbformat.v4.new_output("error", ename="E", evalue="bad", traceback=[])]},
            "E: bad",
        ),
    ],
)
def test_bad_outputs_are_found(outputs: ModuleType, replaced: dict[str, list[Any]], problem: str) -> None:
    (found,) = outputs.problems(executed(**replaced), 400)
    assert problem in found
    assert found.startswith(f"cell {next(iter(replaced))}: ")


def test_cells_that_did_not_run_are_found(outputs: ModuleType) -> None:
    notebook = executed()
    notebook.cells[-1].execution_count = None
    assert outputs.problems(notebook, 400) == ["not all cells were executed, one after the other"]
    del notebook.cells[-1]
    assert outputs.problems(notebook, 400) == ["no cell has the tag 'scores'"]


def test_outputs_are_recorded_in_place_of_earlier_ones(outputs: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "notebook").mkdir()
    (tmp_path / "notebook" / "gone.txt").write_text("of a cell that is gone")
    outputs.record(executed(), tmp_path / "notebook")
    assert sorted(file.name for file in (tmp_path / "notebook").iterdir()) == [
        "picture_0.png",
        "scores.txt",
        "trained.txt",
    ]
    assert (tmp_path / "notebook" / "scores.txt").read_text() == "split 0.73 + merge 1.02 bits\n"
    assert Image.open(tmp_path / "notebook" / "picture_0.png").size == (8, 8)
