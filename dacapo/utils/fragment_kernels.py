"""Kernels of fragments: a seeded watershed, and the contacts between fragments. Importing this module loads Numba.

Volumes have three axes here; those with two get a leading one of length 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dacapo.utils.kernels import compiled, place_of

LEVELS = 256
"""Number of affinities that are told apart."""

LABEL_BITS = 28
"""Number of bits of a contact's key that hold a label."""


@compiled
def _push(voxel: Any, level: Any, heads: Any, tails: Any, following: Any) -> None:
    """Append a voxel to the queue of a level."""
    following[voxel] = -1
    if heads[level] < 0:
        heads[level] = voxel
    else:
        following[tails[level]] = voxel
    tails[level] = voxel


@compiled
def flood(levels: Any, labels: Any, least: int, across: bool) -> None:
    """Let labels grow, into voxels of high levels first (Meyer's flooding, with one queue per level).

    Voxels of the same level are taken in the order in which they were reached, so that labels meet halfway.

    Args:
        levels: Level of each voxel, below :data:`LEVELS`.
        labels: The seeds, 0 elsewhere; becomes the result.
        least: Voxels of lower levels stay 0.
        across: Whether labels also grow along the first axis.
    """
    depth, rows, columns = levels.shape
    flat_levels, flat = levels.ravel(), labels.ravel()
    following = np.empty(flat.size, np.int32)
    heads, tails = np.full(LEVELS, -1, np.int32), np.full(LEVELS, -1, np.int32)
    for voxel in range(flat.size):
        if flat[voxel] != 0:
            _push(voxel, LEVELS - 1, heads, tails, following)
    level = LEVELS - 1
    while level >= least:
        voxel = heads[level]
        if voxel < 0:
            level -= 1
            continue
        heads[level] = following[voxel]
        x, row = voxel % columns, voxel // columns
        y, z = row % rows, row // rows
        for side in range(0 if across else 2, 6):
            if side == 0:
                inside, other = z > 0, voxel - rows * columns
            elif side == 1:
                inside, other = z + 1 < depth, voxel + rows * columns
            elif side == 2:
                inside, other = y > 0, voxel - columns
            elif side == 3:
                inside, other = y + 1 < rows, voxel + columns
            elif side == 4:
                inside, other = x > 0, voxel - 1
            else:
                inside, other = x + 1 < columns, voxel + 1
            if inside and flat[other] == 0 and flat_levels[other] >= least:
                flat[other] = flat[voxel]
                _push(other, min(level, np.int64(flat_levels[other])), heads, tails, following)


@compiled
def contacts(labels: Any, levels: Any, axes: Any, forward: Any, end: Any) -> Any:
    """Count the affinities between different labels.

    A pair of voxels counts if its first one, in the order of the volume, lies before ``end``.

    Args:
        labels: Labels below 2^28; 0 touches nothing.
        levels: Affinities as levels, channel first.
        axes: For each channel the axis along which its pairs lie.
        forward: Whether a channel has the affinity of a pair at its first voxel, not at its second.
        end: The end along each axis.

    Returns:
        Distinct keys, ``label << 36 | higher label << 8 | level``, in any order, and the number of each.
    """
    size = labels.shape
    table, amounts, filled = np.zeros(1 << 12, np.uint64), np.zeros(1 << 12, np.int64), 0
    for channel in range(len(axes)):
        dz, dy, dx = np.int64(axes[channel] == 0), np.int64(axes[channel] == 1), np.int64(axes[channel] == 2)
        for z in range(min(end[0], size[0] - dz)):
            for y in range(min(end[1], size[1] - dy)):
                for x in range(min(end[2], size[2] - dx)):
                    a, b = labels[z, y, x], labels[z + dz, y + dy, x + dx]
                    if a == b or a == 0 or b == 0:
                        continue
                    level = levels[channel, z, y, x] if forward[channel] else levels[channel, z + dz, y + dy, x + dx]
                    pair = (np.uint64(min(a, b)) << np.uint64(LABEL_BITS)) | np.uint64(max(a, b))
                    key = (pair << np.uint64(8)) | np.uint64(level)
                    slot = place_of(table, key)
                    if table[slot] == 0:
                        table[slot] = key
                        filled += 1
                    amounts[slot] += 1
                    if 2 * filled > len(table):
                        table, amounts = _doubled(table, amounts)
    used = table != 0
    return table[used], amounts[used]


@compiled
def _doubled(table: Any, amounts: Any) -> Any:
    """Return a hash table and its values with twice the room."""
    larger, larger_amounts = np.zeros(2 * len(table), np.uint64), np.zeros(2 * len(table), np.int64)
    for slot in range(len(table)):
        if table[slot] != 0:
            place = place_of(larger, table[slot])
            larger[place] = table[slot]
            larger_amounts[place] = amounts[slot]
    return larger, larger_amounts
