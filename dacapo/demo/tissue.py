"""Synthetic 3D tissue with known labels, for experiments without data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .noise import Floats, smooth_noise

Labels = npt.NDArray[np.uint32]

# All lengths are in voxels.
CELL_SPACING = 17.0  # between the center lines of neighboring cells
MEMBRANE_WIDTH = 1.1  # from the border of two cells to half the contrast of the membrane
ORGANELLE_RADII = (2.5, 6.5)
SMALLEST_CELL = 300  # in voxels of volume

# Brightness from 0 to 1.
CYTOPLASM, MEMBRANE, ORGANELLE, LUMEN = 0.68, 0.24, 0.44, 0.78

MEMBRANE_CLASS, BODY, VESICLE = 1, 2, 3


def synthetic_tissue(shape: Sequence[int], seed: int) -> tuple[npt.NDArray[np.uint8], Labels]:
    """Generate an image that resembles electron microscopy of neural tissue, and its labels.

    Elongated, curved cells fill the volume. Their membranes are dark, 2 to 3 voxels thick, and faint in places. Dark
    bodies and rings lie inside the cells, brightness varies between cells, staining is uneven, and the image is blurred
    and noisy, so no threshold separates the membranes.

    Args:
        shape: Shape in voxels, three axes, each at least 16.
        seed: The same seed and shape give the same tissue.

    Returns:
        Image (uint8) and labels (uint32), both of the given shape. Labels start at 1 and cover every voxel; each label
        is one face-connected component.

    Raises:
        ValueError: If the shape does not have three axes of at least 16 voxels.
    """
    image, labels, _ = _tissue(shape, seed)
    return image, labels


def synthetic_classes(shape: Sequence[int], seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Generate the image of :func:`synthetic_tissue`, and the class of each voxel.

    Args:
        shape: As there.
        seed: As there.

    Returns:
        Image (uint8) and classes (uint8), both of the given shape. Classes are 1 for the membranes of cells, 2 for dark
        bodies and 3 for vesicles inside cells, which are bright with a dark rim, and 0 for everything else.

    Raises:
        ValueError: If the shape does not have three axes of at least 16 voxels.
    """
    image, _, classes = _tissue(shape, seed)
    return image, classes


def _tissue(shape: Sequence[int], seed: int) -> tuple[npt.NDArray[np.uint8], Labels, npt.NDArray[np.uint8]]:
    if len(shape) != 3 or min(shape) < 16:
        raise ValueError(f"synthetic tissue needs three axes of at least 16 voxels, got shape {tuple(shape)}")
    rng = np.random.default_rng(seed)
    labels = _cells(tuple(shape), rng)
    distance = _distance_to_border(labels)
    image = _cytoplasm(labels, rng)
    classes = _add_organelles(image, distance, rng)
    _add_membranes(image, distance, rng)
    classes[distance <= MEMBRANE_WIDTH] = MEMBRANE_CLASS
    return _stain_and_record(image, rng), labels, classes


def _cells(shape: tuple[int, ...], rng: np.random.Generator) -> Labels:
    """Assign each voxel to the nearest of many curved center lines, in slightly warped space."""
    from scipy.spatial import cKDTree

    points, owners = _center_lines(shape, rng)
    bend = (smooth_noise(shape, 26, rng) * 3.0 + smooth_noise(shape, 10, rng) * 0.9 for _ in shape)
    grid = np.meshgrid(*(np.arange(size, dtype=np.float32) for size in shape), indexing="ij", sparse=True)
    bent = np.stack([axis + shift for axis, shift in zip(grid, bend, strict=True)], axis=-1)
    nearest = cKDTree(points).query(bent.reshape(-1, len(shape)))[1]
    return _connected(owners[nearest].reshape(shape))


def _center_lines(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Floats, npt.NDArray[np.uint32]]:
    """Return points on the center lines of the cells, and the number of the cell of each point."""
    margin = CELL_SPACING
    sizes = np.array(shape) + 2 * margin
    count = int(np.prod(sizes) / (CELL_SPACING**2 * 38.0)) + 8
    starts = rng.uniform(0, 1, (count, 3)) * sizes - margin
    headings = rng.standard_normal((count, 3)) + rng.standard_normal(3) * 0.9  # a common direction, as in a tract
    lengths = rng.gamma(2.0, 16.0, count).clip(4, 90)
    points, owners = [], []
    for cell, (start, heading, length) in enumerate(zip(starts, headings, lengths, strict=True)):
        steps = max(int(length / 4), 1)
        turns = np.cumsum(rng.standard_normal((steps, 3)) * 0.22, axis=0) + heading / np.linalg.norm(heading)
        line = start + 4 * np.cumsum(turns / np.linalg.norm(turns, axis=1, keepdims=True), axis=0)
        points.append(line - (line.mean(axis=0) - start))
        owners.append(np.full(steps, cell + 1))
    return np.concatenate(points).astype(np.float32), np.concatenate(owners).astype(np.uint32)


def _connected(labels: npt.NDArray[Any]) -> Labels:
    """Number connected components from 1, after merging those too small for a cell into their nearest neighbors."""
    import cc3d
    from scipy import ndimage

    pieces = cc3d.connected_components(labels, connectivity=6)
    # Merging can cut a few voxels off their new cell, so repeat until no small component is left.
    while (hole := (np.bincount(pieces.ravel()) < SMALLEST_CELL)[pieces]).any():
        nearest = ndimage.distance_transform_edt(hole, return_distances=False, return_indices=True)
        pieces = cc3d.connected_components(pieces[tuple(nearest)], connectivity=6)
    return pieces.astype(np.uint32)


def _distance_to_border(labels: Labels) -> Floats:
    """Return the distance of each voxel from the nearest border between two cells, at least half a voxel."""
    import edt

    distance: Floats = edt.edt(labels, black_border=False, parallel=1)
    return distance - 0.5


def _cytoplasm(labels: Labels, rng: np.random.Generator) -> Floats:
    brightness = rng.normal(CYTOPLASM, 0.045, int(labels.max()) + 1).astype(np.float32)
    grain = smooth_noise(labels.shape, 2.2, rng) * 0.035 + smooth_noise(labels.shape, 7, rng) * 0.025
    return brightness[labels] + grain


def _add_organelles(image: Floats, distance: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw bodies with a dark rim inside the cells: most are filled, some are bright rings; return their classes."""
    smallest, largest = ORGANELLE_RADII
    classes = np.zeros(image.shape, dtype=np.uint8)
    candidates = np.flatnonzero(distance > smallest + 2)
    if not len(candidates):
        return classes
    for flat in rng.choice(candidates, size=max(1, image.size // 2600)):
        center = np.array(np.unravel_index(flat, image.shape))
        radius = min(rng.uniform(smallest, largest), float(distance.flat[flat]) - 2)
        _draw_organelle(image, classes, distance, center, radius, rng)
    return classes


def _draw_organelle(
    image: Floats,
    classes: npt.NDArray[np.uint8],
    distance: Floats,
    center: npt.NDArray[np.int_],
    radius: float,
    rng: np.random.Generator,
) -> None:
    reach = int(2.2 * radius) + 2
    box = tuple(
        slice(max(at - reach, 0), min(at + reach + 1, size))
        for at, size in zip(center.tolist(), image.shape, strict=True)
    )
    offsets = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1) - center
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    along = offsets @ axis
    across = np.sqrt(np.maximum((offsets**2).sum(axis=-1) - along**2, 0))
    depth = radius - np.hypot(along / rng.uniform(1.0, 2.2), across)  # distance from its surface, positive inside
    filled = rng.random() < 0.6
    inside = ORGANELLE + 0.07 * np.sin(2.1 * along + rng.uniform(0, 6)) if filled else LUMEN
    body = np.where(depth > 1.4, inside, MEMBRANE + 0.04)
    # Where a cell narrows, the body ends before the membrane.
    visible = np.clip(depth + 0.5, 0, 1) * np.clip(distance[box] - 2.0, 0, 1)
    image[box] += visible * (body - image[box])
    classes[box][visible > 0.5] = BODY if filled else VESICLE


def _add_membranes(image: Floats, distance: Floats, rng: np.random.Generator) -> None:
    width = MEMBRANE_WIDTH + 0.25 * smooth_noise(image.shape, 14, rng)
    strength = np.clip(0.86 + 0.17 * smooth_noise(image.shape, 9, rng), 0.3, 1.0)  # slanted cuts look faint
    membrane = strength * np.exp(-np.log(2) * (distance / np.maximum(width, 0.7)) ** 2)
    image += membrane * (MEMBRANE - image)


def _stain_and_record(image: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Apply uneven staining, the blur and the noise of the microscope, and round to 8 bits."""
    from scipy import ndimage

    gain = 1 + 0.11 * smooth_noise(image.shape, 48, rng)
    offset = 0.045 * smooth_noise(image.shape, 60, rng)
    blurred = ndimage.gaussian_filter(gain * image + offset, 0.7)
    noisy = blurred + rng.standard_normal(image.shape, dtype=np.float32) * 0.07
    return np.asarray((noisy.clip(0, 1) * 255).round(), dtype=np.uint8)
