"""From labels to affinities, and from predicted affinities back to labels."""

from __future__ import annotations

import numpy as np

from dacapo.utils.affinities import seg_to_affgraph
from dacapo.utils.segmentation import mutex_watershed

from .canvas import MUTED, Canvas, grays, object_colors

SIZE, CELL = 28, 6
OFFSETS = {(1, 0): "to the next row", (0, 1): "to the next column", (0, 6): "six columns on"}
BIASES = [0.25, 0.5, 0.73]


def cells() -> np.ndarray:
    """Return labels of four cells: each voxel has that of the nearest center, with background around them."""
    rows, columns = np.indices((SIZE, SIZE))
    centers = np.array([(8, 8), (7, 20), (20, 6), (20, 18)])
    distances = np.hypot(rows[..., None] - centers[:, 0], columns[..., None] - centers[:, 1])
    labels = distances.argmin(-1) + 1
    labels[distances.min(-1) > 8.5] = 0
    return labels


def predicted(affinities: np.ndarray) -> np.ndarray:
    """Return affinities as a network may predict them: blurred along boundaries, uncertain, in steps of 1/255."""
    rng = np.random.default_rng(4)
    noisy = affinities * 0.78 + 0.12 + rng.normal(0, 0.11, affinities.shape)
    # A boundary that is hard to see, between the two cells below.
    noisy[:, 14:26, 11:14] += 0.28 * (affinities[:, 14:26, 11:14] == 0)
    return np.rint(np.clip(noisy, 0, 1) * 255) / 255


def draw() -> str:
    """Return the drawing."""
    labels = cells()
    truth = seg_to_affgraph(labels, OFFSETS)
    network = predicted(truth)
    rows = (
        (
            "Ground truth becomes the target",
            [("labels", object_colors(labels))]
            + [
                (f"{offset}: {name}", grays(channel))
                for (offset, name), channel in zip(OFFSETS.items(), truth, strict=True)
            ],
        ),
        (
            "Predicted affinities become labels: the mutex watershed",
            [("(0, 1), as predicted", grays(network[1]))]
            + [(f"bias {bias}", object_colors(mutex_watershed(network, list(OFFSETS), bias))) for bias in BIASES],
        ),
    )
    canvas = Canvas(476, "Labels, their affinities, and segmentations of noisy affinities with three biases")
    for number, (title, pictures) in enumerate(rows):
        top = 28 + 232 * number
        canvas.text((20, top), title, bold=True)
        for column, (name, colors) in enumerate(pictures):
            left = 20 + 184 * column
            canvas.pixels((left, top + 12), colors, CELL)
            canvas.text((left, top + 12 + SIZE * CELL + 17), name, size=12, color=MUTED)
    return str(canvas)
