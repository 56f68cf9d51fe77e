"""Counts in blocks of binary volumes, and distances that extend beyond a block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.experiments.tasks.evaluators.volumes import Volumes
from dacapo.utils.binary_metrics import BinaryCounts, count_block, distances_of
from dacapo.utils.block_distances import Box, DistanceCounts, Mask, Spacing, bounding_box, lower_to_boxes
from dacapo.utils.blocks import slices_of
from dacapo.utils.progress import progress
from dacapo.utils.tally import Tally

TRUTH, TEST = 0, 1


@attrs.frozen(eq=False)
class BinaryTally(Tally):
    """The counts of a part of a volume.

    Attributes:
        counts: Counts by channel.
        boxes: One row for each block with foreground in a channel of the truth (0) or the test (1): channel, truth or
            test, first voxel along each axis, voxel after the last one along each axis. Voxels count from the corner
            of the scored region.
        far: One row for each block with unresolved distances to the truth (0) or to the test (1), which exceed the
            margin: channel, truth or test, and the box of the block.
    """

    counts: list[BinaryCounts]
    boxes: npt.NDArray[np.int64]
    far: npt.NDArray[np.int64]

    def __add__(self, other: BinaryTally) -> BinaryTally:
        return BinaryTally(
            [one + another for one, another in zip(self.counts, other.counts, strict=True)],
            np.concatenate([self.boxes, other.boxes]),
            np.concatenate([self.far, other.far]),
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        arrays = {"boxes": self.boxes, "far": self.far, "channels": np.array(len(self.counts))}
        for channel, counts in enumerate(self.counts):
            arrays |= {f"{channel}_{name}": values for name, values in counts.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> BinaryTally:
        counts = []
        for channel in range(int(arrays["channels"])):
            prefix = f"{channel}_"
            own = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
            counts.append(BinaryCounts.from_arrays(own))
        return cls(counts, arrays["boxes"], arrays["far"])


@attrs.frozen
class BinaryBlocks:
    """Count in blocks of volumes.

    Attributes:
        volumes: The volumes to compare.
        channels: Number of channels.
        margin: Margin of the first read around a block, in edges of a voxel along its shortest axis.
    """

    volumes: Volumes
    channels: int
    margin: int

    def tally(self, block: Roi) -> BinaryTally:
        """Count in a block."""
        around, reach = self._around(block)
        inner = self._inner(block, around)
        whole = self._box(block)
        truth, test = (read_channels_first(array, around, add_missing=False) for array in self._arrays)
        mask = None if self.volumes.mask is None else read_channels_first(self.volumes.mask, around, add_missing=False)
        counts: list[BinaryCounts] = []
        boxes: list[tuple[int, int, Box]] = []
        far: list[tuple[int, int, Box]] = []
        for channel in range(self.channels):
            inside = self._inside(mask, channel)
            pair = self._foreground(TRUTH, truth, channel, inside), self._foreground(TEST, test, channel, inside)
            size = pair[0][inner].size if inside is None else int(np.count_nonzero(inside[inner]))
            counted, *missing = count_block(*pair, self._spacing, size, inner, reach)
            counts.append(counted)
            far += [(channel, which, whole) for which in (TRUTH, TEST) if missing[which]]
            if block != self.volumes.roi:  # other blocks may need them, even if this one sees the whole volume
                found = (bounding_box(foreground[inner]) for foreground in pair)
                boxes += [(channel, which, box + whole[0]) for which, box in enumerate(found) if box is not None]
        return BinaryTally(counts, _rows(boxes, block.dims), _rows(far, block.dims))

    def completed(self, tally: BinaryTally) -> list[BinaryCounts]:
        """Return the counts of all channels over all blocks, after resolving the missing distances."""
        counts = list(tally.counts)
        # If one of the two has no foreground, distances are undefined.
        missing = [row for row in tally.far if counts[row[0]].truth_size and counts[row[0]].test_size]
        for channel, which, *bounds in progress(missing, desc="far distances", unit="block") if missing else ():
            box = np.reshape(bounds, (2, -1))
            sites = tally.boxes[(tally.boxes[:, 0] == channel) & (tally.boxes[:, 1] == which), 2:]
            distances = self._far_distances(channel, which, box, sites.reshape(-1, *box.shape))
            positives, negatives = (distances, DistanceCounts()) if which == TRUTH else (DistanceCounts(), distances)
            counts[channel] += BinaryCounts(false_positives=positives, false_negatives=negatives)
        return counts

    def _far_distances(self, channel: int, which: int, box: Box, sites: npt.NDArray[np.int64]) -> DistanceCounts:
        """Count the distances to the truth, or the test, that a block could not resolve.

        Args:
            channel: The channel.
            which: 0 for the truth, 1 for the test.
            box: The block.
            sites: Boxes that contain the whole foreground of that volume.
        """
        block = self._roi(box)
        around, reach = self._around(block)
        inner = self._inner(block, around)
        near = self._read(which, around, channel)
        errors = self._read(1 - which, block, channel) & ~near[inner]
        squared = distances_of(errors, near, self._spacing, inner).astype(np.float64)
        del near
        missing = squared > reach
        points, squared = np.argwhere(errors)[missing] + box[0], squared[missing]
        del errors, missing
        seen = self._box(around)
        outside = ~np.all((sites[:, 0] >= seen[0]) & (sites[:, 1] <= seen[1]), axis=1)

        def read(where: Box) -> Mask:
            return self._read(which, self._roi(where), channel)

        lower_to_boxes(points, squared, sites[outside], read, self._spacing.steps)
        return DistanceCounts.of(squared, self._spacing.unit)

    def _around(self, block: Roi) -> tuple[Roi, float]:
        """Return the region to read for a block, and the squared distance up to which it holds all near voxels."""
        steps, whole = self._spacing.steps, self.volumes.roi
        margin = Coordinate(max(1, math.ceil(self.margin * min(steps) / step)) for step in steps)
        around = block.grow(margin * self.volumes.voxel_size, margin * self.volumes.voxel_size).intersect(whole)
        goes_on = [
            ((voxels + 1) * step) ** 2
            for axis, (voxels, step) in enumerate(zip(margin, steps, strict=True))
            if around.begin[axis] != whole.begin[axis] or around.end[axis] != whole.end[axis]
        ]
        return around, min(goes_on, default=math.inf)

    @property
    def _spacing(self) -> Spacing:
        return Spacing.of(self.volumes.spacing)

    @property
    def _arrays(self) -> tuple[Array, Array]:
        return self.volumes.truth, self.volumes.output

    def _read(self, which: int, roi: Roi, channel: int) -> Mask:
        """Return the foreground of the truth, or the test, inside the mask."""
        mask = None if self.volumes.mask is None else read_channels_first(self.volumes.mask, roi, add_missing=False)
        values = read_channels_first(self._arrays[which], roi, add_missing=False)
        return self._foreground(which, values, channel, self._inside(mask, channel))

    def _foreground(self, which: int, values: npt.NDArray[Any], channel: int, inside: Mask | None) -> Mask:
        if "c" in self._arrays[which].axes:
            foreground = values[channel] > 0
        else:  # without a channel axis, values are the indices of the channels if there are several
            foreground = values > 0 if self.channels == 1 else values == channel
        return np.asarray(foreground if inside is None else foreground & inside)

    def _inside(self, values: npt.NDArray[Any] | None, channel: int) -> Mask | None:
        """Return the nonzero voxels of a channel's mask; a single-channel mask applies to all channels."""
        if values is None or self.volumes.mask is None:
            return None
        if "c" in self.volumes.mask.axes:
            values = values[min(channel, len(values) - 1)]
        return np.asarray(values != 0)

    def _inner(self, block: Roi, around: Roi) -> tuple[slice, ...]:
        """Return the position of a block in the region read for it."""
        return slices_of(block, around, self.volumes.voxel_size)

    def _box(self, roi: Roi) -> Box:
        """Return a region in voxels, counted from the corner of the scored region."""
        corners = ((corner - self.volumes.roi.begin) / self.volumes.voxel_size for corner in (roi.begin, roi.end))
        return np.array(list(corners), dtype=np.int64)

    def _roi(self, box: Box) -> Roi:
        begin, end = (Coordinate(int(v) for v in corner) * self.volumes.voxel_size for corner in box)
        return Roi(self.volumes.roi.begin + begin, end - begin)


def _rows(boxes: Sequence[tuple[int, int, Box]], dims: int) -> npt.NDArray[np.int64]:
    rows = [(channel, which, *box.ravel()) for channel, which, box in boxes]
    return np.array(rows, dtype=np.int64).reshape(-1, 2 + 2 * dims)
