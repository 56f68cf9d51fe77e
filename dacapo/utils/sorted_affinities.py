"""Affinities in the order in which the mutex watershed processes them, which hardly depends on the bias.

Importing this module loads Numba, which takes time, so import it in the function that needs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError
from dacapo.utils import mutex_kernels
from dacapo.utils.mutex_kernels import Graph, Sorted
from dacapo.utils.quantize import dequantize

MOST_VOXELS = (1 << 31) - 1


class SortedAffinities:
    """The sorted affinities of a volume, and everything else that does not depend on the bias."""

    def __init__(
        self,
        affinities: npt.NDArray[Any],
        offsets: Sequence[Sequence[int]],
        value_range: tuple[float, float] | None = None,
        one_group: bool = True,
    ) -> None:
        """Sort affinities; the input is neither kept nor changed.

        Args:
            affinities: One channel for each offset, two or three spatial axes.
            offsets: For each channel the step to the other voxel of a pair.
            value_range: Affinities of the lowest and the highest integer; by default integers are used as they are.
            one_group: Whether all offsets will have the same bias.

        Raises:
            ConfigError: If an affinity is NaN, or the volume has too many voxels.
        """
        self.shape = affinities.shape[1:]
        self.size = math.prod(self.shape)
        if self.size > MOST_VOXELS:
            raise ConfigError(
                f"a volume of shape {self.shape} has more than {MOST_VOXELS} voxels, too many to be segmented at "
                "once; segment it in blocks"
            )
        stored, self.levels = _comparable(affinities, value_range)
        self.sums = _sums(stored, self.levels)
        all_steps, near = _steps(self.shape, offsets)
        kept = [channel for channel, step in enumerate(all_steps) if _pairs(self.shape, step)]
        # Direct neighbors come first, so the order does not depend on whether they form their own group.
        kept.sort(key=lambda channel: not near[channel])
        volume = stored.reshape(len(stored), *(1,) * (3 - len(self.shape)), *self.shape)
        volume = np.ascontiguousarray(volume if kept == list(range(len(volume))) else volume[kept])
        steps = np.array([all_steps[channel] for channel in kept], dtype=np.int64).reshape(-1, 3)
        groups = np.array([0 if one_group or near[channel] else 1 for channel in kept], dtype=np.int64)
        self.graph = _graph(volume, steps, groups, self.levels)
        self.groups = (
            _sorted(volume, steps, np.flatnonzero(groups == 0), self.graph.bits),
            _sorted(volume, steps, np.flatnonzero(groups == 1), self.graph.bits),
        )
        self.one_group = one_group
        self._joined = np.arange(self.size, dtype=np.int32)
        self._least: npt.NDArray[Any] | None = None

    def contract(self, bias: float) -> None:
        """Merge voxels that this bias and all lower ones join; higher biases give wrong results afterwards.

        Does nothing if direct neighbors form their own group.
        """
        if not self.one_group:
            return
        if self._least is None:
            self._least = self.graph.least[0].copy()
        edges = self.groups[0]
        left = mutex_kernels.contract(self._joined, self._least, edges, self.graph, float(bias))
        self.groups = (Sorted(edges.codes[:left], edges.values[:left]), self.groups[1])

    def clusters(self, bias: float, long_range_bias: float) -> npt.NDArray[np.int32]:
        """Return the union-find forest of the mutex watershed: the parent of each voxel; roots are their own parent.

        Raises:
            ConfigError: If a bias exceeds the highest affinity that integers can represent.
        """
        if self.levels is not None and max(bias, long_range_bias) > self.levels[-1]:
            raise ConfigError(
                f"the biases are {bias} and {long_range_bias}, above the highest affinity that "
                f"{self.graph.edges.dtype} stands for, {self.levels[-1]:g}"
            )
        parent = self._joined.copy()
        mutex_kernels.cluster(parent, self.groups, self.graph, np.array([bias, long_range_bias], dtype=np.float64))
        return parent

    def segment(self, bias: float, long_range_bias: float, weak: bool = False) -> npt.NDArray[np.uint64]:
        """Return labels in the order of first voxels, 0 for voxels without an affinity above the bias.

        Args:
            bias: Bias of direct neighbors.
            long_range_bias: Bias of all other offsets; the same if all offsets form one group.
            weak: Whether to keep segments whose mean affinity is below the bias.
        """
        labels = np.empty(self.size, dtype=np.uint64)
        sums = np.empty(0) if weak else self.sums
        shape = np.array((*(1,) * (3 - len(self.shape)), *self.shape), dtype=np.int64)
        biases = np.array([bias, long_range_bias], dtype=np.float64)
        mutex_kernels.number(self.clusters(bias, long_range_bias), shape, self.graph, biases, sums, labels)
        return labels.reshape(self.shape)


def _comparable(
    affinities: npt.NDArray[Any], value_range: tuple[float, float] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64] | None]:
    """Return affinities in a sortable type, and the affinity of each integer level, if any.

    Raises:
        ConfigError: If an affinity is NaN.
    """
    dtype = affinities.dtype
    if dtype == np.uint8:
        levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
        return affinities, (levels if value_range is None else dequantize(levels, value_range)).astype(np.float64)
    if dtype.kind == "u" and value_range is not None:
        return dequantize(affinities, value_range), None
    if dtype not in (np.float32, np.float64):
        affinities = affinities.astype(np.float32 if dtype == np.float16 else np.float64)
    if np.isnan(affinities).any():
        raise ConfigError("an affinity is NaN; all of them must be numbers")
    return affinities, None


def _sums(stored: npt.NDArray[Any], levels: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
    """Return the mean affinity of each voxel."""
    total = np.zeros(math.prod(stored.shape[1:]), dtype=np.float64)
    for channel in stored:
        total += (channel if levels is None else levels[channel]).reshape(-1)
    total /= len(stored)
    return total


def _steps(shape: Sequence[int], offsets: Sequence[Sequence[int]]) -> tuple[list[tuple[int, ...]], list[bool]]:
    """Return the offsets extended to three axes, and which of them are direct neighbors."""
    steps = [(*(0,) * (3 - len(shape)), *(int(step) for step in offset)) for offset in offsets]
    return steps, [sum(map(abs, step)) == 1 for step in steps]


def _pairs(shape: Sequence[int], step: Sequence[int]) -> int:
    """Return the number of pairs of voxels that are a step apart; 0 for a zero step."""
    full = (*(1,) * (3 - len(shape)), *shape)
    return math.prod(max(0, extent - abs(by)) for extent, by in zip(full, step, strict=True)) if any(step) else 0


def _graph(
    volume: npt.NDArray[Any],
    steps: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    levels: npt.NDArray[np.float64] | None,
) -> Graph:
    _, _, rows, columns = volume.shape
    voxels = math.prod(volume.shape[1:])
    highest = np.inf if levels is None else np.iinfo(volume.dtype).max
    edges = np.full((voxels, len(steps)), highest, dtype=volume.dtype)
    least = np.full((2, voxels), highest, dtype=volume.dtype)
    mutex_kernels.spread(volume, steps, groups, edges, least)
    strides = (steps[:, 0] * rows + steps[:, 1]) * columns + steps[:, 2]
    return Graph(edges, least, levels, groups, steps, strides, (voxels - 1).bit_length())


def _sorted(
    volume: npt.NDArray[Any], steps: npt.NDArray[np.int64], channels: npt.NDArray[np.int64], bits: int
) -> Sorted:
    """Return the edges of some channels in descending order of affinity."""
    count = sum(_pairs(volume.shape[1:], steps[channel]) for channel in channels)
    wide = len(steps) << bits > 1 << 32
    codes = np.empty(count, dtype=np.uint64 if wide else np.uint32)
    if volume.dtype == np.uint8:
        counts = np.zeros(np.iinfo(volume.dtype).max + 1, dtype=np.int64)
        mutex_kernels.count_levels(volume, channels, steps, counts)
        ends = np.cumsum(counts[::-1])[::-1]  # of the positions of each level; higher levels come first
        mutex_kernels.place_levels(volume, channels, steps, bits, ends - counts, codes)
        descending = np.arange(len(counts) - 1, -1, -1, dtype=volume.dtype)
        return Sorted(codes, np.repeat(descending, counts[::-1]))
    values = np.empty(count, dtype=volume.dtype)
    mutex_kernels.list_edges(volume, channels, steps, bits, values, codes)
    return Sorted(*_sort_floats(values, codes))


def _sort_floats(values: npt.NDArray[Any], codes: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return codes and values in descending order of values; ties keep their order.

    A radix sort takes time in proportion to the number of edges, and NumPy has none for more than 16 bits.
    """
    values += 0  # turns -0.0 into 0.0, which must compare equal
    keys = _flip(values.view(f"u{values.itemsize}"))
    other_keys, other_codes = np.empty_like(keys), np.empty_like(codes)
    for shift in range(0, 8 * keys.itemsize, mutex_kernels.RADIX_BITS):
        mutex_kernels.sort_pass(keys, codes, other_keys, other_codes, shift)
        keys, other_keys, codes, other_codes = other_keys, keys, other_codes, codes
    return codes, _flip(keys).view(values.dtype)


def _flip(bits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert floats to integers of the opposite order, or back, by flipping all bits but the sign if that is 0.

    Bits of positive IEEE 754 numbers ascend with the numbers, those of negative ones descend. So the sign decides which
    half of the integers a number belongs to, and negative numbers are in descending order already.
    """
    sign = bits.dtype.type(1 << (8 * bits.itemsize - 1))
    return np.where(bits & sign, bits, bits ^ (sign - bits.dtype.type(1)))
