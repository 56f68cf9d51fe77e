"""From affinities to labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dacapo.errors import ChannelMismatchError, ConfigError


def mutex_watershed(
    affinities: npt.NDArray[Any],
    offsets: Sequence[Sequence[int]],
    bias: float,
    long_range_bias: float | None = None,
    min_size: int = 0,
) -> npt.NDArray[np.uint64]:
    """Segment a volume from its affinities with the mutex watershed.

    The strongest affinities, by their difference from the bias, are taken first; above the bias they join two voxels,
    below it they keep them apart. Segments whose mean affinity is below ``bias`` are background, and so are voxels that
    nothing joins. The whole volume is segmented at once: memory grows with it, by some 60 bytes per affinity.

    Wolf et al., "The mutex watershed: efficient, parameter-free image partitioning", ECCV 2018.

    Args:
        affinities: Offset first, then two or three spatial axes; from 0 (different objects) to 1 (the same). Channels
            beyond the offsets are ignored.
        offsets: For each channel the step, in voxels, to the other voxel of the pair.
        bias: The affinity that separates "different" from "same".
        long_range_bias: The same for offsets that are not to a direct neighbor, by default ``bias``.
        min_size: Segments with fewer voxels are absorbed, see :func:`absorb_small`.

    Returns:
        Labels from 1 on without a gap, 0 where there is background, of the spatial shape.

    Raises:
        ChannelMismatchError: If there are fewer affinities than offsets.
        ConfigError: If an offset has another number of entries than the volume has axes.
    """
    import fastremap
    import mwatershed

    _check_offsets(affinities, offsets)
    used = affinities[: len(offsets)]
    if not used[0].size:
        return np.zeros(used.shape[1:], dtype=np.uint64)
    steps = [[int(step) for step in offset] for offset in offsets]
    # A step out of the whole volume pairs no voxels, and mwatershed panics over it.
    fitting = [k for k, step in enumerate(steps) if np.all(np.abs(step) < used.shape[1:])]
    # The only type that mwatershed takes.
    shifted = (used if len(fitting) == len(steps) else used[fitting]).astype(np.float64)
    steps = [steps[k] for k in fitting]
    for channel, step in zip(shifted, steps, strict=True):
        near = sum(map(abs, step)) == 1
        channel -= bias if near or long_range_bias is None else long_range_bias
    fragments = mwatershed.agglom(shifted, steps)
    del shifted
    labels, _ = fastremap.renumber(np.ascontiguousarray(fragments), preserve_zero=True, in_place=True)
    _remove_weak(labels, used, bias)
    labels = absorb_small(labels, min_size)
    return np.asarray(fastremap.renumber(labels, preserve_zero=True)[0], dtype=np.uint64)


def absorb_small(labels: npt.NDArray[Any], min_size: int) -> npt.NDArray[Any]:
    """Let the other segments grow into the small ones that they touch.

    A voxel of a small segment goes to the segment that reaches it first, growing voxel by voxel through small segments
    only. Small segments that touch no other, not even through each other, become background.

    Args:
        labels: Labels from 0 (background), two or three axes.
        min_size: Segments with fewer voxels are small; up to 1 nothing changes.
    """
    if min_size <= 1:
        return labels
    from scipy.ndimage import binary_dilation, generate_binary_structure
    from skimage.segmentation import watershed

    sizes = np.bincount(labels.ravel().astype(np.int64, copy=False))
    small_ids = sizes < min_size
    small_ids[0] = False
    small = small_ids[labels]
    if not small.any():
        return labels
    kept = np.where(small, 0, labels)
    # Only what borders on a small segment can grow; all else would cost time.
    border = binary_dilation(small, generate_binary_structure(labels.ndim, 1))
    grown = watershed(  # type: ignore[no-untyped-call]
        np.zeros(labels.shape, dtype=np.uint8),
        markers=np.where(border, kept, 0).astype(np.int64),
        mask=border & (labels > 0),
    )
    return np.where(small, grown, kept).astype(labels.dtype)


def _remove_weak(labels: npt.NDArray[Any], affinities: npt.NDArray[Any], bias: float) -> None:
    """Set segments whose mean over all affinities of their voxels is below the bias to 0, in place."""
    mean = np.mean(affinities, axis=0, dtype=np.float64)
    flat = labels.ravel().astype(np.int64, copy=False)
    sizes = np.bincount(flat)
    sums = np.bincount(flat, weights=mean.ravel())
    weak = sums < bias * sizes
    weak[0] = True
    labels[weak[labels]] = 0


def _check_offsets(affinities: npt.NDArray[Any], offsets: Sequence[Sequence[int]]) -> None:
    if not len(offsets):
        raise ConfigError("no offsets given; one for each affinity is needed")
    if affinities.shape[0] < len(offsets):
        raise ChannelMismatchError(
            f"there are {affinities.shape[0]} channels of affinities but {len(offsets)} offsets; each offset needs one"
        )
    dims = affinities.ndim - 1
    wrong = [tuple(offset) for offset in offsets if len(offset) != dims]
    if wrong:
        raise ConfigError(f"the offsets {wrong} do not have one entry for each of the {dims} axes of the volume")
