"""Two arrays and a region in the world."""

from __future__ import annotations

import numpy as np
from funlib.geometry import Roi

from dacapo.experiments.datasplits.datasets.arrays import Array, MemoryArrayConfig
from dacapo.utils.drawing import BLUE, GREEN, ORANGE

from .canvas import MUTED, PALE, Canvas, Point

SCALE = 5  # pixels of the drawing for one nanometer
ORIGIN = (52, 44)


def place(offset: tuple[int, int]) -> Point:
    """Return where a place of the world (y, x) lies in the drawing."""
    y, x = offset
    return ORIGIN[0] + SCALE * x, ORIGIN[1] + SCALE * y


def size(shape: tuple[int, int]) -> Point:
    """Return the size in the drawing of a shape in the world (y, x)."""
    return SCALE * shape[1], SCALE * shape[0]


def array(name: str, shape: tuple[int, int], voxel_size: int, offset: tuple[int, int]) -> Array:
    """Return an array of zeros."""
    values = np.zeros(shape, np.uint8)
    config = MemoryArrayConfig.of(
        values, name, axes=["y", "x"], voxel_size=(voxel_size, voxel_size), offset=offset, unit="nm"
    )
    return config.array_type(config)


def draw() -> str:
    """Return the drawing."""
    raw = array("raw", (8, 11), 8, (0, 0))
    labels = array("labels", (8, 14), 4, (16, 16))
    roi = Roi((24, 40), (16, 24))
    canvas = Canvas(400, "Raw data, labels with smaller voxels, and a region, placed in nanometers")
    for thing, color in ((raw, BLUE), (labels, GREEN)):
        corner, extent = place(thing.roi.offset), size(thing.roi.shape)
        canvas.rect(corner, extent, PALE[color])
        canvas.grid(
            corner, thing[:].shape[::-1], SCALE * thing.voxel_size[0], "#b9d3ec" if color == BLUE else "#a9d9c6"
        )
        canvas.rect(corner, extent, stroke=color, thick=2)
    canvas.rect(place(roi.offset), size(roi.shape), stroke=ORANGE, thick=3)
    _axes(canvas, raw)
    left, top = place((0, 88))[0] + 28, 56
    for name, thing, color in (("raw", raw, BLUE), ("labels", labels, GREEN)):
        _say(
            canvas,
            (left, top),
            name,
            color,
            f"voxels of {thing.voxel_size[0]} nm, {' x '.join(map(str, thing[:].shape))} of them",
            f"offset {tuple(thing.roi.offset)}, shape {tuple(thing.roi.shape)} nm",
        )
        top += 88
    _say(
        canvas,
        (left, top),
        "roi",
        ORANGE,
        f"Roi({tuple(roi.offset)}, {tuple(roi.shape)}), in nm",
        f"raw[roi] has {' x '.join(map(str, raw[roi].shape))} voxels",
        f"labels[roi] has {' x '.join(map(str, labels[roi].shape))}",
    )
    return str(canvas)


def _axes(canvas: Canvas, raw: Array) -> None:
    """Write the world coordinates along the edges of the raw data."""
    height, width = raw.roi.shape
    for x in range(0, width + 1, 16):
        canvas.text((place((0, x))[0], ORIGIN[1] - 8), str(x), anchor="middle", size=11, color=MUTED)
    for y in range(0, height + 1, 16):
        canvas.text((ORIGIN[0] - 8, place((y, 0))[1] + 4), str(y), anchor="end", size=11, color=MUTED)
    canvas.text((place((0, width / 2))[0], ORIGIN[1] - 25), "x in nm", anchor="middle", size=11.5, color=MUTED)
    canvas.text((16, place((height / 2, 0))[1]), "y in nm", anchor="middle", size=11.5, color=MUTED, turned=True)


def _say(canvas: Canvas, corner: Point, title: str, color: str, *lines: str) -> None:
    x, y = corner
    canvas.path([(x, y - 12), (x, y + 17 * len(lines) + 5)], color, thick=3, heads="none")
    canvas.text((x + 12, y), title, bold=True, code=True)
    for number, line in enumerate(lines, start=1):
        canvas.text((x + 12, y + 17 * number), line, size=12, color=MUTED)
