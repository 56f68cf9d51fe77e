"""Colors of labels for pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def label_colors(labels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return an image of labels in colors that depend only on the label; 0 is black.

    Args:
        labels: Labels of any shape.

    Returns:
        Red, green and blue from 0 to 1, along an additional last axis.
    """
    ids = labels.astype(np.uint64)
    # Multiples of the golden ratio spread hues evenly for successive labels.
    hue = np.modf(ids * 0.6180339887498949)[0]
    saturation = 0.35 + 0.5 * np.modf(ids * 0.7548776662466927)[0]
    value = 0.55 + 0.43 * np.modf(ids * 0.5698402909980532)[0]
    # From hue, saturation and value: each color channel falls off with its distance from its own hue.
    distance = np.modf(hue[..., np.newaxis] + np.array([0, 2 / 3, 1 / 3]))[0] * 6
    share = np.clip(np.abs(distance - 3) - 1, 0, 1)
    colors = value[..., np.newaxis] * (1 - saturation[..., np.newaxis] * (1 - share))
    colors[ids == 0] = 0
    return np.asarray(colors, dtype=np.float32)


def match_labels(segmentation: npt.NDArray[Any], truth: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Rename segments after the objects that they cover, so that both get the same colors.

    A segment takes the label of the object that covers most of it, if that object has no larger part in another
    segment. Other segments get new labels.

    Args:
        segmentation: Segments; 0 is kept.
        truth: Objects, of the same shape; 0 counts as no object.

    Returns:
        The segmentation with each segment renamed to a unique label.
    """
    segments, segment_index = np.unique(segmentation, return_inverse=True)
    objects, object_index = np.unique(truth, return_inverse=True)
    overlap = np.zeros((len(segments), len(objects)), dtype=np.int64)
    np.add.at(overlap, (segment_index.ravel(), object_index.ravel()), 1)
    overlap[segments == 0] = overlap[:, objects == 0] = 0
    names = np.arange(len(segments), dtype=np.uint64) + np.uint64(objects.max(initial=0)) + np.uint64(1)
    for segment, best in enumerate(overlap.argmax(axis=1)):
        if overlap[segment, best] and overlap[:, best].argmax() == segment:
            names[segment] = objects[best]
    names[segments == 0] = 0
    return names[segment_index].reshape(segmentation.shape)
