"""What a notebook printed and drew: checked, and kept for the pages of the documentation.

Tags of cells say what to expect of them: ``picture``, ``scores``, and ``trained``, the number of iterations.
"""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from nbformat import NotebookNode
from PIL import Image

ITERATIONS = "DACAPO_NOTEBOOK_ITERATIONS"
"""The environment variable that sets how long the notebooks train."""

NUMBER = re.compile(r"(?<![\w.])-?(?:\d+(?:\.\d+)?(?:e-?\d+)?|nan|inf)(?![\w])", re.IGNORECASE)
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
BAR = re.compile(r"\[[\d:]+(<[\d:?]+)?, .*\]$")  # the end of a progress bar
COLORS = 128  # of a picture that is kept


def default_iterations(notebook: NotebookNode) -> int:
    """Return how long a notebook trains if nothing else is asked for."""
    source = "\n".join(cell.source for cell in notebook.cells)
    (found,) = re.findall(rf'"{ITERATIONS}", "(\d+)"', source)
    return int(found)


def problems(notebook: NotebookNode, iterations: int) -> list[str]:
    """Return what is wrong with the outputs of an executed notebook.

    Args:
        notebook: The notebook.
        iterations: How long it was to train.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = [f"cell {cell.id}: {problem}" for cell in cells for problem in _cell_problems(cell, iterations)]
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        found.append("not all cells were executed, one after the other")
    for tag in ("picture", "scores", "trained"):
        if not any(tag in _tags(cell) for cell in cells):
            found.append(f"no cell has the tag {tag!r}")
    return found


def _cell_problems(cell: NotebookNode, iterations: int) -> Iterator[str]:
    tags, text, numbers = _tags(cell), printed(cell), [float(n) for n in NUMBER.findall(printed(cell))]
    for output in cell.outputs:
        if output.output_type == "error":
            yield ESCAPES.sub("", "\n".join(output.traceback)) or f"{output.ename}: {output.evalue}"
    for line in messages(cell):
        yield f"a message: {line}"
    if "picture" in tags and not pictures(cell):
        yield "no picture"
    if any(is_blank(picture) for picture in pictures(cell)):
        yield "a picture of a single color"
    if "scores" in tags and not (numbers and all(map(math.isfinite, numbers))):
        yield f"expected finite scores, got {text!r}"
    if "trained" in tags and iterations not in numbers:
        yield f"expected {iterations} iterations of training, got {text!r}"


def _tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def printed(cell: NotebookNode) -> str:
    """Return what a cell printed, without progress bars, and the text of its value."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            texts.append(output.text)
        elif output.output_type == "execute_result" and "image/png" not in output.data:
            texts.append(output.data.get("text/plain", "") + "\n")
    lines = re.split(r"[\r\n]+", ESCAPES.sub("", "".join(texts)))
    return "".join(f"{line}\n" for line in lines if line and not BAR.search(line))


def messages(cell: NotebookNode) -> list[str]:
    """Return the lines on stderr that do not belong to a progress bar."""
    text = "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stderr")
    lines = re.split(r"[\r\n]+", ESCAPES.sub("", text))
    return [line.strip() for line in lines if line.strip() and not BAR.search(line)]


def pictures(cell: NotebookNode) -> list[bytes]:
    """Return the PNG files that a cell shows."""
    return [base64.b64decode(o.data["image/png"]) for o in cell.outputs if "image/png" in o.get("data", {})]


def is_blank(picture: bytes) -> bool:
    """Return whether all pixels of a PNG file are alike."""
    values = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    return bool((values == values[0, 0]).all())


def record(notebook: NotebookNode, folder: Path) -> None:
    """Write the outputs of each cell beside its id, in place of those that are there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if text := printed(cell):
            (folder / f"{cell.id}.txt").write_text(text, encoding="utf-8")
        for index, picture in enumerate(pictures(cell)):
            image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
            image.save(folder / f"{cell.id}_{index}.png", optimize=True)
