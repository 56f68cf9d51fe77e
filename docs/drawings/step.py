"""One iteration of a training."""

from __future__ import annotations

from dacapo.utils.drawing import BLUE, GREEN, ORANGE

from .canvas import MUTED, Canvas


def draw() -> str:
    """Return the drawing."""
    canvas = Canvas(318, "One iteration: a sample becomes raw data, target and weight; the loss updates the weights")
    canvas.box((16, 102), (132, 66), "dataset", ["drawn by weight,", "at a random place"], BLUE)
    canvas.box((196, 102), (132, 66), "augmentations", ["raw, gt and mask", "together"], BLUE)
    canvas.box((376, 20), (132, 50), "raw", ["output and context"], BLUE)
    canvas.box((376, 200), (132, 50), "gt, mask", ["the output only"], BLUE)
    canvas.box((556, 20), (188, 50), "model", ["prediction"], GREEN)
    canvas.box((556, 200), (188, 50), "predictor of the task", ["target and weight"], GREEN)
    canvas.box((556, 110), (188, 50), "loss of the task", ["weighted, one number"], ORANGE)
    canvas.box((376, 110), (132, 50), "optimizer", ["follows gradients"], ORANGE)
    for points in (
        [(149, 135), (193, 135)],
        [(329, 127), (352, 127), (352, 45), (373, 45)],
        [(329, 143), (352, 143), (352, 225), (373, 225)],
        [(509, 45), (553, 45)],
        [(509, 225), (553, 225)],
        [(680, 71), (680, 107)],
        [(650, 199), (650, 163)],
        [(555, 135), (511, 135)],
        [(442, 109), (442, 90), (600, 90), (600, 73)],
    ):
        canvas.path(points)
    canvas.text((521, 84), "new weights", anchor="middle", size=11.5, color=MUTED)
    for row, (name, line) in enumerate(
        (
            ("each iteration", "adds its loss and time to training_stats"),
            (
                "every validation_interval iterations",
                "a checkpoint is saved and validated, which adds to validation_scores",
            ),
        )
    ):
        canvas.text((16, 284 + 20 * row), name, size=12)
        canvas.text((244, 284 + 20 * row), line, size=12, color=MUTED)
    return str(canvas)
