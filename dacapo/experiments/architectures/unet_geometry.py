"""Compute the sizes inside a U-Net without building it.

All axes are independent, so everything here handles one axis at a time, in voxels. Level 0 has the full resolution;
each level below is smaller by its downsample factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from dacapo.experiments.architectures.placement import split_loss

Size = tuple[int, ...]
Kernels = tuple[Size, ...]


class UnusableSize(ValueError):
    """The network cannot process an input of this size."""


@dataclass(frozen=True)
class _Sizes:
    """Sizes along an axis, in the order of computation.

    Attributes:
        skips: Per level, size of the skip connection.
        enlarged: Per level, size of the feature maps coming up from the level below.
        cropped: Per level, size to which both are cropped.
        output: Size of the output.
    """

    skips: list[int]
    enlarged: list[int]
    cropped: list[int]
    output: int


@dataclass(frozen=True)
class UNetGeometry:
    """The numbers that determine the sizes in a U-Net.

    Attributes:
        downsample_factors: Per level, from the top.
        kernels_down: Kernel sizes of each pass on the way down; one more than there are factors.
        kernels_up: Kernel sizes of each pass on the way up, from the top level.
        upsample_factors: Factors of each upsampling after the U-Net.
        padded: Whether convolutions keep the size.
        attention: Whether skip connections pass an attention gate.
    """

    downsample_factors: tuple[Size, ...]
    kernels_down: tuple[Kernels, ...]
    kernels_up: tuple[Kernels, ...]
    upsample_factors: tuple[Size, ...] = ()
    padded: bool = False
    attention: bool = False

    @property
    def levels(self) -> int:
        """Number of downsampling steps."""
        return len(self.downsample_factors)

    @property
    def dims(self) -> int:
        """Number of axes."""
        return len(self.downsample_factors[0])

    @property
    def kernels_after(self) -> Kernels:
        """Kernel sizes of each pass that follows an upsampling: two of size 3, whatever those of the U-Net are."""
        return ((3,) * self.dims,) * 2

    def stride(self, axis: int, level: int = 0) -> int:
        """Return the product of the downsample factors from a level down."""
        return math.prod(factors[axis] for factors in self.downsample_factors[level:])

    def enlargement(self, axis: int) -> int:
        """Return the number of output voxels per input voxel."""
        return math.prod(factors[axis] for factors in self.upsample_factors)

    def crop_size(self, axis: int, level: int, size: int) -> int:
        """Return the size to which feature maps are cropped after going up to a level.

        The size is reduced such that the pass at this level, without padding, leaves a multiple of the stride.
        Otherwise, shifting the input by the stride would not shift the output by the same step.
        """
        removed, stride = _removed(self.kernels_up[level], axis), self.stride(axis, level)
        return (size - removed) // stride * stride + removed

    def output_size(self, axis: int, size: int) -> int:
        """Return the size of the output along an axis.

        Args:
            axis: Index of the axis.
            size: Size of the input.

        Raises:
            UnusableSize: If the input is unsuitable; the message gives the level and the size there.
        """
        return self._pass(axis, size).output

    def _pass(self, axis: int, size: int) -> _Sizes:
        """Return the sizes on the way through the network."""
        levels = range(self.levels)
        skips, enlarged, cropped = ([0 for _ in levels] for _ in range(3))
        for level, factors in enumerate(self.downsample_factors):
            size = self._convolve(self.kernels_down[level], axis, size, f"level {level} on the way down")
            if size % factors[axis]:
                raise UnusableSize(
                    f"{size} voxels at level {level} on the way down cannot be divided by the downsample factor "
                    f"{factors[axis]}"
                )
            skips[level] = size
            size //= factors[axis]
        size = self._convolve(self.kernels_down[-1], axis, size, f"level {self.levels}, the lowest,")
        for level in reversed(levels):
            enlarged[level] = size * self.downsample_factors[level][axis]
            cropped[level] = self.crop_size(axis, level, enlarged[level])
            removed = _removed(self.kernels_up[level], axis)
            if cropped[level] <= removed:
                raise UnusableSize(
                    f"{enlarged[level]} voxels at level {level} on the way up are too few: its convolutions take "
                    f"{removed} and at least {self.stride(axis, level)} must be left"
                )
            size = self._convolve(self.kernels_up[level], axis, cropped[level], f"level {level} on the way up")
        for factors in self.upsample_factors:
            size = self._convolve(self.kernels_after, axis, size * factors[axis], "the enlarged level")
        return _Sizes(skips, enlarged, cropped, size)

    def is_usable(self, axis: int, size: int) -> bool:
        """Return whether an input of this size is usable."""
        try:
            self.output_size(axis, size)
        except UnusableSize:
            return False
        return True

    def find_problem(self, shape: Sequence[int]) -> str | None:
        """Explain why an input shape is unusable and suggest usable ones near it; None if it is usable."""
        problems = []
        for axis, size in enumerate(shape):
            try:
                self.output_size(axis, size)
            except UnusableSize as error:
                problems.append(f"axis {axis}: {error}")
        if not problems:
            return None
        return f"{'; '.join(problems)}. {self._suggest(shape)}"

    def halo(self, axis: int) -> int:
        """Return the number of input voxels that an output region needs beyond its ends, whatever its alignment."""
        size, enlargement = self._least_size(axis), self.enlargement(axis)
        lost = -(-(size * enlargement - self.output_size(axis, size)) // (2 * enlargement))
        if not self.padded:
            return lost
        needed = 0
        for voxel in range(self.stride(axis) * enlargement):
            low, high = self.sees(axis, voxel, voxel + 1)
            needed = max(needed, voxel // enlargement - low, high - -(-(voxel + 1) // enlargement))
        return max(lost, needed)

    def sees(self, axis: int, low: int, high: int) -> tuple[int, int]:
        """Return the input voxels from which the network computes the output voxels from ``low`` to ``high``.

        Both intervals count from the first voxel of an unbounded volume, with the output placed by `split_loss`, and
        exclude their end. At each level, both the skip connection and the way through the levels below are followed,
        including the cropping.
        """
        size = self._least_size(axis)
        sizes = self._pass(axis, size)
        before, _ = split_loss(size * self.enlargement(axis) - sizes.output)
        region = low - before, high - before
        for factors in reversed(self.upsample_factors):
            region = _shrink(self._grow(region, self.kernels_after, axis), factors[axis])
        skips = []
        for level, factors in enumerate(self.downsample_factors):
            region = self._grow(region, self.kernels_up[level], axis)
            skip = _shift(region, split_loss(sizes.skips[level] - sizes.cropped[level])[0])
            region = _shift(region, split_loss(sizes.enlarged[level] - sizes.cropped[level])[0])
            region = _shrink(region, factors[axis])
            if self.attention:
                # The gate is interpolated between the corner voxels, which shifts its grid by up to a voxel.
                weights = _shrink(skip, factors[axis])
                weights = weights[0] - 1, weights[1] + 1
                padding, _ = split_loss((sizes.skips[level] - sizes.enlarged[level]) // factors[axis])
                region = _union(region, _shift(weights, -padding))
                skip = _union(skip, _enlarge(weights, factors[axis]))
            skips.append(skip)
        region = self._grow(region, self.kernels_down[-1], axis)
        for level in reversed(range(self.levels)):
            region = _union(_enlarge(region, self.downsample_factors[level][axis]), skips[level])
            region = self._grow(region, self.kernels_down[level], axis)
        return region

    def _grow(self, region: tuple[int, int], kernels: Kernels, axis: int) -> tuple[int, int]:
        """Return the voxels from which convolutions compute a region."""
        # torch pads even kernels such that they reach one voxel further towards the end.
        before = sum((kernel[axis] - 1) // 2 for kernel in kernels) if self.padded else 0
        return region[0] - before, region[1] - before + _removed(kernels, axis)

    def _least_size(self, axis: int) -> int:
        """Return a small usable input size; all usable sizes differ by multiples of the stride."""
        return self.usable_size_from(axis, self.stride(axis))

    def _convolve(self, kernels: Kernels, axis: int, size: int, where: str) -> int:
        left = size if self.padded else size - _removed(kernels, axis)
        if left < 1:
            used = ", ".join(str(kernel[axis]) for kernel in kernels)
            raise UnusableSize(f"{size} voxels at {where} are too few for kernels of {used}")
        return left

    def usable_size_from(self, axis: int, size: int) -> int:
        """Return the smallest usable size that is not below the given one."""
        # Usable sizes repeat with the stride beyond some size, so the loop ends.
        return next(larger for larger in count(max(size, 1)) if self.is_usable(axis, larger))

    def _suggest(self, shape: Sequence[int]) -> str:
        above = [self.usable_size_from(axis, size) for axis, size in enumerate(shape)]
        below = [
            next((smaller for smaller in range(size, 0, -1) if self.is_usable(axis, smaller)), None)
            for axis, size in enumerate(shape)
        ]
        smaller = "no smaller one works" if None in below else f"{tuple(below)} is the next smaller one that works"
        return f"The next larger shape that works is {tuple(above)}, {smaller}"


def _removed(kernels: Kernels, axis: int) -> int:
    return sum(kernel[axis] - 1 for kernel in kernels)


def _enlarge(region: tuple[int, int], factor: int) -> tuple[int, int]:
    return region[0] * factor, region[1] * factor


def _shift(region: tuple[int, int], by: int) -> tuple[int, int]:
    return region[0] + by, region[1] + by


def _shrink(region: tuple[int, int], factor: int) -> tuple[int, int]:
    return region[0] // factor, -(-region[1] // factor)


def _union(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return min(one[0], other[0]), max(one[1], other[1])
