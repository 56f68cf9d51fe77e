"""How validation chooses a checkpoint and the parameters of the post-processing."""

from __future__ import annotations

import numpy as np

from dacapo.utils.drawing import BLUE, GREEN, ORANGE
from dacapo.utils.ranking import choose

from .canvas import FAINT, MUTED, Canvas

ITERATIONS = [2000, 4000, 6000, 8000, 10000]
BIASES = [0.2, 0.5, 0.8]
# Example scores (VOI in bits, lower is better) by dataset, bias and iteration.
SCORES = np.array(
    [
        [[2.9, 1.8, 1.4, 1.9, 1.5], [2.4, 1.3, 0.9, 1.1, 1.0], [3.1, 2.2, 1.6, 1.5, 1.7]],
        [[3.3, 2.0, 1.2, 1.7, 1.9], [2.8, 1.9, 1.3, 0.9, 1.4], [3.5, 2.4, 1.8, 1.5, 1.3]],
    ]
)


def draw() -> str:
    """Return the drawing."""
    canvas = Canvas(330, "Scores of checkpoints and parameters, of which the best mean over datasets is chosen")
    candidates = SCORES.reshape(len(SCORES), -1).T
    best = choose(candidates, np.ones(len(SCORES), bool), higher_is_better=False)
    assert best.index is not None
    row, column = divmod(best.index, len(ITERATIONS))
    for number, scores in enumerate(SCORES):
        _table(canvas, (20 + 16 * number, 52 + 16 * number), scores)
    means = SCORES.mean(axis=0)
    canvas.path([(332, 150), (384, 150)])
    canvas.text((358, 140), "mean", anchor="middle", size=12, color=MUTED)
    left, top = 392, 60
    _table(canvas, (left, top), means, chosen=(row, column))
    canvas.text((20, 24), "One score for each dataset, checkpoint and bias", bold=True)
    canvas.text((left, 24), "The best mean wins", bold=True)
    x = left + 62 + 46 * column + 23
    canvas.path([(x, top + 34 + 34 * len(BIASES) + 8), (x, 236)])
    names = f"iteration {ITERATIONS[column]}, bias {BIASES[row]}"
    canvas.box(
        (left + 58, 240),
        (290, 62),
        names,
        ["the checkpoint and its segmentation are kept,", "and apply uses both"],
        GREEN,
    )
    canvas.box(
        (20, 240),
        (290, 62),
        "every validation",
        ["predicts each dataset once, segments it with", "each bias, and scores each segmentation"],
        BLUE,
    )
    return str(canvas)


def _table(
    canvas: Canvas, corner: tuple[float, float], scores: np.ndarray, chosen: tuple[int, int] | None = None
) -> None:
    """Draw a table of scores, the lower the greener; iterations go to the right."""
    left, top, width, height = *corner, 46, 34
    canvas.rect((left, top - 8), (62 + width * len(ITERATIONS) + 8, 42 + height * len(BIASES) + 8), "#ffffff", FAINT)
    for column, iteration in enumerate(ITERATIONS):
        place = left + 62 + width * column + width / 2, top + 20
        canvas.text(place, str(iteration), anchor="middle", size=11, color=MUTED)
    for row, bias in enumerate(BIASES):
        y = top + 34 + height * row
        canvas.text((left + 8, y + 21), f"bias {bias}", size=11, color=MUTED)
        for column, score in enumerate(scores[row]):
            x = left + 62 + width * column
            shade = round(min(1.0, max(0.0, (score - 0.9) / 2.2)) * 10)
            canvas.rect(
                (x + 1, y + 1),
                (width - 2, height - 2),
                f"#{200 + 5 * shade:02x}{232 + 2 * shade:02x}{214 + 4 * shade:02x}",
            )
            canvas.text((x + width / 2, y + 21), f"{score:.2f}", anchor="middle", size=12)
    if chosen is not None:
        x, y = left + 62 + width * chosen[1], top + 34 + height * chosen[0]
        canvas.rect((x, y), (width, height), stroke=ORANGE, thick=3)
