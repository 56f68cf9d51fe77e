"""How a volume is predicted and segmented in blocks."""

from __future__ import annotations

import numpy as np
from funlib.geometry import Coordinate, Roi
from scipy import ndimage

from dacapo.utils.blocks import BlockGrid
from dacapo.utils.drawing import BLUE, GREEN, INK, ORANGE

from .canvas import FAINT, MUTED, PALE, Canvas, Point, object_colors

VOXELS, BLOCK, CONTEXT = 24, 12, 3


def cells() -> np.ndarray:
    """Return a mask of some cells, two of which cross the faces between blocks."""
    mask = np.zeros((VOXELS, VOXELS), bool)
    rows, columns = np.indices(mask.shape)
    for row, column, height, width in ((5, 4, 3.2, 2.6), (7, 13, 4.3, 4.4), (16, 7, 5.2, 5.6), (18, 19, 4.2, 3.3)):
        mask |= ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1
    return mask


def in_blocks(mask: np.ndarray) -> np.ndarray:
    """Return the objects that each block sees, numbered in each block from where the block before ended."""
    labels = np.zeros(mask.shape, int)
    for block in BlockGrid(Roi((0, 0), mask.shape), Coordinate(BLOCK, BLOCK)):
        part = tuple(slice(int(begin), int(end)) for begin, end in zip(block.begin, block.end, strict=True))
        found, _ = ndimage.label(mask[part])
        labels[part] = np.where(found, found + labels.max(), 0)
    return labels


def draw() -> str:
    """Return the drawing."""
    canvas = Canvas(536, "A volume is predicted in blocks with context, and segmented in four passes")
    _prediction(canvas)
    mask = cells()
    separate = in_blocks(mask)
    joined, _ = ndimage.label(mask)
    pictures = (
        ("1  each block is segmented", "with context around it", separate),
        ("2, 3  segments are matched", "at each face, and matches gathered", separate),
        ("4  joined labels are written", "one number for each object", joined),
    )
    for number, (title, line, labels) in enumerate(pictures):
        _pass(canvas, (20 + 252 * number, 318), title, line, labels, number)
    return str(canvas)


def _prediction(canvas: Canvas) -> None:
    """Draw the blocks of a prediction: done, in work, and waiting."""
    grid = BlockGrid(Roi((0, 0), (40, 64)), Coordinate(8, 8))
    left, top, scale = 20, 34, 5.6
    working = {9: "worker 1", 21: "worker 2"}
    canvas.text((left, top - 14), "The volume is predicted block by block")
    for number, block in enumerate(grid):
        (y, x), (height, width) = block.offset, block.shape
        done = number < 9 or number in range(10, 21)
        fill = PALE[GREEN] if done else PALE[BLUE] if number in working else "#ffffff"
        canvas.rect((left + scale * x, top + scale * y), (scale * width, scale * height), fill, FAINT)
    canvas.rect((left, top), (scale * 64, scale * 40), stroke=MUTED)
    for number in working:
        block = list(grid)[number]
        for region, color, dashed in ((block.grow((4, 4), (4, 4)), ORANGE, True), (block, BLUE, False)):
            (y, x), (height, width) = region.offset, region.shape
            corner, size = (left + scale * x, top + scale * y), (scale * width, scale * height)
            canvas.rect(corner, size, stroke=color, thick=2, dashed=dashed)
    keys = (
        (GREEN, False, "done", "noted in the journal, never done twice"),
        (BLUE, False, "written", "by one worker at a time, in any order"),
        (ORANGE, True, "read", "the block and the context of the network"),
        (FAINT, False, "waiting", "the same call goes on here after a crash"),
    )
    for row, (color, dashed, title, line) in enumerate(keys):
        x, y = 420, 50 + 50 * row
        canvas.rect(
            (x, y), (24, 24), PALE.get(color, "#ffffff") if not dashed else "none", color, thick=2, dashed=dashed
        )
        canvas.text((x + 36, y + 10), title, bold=True)
        canvas.text((x + 36, y + 27), line, size=12, color=MUTED)


def _pass(canvas: Canvas, corner: Point, title: str, line: str, labels: np.ndarray, number: int) -> None:
    """Draw the labels of a pass: in the first the context of a block, in the second what is matched at the faces."""
    cell = 7
    left, top = corner[0], corner[1] + 30
    canvas.text((left, corner[1]), title)
    canvas.text((left, corner[1] + 17), line, size=12, color=MUTED)
    colors = object_colors(labels)
    colors[labels == 0] = "#ffffff"
    canvas.pixels((left, top), colors, cell)
    middle = BLOCK * cell
    for points in ([(0, middle), (2 * middle, middle)], [(middle, 0), (middle, 2 * middle)]):
        canvas.path([(left + x, top + y) for x, y in points], MUTED, dashed=True, heads="none")
    if number == 1:
        for axis, along in _contacts(labels):
            ends = [(along * cell, middle - 11), (along * cell, middle + 11)]
            points = [(left + x, top + y) if axis == 0 else (left + y, top + x) for x, y in ends]
            canvas.path(points, INK, thick=3.5, heads="none")
    if number == 0:
        size = (BLOCK + CONTEXT) * cell
        canvas.rect((left, top), (size, size), stroke=ORANGE, thick=2, dashed=True)


def _contacts(labels: np.ndarray) -> list[tuple[int, float]]:
    """Return for each pair of labels on both sides of a face its axis, and where along the face the pair lies."""
    found = []
    for axis in (0, 1):
        before, after = labels.take(BLOCK - 1, axis), labels.take(BLOCK, axis)
        both = np.where((before > 0) & (after > 0), before * (labels.max() + 1) + after, 0)
        found += [(axis, float(np.flatnonzero(both == pair).mean() + 0.5)) for pair in np.unique(both[both > 0])]
    return found
