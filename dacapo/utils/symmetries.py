"""Mirror images and quarter turns of volumes, and of the channels that are predicted for them."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import torch

NONE, FLIPS, TURNS = "none", "flips", "turns"
TTA = (NONE, FLIPS, TURNS)
"""Kinds of test-time augmentation."""


@attrs.frozen
class Symmetry:
    """A change of the axes of a volume: they are exchanged, then some of the results are mirrored.

    Attributes:
        axes: For each axis of the result, the axis of the volume that it comes from.
        flips: For each axis of the result, whether it is mirrored.
    """

    axes: tuple[int, ...]
    flips: tuple[bool, ...]

    @property
    def mirrored(self) -> list[int]:
        """The axes of the result that are mirrored."""
        return [axis for axis, flipped in enumerate(self.flips) if flipped]

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        """Change the last axes of a tensor, which are those of the volume."""
        lead = values.ndim - len(self.axes)
        values = values.permute(*range(lead), *(lead + axis for axis in self.axes))
        return values.flip([lead + axis for axis in self.mirrored])

    def undo(self, values: torch.Tensor) -> torch.Tensor:
        """Undo :meth:`apply`."""
        lead = values.ndim - len(self.axes)
        values = values.flip([lead + axis for axis in self.mirrored])
        return values.permute(*range(lead), *(lead + self.result_axis(axis) for axis in range(len(self.axes))))

    def result_axis(self, axis: int) -> int:
        """Return the axis of the result that an axis of the volume becomes."""
        return self.axes.index(axis)

    def is_mirrored(self, axis: int) -> bool:
        """Return whether an axis of the volume is mirrored."""
        return self.flips[self.result_axis(axis)]

    def turn(self, offset: Sequence[int]) -> tuple[int, ...]:
        """Return what an offset between two voxels of the volume is in the result."""
        pairs = zip(self.axes, self.flips, strict=True)
        return tuple(-int(offset[axis]) if flipped else int(offset[axis]) for axis, flipped in pairs)


@attrs.frozen
class ChannelSource:
    """Where the values of a channel are in the prediction for a changed volume, after the change was undone.

    Attributes:
        channel: The channel that holds them.
        shift: Offset in voxels of the prediction from a voxel to the one that holds its value; none if empty.
    """

    channel: int
    shift: tuple[int, ...] = ()


def unchanged_channels(count: int) -> list[ChannelSource | None]:
    """Return the sources of channels whose meaning has no direction."""
    return [ChannelSource(channel) for channel in range(count)]


def symmetries(kinds: Sequence[Hashable], tta: str) -> Iterator[Symmetry]:
    """Yield all symmetries of a kind, first the one that changes nothing.

    Args:
        kinds: For each axis, what must be equal for two axes to be exchanged, such as their voxel sizes.
        tta: ``"flips"`` mirrors only, ``"turns"`` also exchanges axes.
    """
    dims = len(kinds)
    orders = itertools.permutations(range(dims)) if tta == TURNS else [tuple(range(dims))]
    for axes in orders:
        if all(kinds[axis] == kinds[source] for axis, source in enumerate(axes)):
            for flips in itertools.product((False, True), repeat=dims):
                yield Symmetry(axes, flips)
