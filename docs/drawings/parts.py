"""The configs of a run, and the objects that a run builds from them."""

from __future__ import annotations

import attrs

from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.utils.drawing import BLUE, GREEN, ORANGE

from .canvas import MUTED, PALE, Canvas

# Field of the config, attribute of the run, and what the object has inside.
PARTS = (
    ("task_config", "task", ["predictor, loss,", "post_processor, evaluator"]),
    ("architecture_config", "architecture", ["the body of", "the network"]),
    ("trainer_config", "trainer", ["batches and", "weight updates"]),
    ("datasplit_config", "datasplit", ["train and validate:", "raw, gt, mask"]),
)
BUILT = (
    ("model", ["architecture and the", "head of the task"]),
    ("optimizer", ["made by", "the trainer"]),
    ("training_stats", ["loss and time", "of each iteration"]),
    ("validation_scores", ["of each validation,", "to choose the best"]),
)


def draw() -> str:
    """Return the drawing.

    Raises:
        ValueError: If a run has no such part.
    """
    fields, documented = {field.name for field in attrs.fields(RunConfig)}, Run.__doc__ or ""
    for config, part, _ in PARTS:
        if config not in fields or not (hasattr(Run, part) or f"{part}:" in documented):
            raise ValueError(f"a run has no {config} or {part}")
    canvas = Canvas(400, "A run config has four configs; the run builds four parts, and from these model and records")
    width, step, left = 160, 184, 24
    canvas.rect((8, 26), (744, 86), PALE[BLUE], BLUE, radius=8)
    canvas.rect((8, 156), (744, 226), PALE[GREEN], GREEN, radius=8)
    canvas.text((24, 48), "RunConfig", bold=True, code=True)
    canvas.text(
        (122, 48),
        "stored as YAML; name, repetition, num_iterations, validation_interval, start_config",
        size=12,
        color=MUTED,
    )
    canvas.text((120, 178), "Run(config)", bold=True, code=True)
    canvas.text((304, 178), "objects in memory", size=12, color=MUTED)
    for number, (config, part, lines) in enumerate(PARTS):
        x = left + step * number
        canvas.rect((x, 62), (width, 34), "#ffffff", BLUE, radius=5)
        canvas.text((x + width / 2, 84), config, anchor="middle", code=True, size=12.5)
        canvas.path([(x + width / 2, 97), (x + width / 2, 190)])
        _part(canvas, (x, 192), width, part, lines, GREEN)
    for number, (name, lines) in enumerate(BUILT):
        _part(canvas, (left + step * number, 300), width, name, lines, ORANGE)
    lower, upper = 299, 259
    middle = [left + step * number + width / 2 for number in range(4)]
    canvas.path([(middle[0], upper), (middle[0], lower)])
    canvas.path([(middle[1] - 20, upper), (middle[0] + 30, lower)])
    canvas.path([(middle[2] - 20, upper), (middle[1] + 30, lower)])
    canvas.path([(middle[2], upper), (middle[2], lower)])
    canvas.path([(middle[3], upper), (middle[3], lower)])
    return str(canvas)


def _part(canvas: Canvas, corner: tuple[float, float], width: float, name: str, lines: list[str], color: str) -> None:
    canvas.rect(corner, (width, 66), "#ffffff", color, radius=5)
    middle = corner[0] + width / 2
    canvas.text((middle, corner[1] + 21), name, anchor="middle", code=True, size=12.5, bold=True)
    for number, line in enumerate(lines):
        canvas.text((middle, corner[1] + 39 + 16 * number), line, anchor="middle", size=11.5, color=MUTED)
