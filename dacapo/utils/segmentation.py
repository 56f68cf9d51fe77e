"""From affinities to labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.errors import ChannelMismatchError, ConfigError
from dacapo.utils.sorted_affinities import SortedAffinities


@attrs.frozen
class MutexWatershedParameters:
    """How affinities are segmented.

    Attributes:
        bias: The affinity that separates "different" from "same".
        long_range_bias: The same for offsets that are not to a direct neighbor, by default ``bias``.
        min_size: Segments with fewer voxels are absorbed, see :func:`absorb_small`.
    """

    bias: float
    long_range_bias: float | None = None
    min_size: int = 0

    @property
    def biases(self) -> tuple[float, float]:
        """The bias of direct neighbors and that of all other offsets."""
        return self.bias, self.bias if self.long_range_bias is None else self.long_range_bias


def mutex_watershed(
    affinities: npt.NDArray[Any],
    offsets: Sequence[Sequence[int]],
    bias: float,
    long_range_bias: float | None = None,
    min_size: int = 0,
    value_range: tuple[float, float] | None = None,
) -> npt.NDArray[np.uint64]:
    """Segment a volume from its affinities with the mutex watershed.

    The strongest affinities, by their difference from the bias, are taken first; above the bias they join two voxels,
    below it they keep them apart. Segments whose mean affinity is below ``bias`` are background, and so are voxels
    without an affinity above the bias.

    Of affinities that differ as much from the bias, those above it are taken first, then those of direct neighbors,
    then those of the first offsets, then those of the first voxels. So the result is the same wherever it is computed.

    The whole volume is segmented at once. Memory grows with it, by 5 bytes per affinity that is stored as ``uint8`` and
    8 as ``float32``, besides the affinities and a copy of them, and some 30 bytes per voxel.

    Wolf et al., "The mutex watershed: efficient, parameter-free image partitioning", ECCV 2018.

    Args:
        affinities: Offset first, then two or three spatial axes; from 0 (different objects) to 1 (the same). Channels
            beyond the offsets are ignored.
        offsets: For each channel the step, in voxels, to the other voxel of the pair.
        bias: The affinity that separates "different" from "same".
        long_range_bias: The same for offsets that are not to a direct neighbor, by default ``bias``.
        min_size: Segments with fewer voxels are absorbed, see :func:`absorb_small`.
        value_range: What the lowest and the highest integer stand for, if the affinities are stored as unsigned
            integers; by default integers stand for themselves.

    Returns:
        Labels from 1 on without a gap, 0 where there is background, of the spatial shape.

    Raises:
        ChannelMismatchError: If there are fewer affinities than offsets.
        ConfigError: If an offset has another number of entries than the volume has axes, an affinity is no number, or
            the volume is too large.
    """
    parameters = MutexWatershedParameters(bias, long_range_bias, min_size)
    ((_, labels),) = mutex_watersheds(affinities, offsets, [parameters], value_range)
    return labels


def mutex_watersheds(
    affinities: npt.NDArray[Any],
    offsets: Sequence[Sequence[int]],
    parameters: Sequence[MutexWatershedParameters],
    value_range: tuple[float, float] | None = None,
) -> Iterator[tuple[int, npt.NDArray[np.uint64]]]:
    """Segment a volume with several parameters, as :func:`mutex_watershed` does with each, but faster.

    Affinities are sorted once. From the highest bias to the lowest, voxels are joined for good that all lower biases
    join too.

    Args:
        affinities: See :func:`mutex_watershed`.
        offsets: The same.
        parameters: The parameters.
        value_range: See :func:`mutex_watershed`.

    Returns:
        The index of parameters and the labels, one after the other, highest bias first; only one volume of labels is in
        memory at once.

    Raises:
        DacapoError: As :func:`mutex_watershed`.
    """
    check_offsets(len(affinities), affinities.ndim - 1, offsets)
    used = affinities[: len(offsets)]
    if not used[0].size:
        return ((k, np.zeros(used.shape[1:], dtype=np.uint64)) for k in range(len(parameters)))
    shared = all(near == far for near, far in (one.biases for one in parameters))
    return _segment_all(SortedAffinities(used, offsets, value_range, one_group=shared), parameters)


def _segment_all(
    affinities: SortedAffinities, parameters: Sequence[MutexWatershedParameters]
) -> Iterator[tuple[int, npt.NDArray[np.uint64]]]:
    for k in sorted(range(len(parameters)), key=lambda k: -parameters[k].bias):
        chosen = parameters[k]
        if len(parameters) > 1:
            affinities.contract(chosen.bias)
        labels = affinities.segment(*chosen.biases)
        yield k, _without_small(labels, chosen.min_size)


def segments_and_evidence(
    affinities: npt.NDArray[Any],
    offsets: Sequence[Sequence[int]],
    bias: float,
    long_range_bias: float | None = None,
    value_range: tuple[float, float] | None = None,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
    """Segment a part of a volume, so that what :func:`mutex_watershed` drops can be told once all parts are known.

    Args:
        affinities: See :func:`mutex_watershed`, as for all others.
        offsets: The same.
        bias: The same.
        long_range_bias: The same.
        value_range: The same.

    Returns:
        Labels of all segments, and for each voxel its mean affinity less the bias. The segments to drop are those for
        which that sums up to less than 0.

    Raises:
        DacapoError: As :func:`mutex_watershed`.
    """
    check_offsets(len(affinities), affinities.ndim - 1, offsets)
    biases = MutexWatershedParameters(bias, long_range_bias).biases
    ordered = SortedAffinities(affinities[: len(offsets)], offsets, value_range, one_group=biases[0] == biases[1])
    return ordered.segment(*biases, weak=True), ordered.sums.reshape(ordered.shape) - bias


def _without_small(labels: npt.NDArray[np.uint64], min_size: int) -> npt.NDArray[np.uint64]:
    import fastremap

    absorbed = absorb_small(labels, min_size)
    if absorbed is labels:
        return labels
    return np.asarray(fastremap.renumber(absorbed, preserve_zero=True)[0], dtype=np.uint64)


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
    sizes = np.bincount(labels.ravel().astype(np.int64, copy=False))
    small_ids = sizes < min_size
    small_ids[0] = False
    small = small_ids[labels]
    return grow_into(np.where(small, 0, labels), small) if small.any() else labels


def grow_into(labels: npt.NDArray[Any], free: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Let segments grow, voxel by voxel and all at the same pace, into voxels that are free.

    Args:
        labels: Labels from 0 (background), two or three axes; 0 where voxels are free.
        free: Where segments may grow.
    """
    import fastremap
    from scipy.ndimage import binary_dilation, generate_binary_structure
    from skimage.segmentation import watershed

    # Only what borders on a free voxel can grow; all else would cost time.
    border = binary_dilation(free, generate_binary_structure(labels.ndim, 1))
    # The watershed counts in 32 bits.
    markers, names = fastremap.renumber(np.where(border, labels, 0), preserve_zero=True)
    grown = watershed(  # type: ignore[no-untyped-call]
        np.zeros(labels.shape, dtype=np.uint8), markers=markers, mask=border & (free | (labels > 0))
    )
    table = np.zeros(len(names) + 1, dtype=labels.dtype)
    for name, marker in names.items():
        table[int(marker)] = name
    return np.where(free, table[grown], labels)


def check_offsets(channels: int, dims: int, offsets: Sequence[Sequence[int]]) -> None:
    """Check that there is an affinity for each offset, and that offsets fit a volume.

    Args:
        channels: Number of affinities.
        dims: Number of axes of the volume.
        offsets: For each affinity the step to the other voxel of a pair.

    Raises:
        ChannelMismatchError: If there are fewer affinities than offsets.
        ConfigError: If an offset has another number of entries than the volume has axes, or there is none.
    """
    if not len(offsets):
        raise ConfigError("no offsets given; one for each affinity is needed")
    if channels < len(offsets):
        raise ChannelMismatchError(
            f"there are {channels} channels of affinities but {len(offsets)} offsets; each offset needs one"
        )
    wrong = [tuple(offset) for offset in offsets if len(offset) != dims]
    if wrong:
        raise ConfigError(f"the offsets {wrong} do not have one entry for each of the {dims} axes of the volume")
