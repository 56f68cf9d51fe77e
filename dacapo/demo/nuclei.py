"""Synthetic 2D images of nuclei with known labels, for experiments without data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .noise import Floats, smooth_noise

Labels = npt.NDArray[np.uint32]

# All lengths are in pixels.
RADIUS, RADIUS_VARIES = 9.0, 1.6
CLOSEST = 13.5  # between the centers of two nuclei, which touch where that is less than the sum of their radii
AREA = 440  # of the image for each nucleus
SMALLEST_SIDE = 48


def synthetic_nuclei(shape: Sequence[int], seed: int) -> tuple[npt.NDArray[np.uint8], Labels]:
    """Generate an image that resembles fluorescence microscopy of nuclei, and their labels.

    Nuclei are bright, less so toward their borders, of uneven brightness and texture, and often touch. The background
    is uneven, and the image is blurred and noisy.

    Args:
        shape: Rows and columns, each at least 48.
        seed: The same seed and shape give the same image.

    Returns:
        Image (uint8) and labels (uint32), both of the given shape. Labels start at 1; background is 0.

    Raises:
        ValueError: If the shape does not have two axes of at least 48 pixels.
    """
    if len(shape) != 2 or min(shape) < SMALLEST_SIDE:
        raise ValueError(f"an image of nuclei needs two axes of at least {SMALLEST_SIDE} pixels, got {tuple(shape)}")
    rng = np.random.default_rng(seed)
    labels, nearest = _outlines((shape[0], shape[1]), rng)
    return _recorded(labels, nearest, rng), labels


def _outlines(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Labels, Floats]:
    """Draw bent ellipses, and return their labels and the relative distance of each pixel from the nearest center.

    Where two overlap, a pixel belongs to the one whose border is relatively farther away.
    """
    nearest = np.ones(shape, dtype=np.float32)  # relative distance from a center: 1 at the border of its nucleus
    labels = np.zeros(shape, dtype=np.uint32)
    bends = [smooth_noise(shape, 12, rng) * 1.1 for _ in shape]
    rows, columns = (axis + bend for axis, bend in zip(np.indices(shape, dtype=np.float32), bends, strict=True))
    for row, column in _centers(shape, rng):
        long, short = np.sort(rng.normal(RADIUS, RADIUS_VARIES, 2).clip(5, 14))[::-1]
        angle = rng.uniform(0, np.pi)
        reach = int(long) + 6
        box = tuple(
            slice(max(int(at) - reach, 0), int(at) + reach + 1) for at in (row, column)
        )  # a slice may end beyond the image
        down, right = rows[box] - row, columns[box] - column
        along = np.cos(angle) * right + np.sin(angle) * down
        across = np.cos(angle) * down - np.sin(angle) * right
        distance = np.hypot(along / long, across / short)
        inside = distance < nearest[box]
        nearest[box][inside] = distance[inside]
        labels[box][inside] = labels.max() + 1
    return _numbered(labels), nearest


def _centers(shape: tuple[int, int], rng: np.random.Generator) -> list[npt.NDArray[Any]]:
    """Return places that are not too close to each other."""
    centers: list[npt.NDArray[Any]] = []
    for place in rng.uniform(0, 1, (4 * shape[0] * shape[1] // AREA, 2)) * shape:
        if len(centers) * AREA >= shape[0] * shape[1]:
            break
        if not centers or np.linalg.norm(np.array(centers) - place, axis=1).min() > CLOSEST:
            centers.append(place)
    return centers


def _numbered(labels: Labels) -> Labels:
    """Number the largest piece of each nucleus from 1; smaller ones, cut off by others, become background."""
    import cc3d

    pieces = cc3d.connected_components(labels, connectivity=4)
    sizes = np.bincount(pieces.ravel())
    owners = np.zeros(len(sizes), dtype=np.uint32)
    owners[pieces.ravel()] = labels.ravel()
    sizes[0] = 0
    largest = {int(owners[piece]): int(piece) for piece in np.argsort(sizes) if sizes[piece] >= 30 and owners[piece]}
    renumbered = np.zeros(len(sizes), dtype=np.uint32)
    renumbered[sorted(largest.values())] = np.arange(1, len(largest) + 1)
    return np.asarray(renumbered[pieces])


def _recorded(labels: Labels, nearest: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return what a camera sees of the nuclei."""
    from scipy import ndimage

    brightness = rng.normal(0.62, 0.13, int(labels.max()) + 1).clip(0.35, 0.95).astype(np.float32)
    brightness[0] = 0
    texture = 1 + 0.16 * smooth_noise(labels.shape, 3, rng) + 0.08 * smooth_noise(labels.shape, 7, rng)
    background = 0.16 + 0.035 * smooth_noise(labels.shape, 60, rng)
    sharp: Floats = background + brightness[labels] * texture * (1 - 0.55 * nearest**3)
    image = ndimage.gaussian_filter(sharp, 1.2)
    photons = rng.poisson(image.clip(0.01, None) * 60) / 60
    return np.asarray((photons.clip(0, 1.25) / 1.25 * 255).round(), dtype=np.uint8)
