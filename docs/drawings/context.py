"""What a network reads and predicts, and what it reads beyond the edge of a volume."""

from __future__ import annotations

import numpy as np
from funlib.geometry import Coordinate

from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.model import Model
from dacapo.experiments.tasks.predictors import OneHotPredictor
from dacapo.utils.drawing import BLUE, GREEN
from dacapo.utils.padding import reflected_indices

from .canvas import FAINT, MUTED, PALE, Canvas, Point

SCALE = 2.9  # pixels of the drawing for one voxel


def network() -> Model:
    """Return a small U-Net."""
    config = CNNectomeUNetConfig(
        name="u-net",
        input_shape=Coordinate(84, 84),
        fmaps_out=2,
        fmaps_in=1,
        num_fmaps=2,
        fmap_inc_factor=2,
        downsample_factors=[(2, 2), (2, 2)],
    )
    return OneHotPredictor(["background", "cell"]).create_model(config.architecture_type(config))


def draw() -> str:
    """Return the drawing."""
    model = network()
    before, after = model.context(Coordinate(1, 1))
    canvas = Canvas(330, "A network reads context around what it predicts, and mirrored voxels beyond the edge")
    _shapes(canvas, int(model.input_shape[0]), int(model.output_shape[0]), (int(before[0]), int(after[0])))
    _edge(canvas, (352, 92))
    return str(canvas)


def _shapes(canvas: Canvas, read: int, predicted: int, context: tuple[int, int]) -> None:
    """Draw the input of the network around its output."""
    left, top = 34.0, 48.0
    inner = left + SCALE * context[0], top + SCALE * context[0]
    canvas.rect((left, top), (SCALE * read, SCALE * read), PALE[BLUE], BLUE, thick=2)
    canvas.rect(inner, (SCALE * predicted, SCALE * predicted), PALE[GREEN], GREEN, thick=2)
    middle, bottom = left + SCALE * read / 2, top + SCALE * read
    canvas.path([(left, top - 10), (left + SCALE * read, top - 10)], heads="both")
    canvas.text((middle, top - 18), f"the network reads {read} voxels", anchor="middle")
    row = inner[1] + SCALE * predicted / 2
    canvas.text((middle, row - 4), "and predicts", anchor="middle")
    canvas.text((middle, row + 14), f"{predicted} voxels", anchor="middle")
    for start, voxels in ((left, context[0]), (inner[0] + SCALE * predicted, context[1])):
        canvas.path([(start + 2, row), (start + SCALE * voxels - 2, row)], heads="both")
        canvas.text((start + SCALE * voxels / 2, row - 8), str(voxels), anchor="middle", size=12)
    canvas.text((middle, bottom - 20), "context", anchor="middle", color=MUTED)


def _edge(canvas: Canvas, corner: Point) -> None:
    """Draw a line of voxels that is mirrored at the first and last voxel of a volume."""
    size, context, cell = 6, 3, 31
    left, top = corner
    indices = reflected_indices(-context, size + context, size)
    canvas.text((left, top - 44), "Beyond the edges of a volume, raw data is mirrored:")
    for number, index in enumerate(indices):
        inside = context <= number < context + size
        shade = round(232 - 24 * int(index))
        fill = f"#{shade:02x}{shade:02x}{shade:02x}"
        place = left + cell * number, top
        canvas.rect(place, (cell, cell), fill, FAINT)
        canvas.text((place[0] + cell / 2, top + 21), str(index), anchor="middle")
        if not inside:
            canvas.rect((place[0] + 2, top + 2), (cell - 4, cell - 4), stroke=BLUE, dashed=True)
    start, end = left + cell * context, left + cell * (context + size)
    canvas.rect((start, top), (end - start, cell), stroke=GREEN, thick=2)
    canvas.path([(start, top - 9), (end, top - 9)], heads="both")
    canvas.text(((start + end) / 2, top - 16), "volume", anchor="middle", size=12)
    for middle in (left + cell * context / 2, end + cell * context / 2):
        canvas.text((middle, top - 9), "context", anchor="middle", size=12, color=MUTED)
    lines = (
        "So the whole volume can be predicted. Predictions within the",
        "context of an edge are based on mirrored voxels in part.",
        "",
        "In training, ground truth is needed for the output only.",
    )
    for number, line in enumerate(lines):
        canvas.text((left, top + 68 + 19 * number), line, color=MUTED, size=12.5)
    assert not np.any(indices[context : context + size] - np.arange(size)), "inside, voxels stay as they are"
