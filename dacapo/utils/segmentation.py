"""Segment affinities into labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.errors import ChannelMismatchError, ConfigError
from dacapo.utils.wording import in_channels

if TYPE_CHECKING:
    from dacapo.utils.sorted_affinities import SortedAffinities


@attrs.frozen
class MutexWatershedParameters:
    """Parameters of the mutex watershed.

    Attributes:
        bias: The affinity that separates "different" from "same".
        long_range_bias: The same for offsets beyond direct neighbors, by default ``bias``.
        min_size: Smaller segments, in voxels, are absorbed, see :func:`absorb_small`.
        fill_background: Whether segments grow into the background, and into small segments through it.
    """

    bias: float
    long_range_bias: float | None = None
    min_size: int = 0
    fill_background: bool = False

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
    fill_background: bool = False,
) -> npt.NDArray[np.uint64]:
    """Segment a volume from its affinities with the mutex watershed.

    Affinities are processed in descending order of their difference from the bias: above the bias they join two voxels,
    below it they forbid joining them. Segments whose mean affinity is below ``bias`` become background, and so do
    voxels without an affinity above the bias.

    Ties are resolved in favor of affinities above the bias, then of direct neighbors, then of the first offsets, then
    of the first voxels, so the result is reproducible everywhere.

    The whole volume is segmented at once. Memory grows with it: 5 bytes per affinity stored as ``uint8`` or 8 as
    ``float32``, in addition to the affinities and a copy of them, and some 30 bytes per voxel.

    Wolf et al., "The mutex watershed: efficient, parameter-free image partitioning", ECCV 2018.

    Args:
        affinities: Offset first, then two or three spatial axes; from 0 (different objects) to 1 (the same). Channels
            beyond the offsets are ignored.
        offsets: For each channel the step, in voxels, to the other voxel of the pair.
        bias: The affinity that separates "different" from "same".
        long_range_bias: The same for offsets beyond direct neighbors, by default ``bias``.
        min_size: Smaller segments, in voxels, are absorbed, see :func:`absorb_small`.
        value_range: Affinities of the lowest and the highest integer, if the affinities are stored as unsigned
            integers; by default integers are used as they are.
        fill_background: Whether segments grow into the background, until none is left between them.

    Returns:
        Labels of the spatial shape, from 1 without gaps; 0 is background.

    Raises:
        ChannelMismatchError: If affinities are fewer than offsets.
        ConfigError: If the number of entries of an offset differs from the number of axes, an affinity is NaN, or the
            volume is too large.
    """
    parameters = MutexWatershedParameters(bias, long_range_bias, min_size, fill_background)
    ((_, labels),) = mutex_watersheds(affinities, offsets, [parameters], value_range)
    return labels


def mutex_watersheds(
    affinities: npt.NDArray[Any],
    offsets: Sequence[Sequence[int]],
    parameters: Sequence[MutexWatershedParameters],
    value_range: tuple[float, float] | None = None,
) -> Iterator[tuple[int, npt.NDArray[np.uint64]]]:
    """Segment a volume with several parameters, like repeated calls of :func:`mutex_watershed`, but faster.

    Affinities are sorted once. From the highest bias to the lowest, voxels that all lower biases would join too are
    merged permanently.

    Returns:
        Pairs of an index of parameters and the labels, highest bias first; only one volume of labels is in memory at a
        time.
    """
    from dacapo.utils.sorted_affinities import SortedAffinities

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
        yield k, _without_small(labels, chosen.min_size, chosen.fill_background)


def segments_and_evidence(
    affinities: npt.NDArray[Any],
    offsets: Sequence[Sequence[int]],
    bias: float,
    long_range_bias: float | None = None,
    value_range: tuple[float, float] | None = None,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
    """Segment a part of a volume as :func:`mutex_watershed` does, but keep the segments that it may drop.

    Returns:
        Labels of all segments, and as evidence for each voxel its mean affinity minus the bias. Drop a segment if the
        sum of its evidence over all parts of the volume is below 0.
    """
    from dacapo.utils.sorted_affinities import SortedAffinities

    check_offsets(len(affinities), affinities.ndim - 1, offsets)
    biases = MutexWatershedParameters(bias, long_range_bias).biases
    ordered = SortedAffinities(affinities[: len(offsets)], offsets, value_range, one_group=biases[0] == biases[1])
    return ordered.segment(*biases, weak=True), ordered.sums.reshape(ordered.shape) - bias


def _without_small(labels: npt.NDArray[np.uint64], min_size: int, fill_background: bool) -> npt.NDArray[np.uint64]:
    import fastremap

    absorbed = absorb_small(labels, min_size, fill_background)
    if absorbed is labels:
        return labels
    return np.asarray(fastremap.renumber(absorbed, preserve_zero=True)[0], dtype=np.uint64)


def absorb_small(labels: npt.NDArray[Any], min_size: int, fill_background: bool = False) -> npt.NDArray[Any]:
    """Let neighboring segments grow into small segments, and on request into the background.

    A voxel of a small segment is assigned to the segment that reaches it first, growing voxel by voxel through small
    segments only, and through the background if that is filled. Small segments that no other segment can reach become
    background.

    Args:
        labels: Labels from 0 (background), two or three axes.
        min_size: Segments with fewer voxels are small; with values up to 1 none is.
        fill_background: Whether segments grow into the background too.
    """
    if min_size <= 1 and not fill_background:
        return labels
    sizes = np.bincount(labels.ravel().astype(np.int64, copy=False))
    free_ids = sizes < min_size
    free_ids[0] = fill_background
    free = free_ids[labels]
    return grow_into(np.where(free, 0, labels), free) if free.any() else labels


def grow_into(labels: npt.NDArray[Any], free: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Let segments grow, voxel by voxel and all at the same pace, into free voxels.

    Args:
        labels: Labels from 0 (background), two or three axes; 0 in free voxels.
        free: Mask of the voxels that segments may grow into.
    """
    import fastremap
    from scipy.ndimage import binary_dilation, generate_binary_structure
    from skimage.segmentation import watershed

    # Restrict the watershed to segments that border free voxels, to save time.
    border = binary_dilation(free, generate_binary_structure(labels.ndim, 1))
    # The watershed uses 32-bit labels.
    markers, names = fastremap.renumber(np.where(border, labels, 0), preserve_zero=True)
    grown = watershed(  # type: ignore[no-untyped-call]
        np.zeros(labels.shape, dtype=np.uint8), markers=markers, mask=border & (free | (labels > 0))
    )
    table = np.zeros(len(names) + 1, dtype=labels.dtype)
    for name, marker in names.items():
        table[int(marker)] = name
    return np.where(free, table[grown], labels)


def check_offsets(channels: int, dims: int, offsets: Sequence[Sequence[int]]) -> None:
    """Check that every offset has an affinity, and that offsets match a volume.

    Args:
        channels: Number of affinities.
        dims: Number of axes of the volume.
        offsets: For each affinity the step to the other voxel of a pair.

    Raises:
        ChannelMismatchError: If affinities are fewer than offsets.
        ConfigError: If no offset is given, or its number of entries differs from the number of axes.
    """
    if not len(offsets):
        raise ConfigError("no offsets given; expected one per affinity")
    if channels < len(offsets):
        raise ChannelMismatchError(
            f"got {in_channels(channels)} of affinities for {len(offsets)} offsets; each offset needs one"
        )
    wrong = [tuple(offset) for offset in offsets if len(offset) != dims]
    if wrong:
        raise ConfigError(f"the offsets {wrong} do not have one entry for each of the {dims} axes of the volume")
