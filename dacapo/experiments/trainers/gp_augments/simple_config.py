"""Mirrored and transposed samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError
from dacapo.experiments.config import field

from .augment_config import GeometryAugmentConfig
from .change import Change, SampleRois

if TYPE_CHECKING:
    import numpy as np


@attrs.define
class Flip(Change):
    """Mirrored and transposed samples.

    Attributes:
        mirrored: Whether each spatial axis is mirrored; this comes first.
        order: For each axis of the result, the axis it came from.
    """

    mirrored: Sequence[bool]
    order: Sequence[int]

    def raw(self, values: torch.Tensor) -> torch.Tensor:
        """Mirror and transpose."""
        return self.labels(values)

    def labels(self, values: torch.Tensor) -> torch.Tensor:
        """Mirror and transpose."""
        leading = values.ndim - len(self.order)
        axes = [leading + axis for axis, mirror in enumerate(self.mirrored) if mirror]
        return values.flip(axes).permute(*range(leading), *(leading + axis for axis in self.order))


def draw_flip(
    wanted: SampleRois,
    rng: np.random.Generator,
    mirror_only: Sequence[int] | None,
    transpose_only: Sequence[int] | None,
    mirror_probs: Sequence[float] | None,
) -> Flip:
    """Draw how to mirror and transpose; only axes along which voxels have the same size are transposed.

    Raises:
        ConfigError: If there are not as many probabilities as axes.
    """
    dims = wanted.dims
    probabilities = [0.5] * dims if mirror_probs is None else list(mirror_probs)
    if len(probabilities) != dims:
        raise ConfigError(f"mirror_probs is {probabilities}, but the samples have {dims} spatial axes; give one each")
    mirrored = [
        bool(rng.random() < probabilities[axis]) and (mirror_only is None or axis in mirror_only)
        for axis in range(dims)
    ]
    axes = _transposable(wanted, transpose_only)
    order = list(range(dims))
    for axis, source in zip(axes, rng.permutation(axes).tolist(), strict=True):
        order[axis] = source
    return Flip(_before_flip(wanted, mirrored, order), mirrored, order)


def _transposable(wanted: SampleRois, transpose_only: Sequence[int] | None) -> list[int]:
    """Return the chosen axes, all by default, of the most common voxel size."""
    sizes = list(zip(wanted.raw_voxel_size, wanted.label_voxel_size, strict=True))
    most_common = Counter(sizes).most_common(1)[0][0]
    chosen = range(wanted.dims) if transpose_only is None else transpose_only
    return [axis for axis in chosen if axis < wanted.dims and sizes[axis] == most_common]


def _before_flip(wanted: SampleRois, mirrored: Sequence[bool], order: Sequence[int]) -> SampleRois:
    """Return the regions of a sample before it is mirrored and then transposed as a whole."""
    back = [order.index(axis) for axis in range(wanted.dims)]
    total = wanted.total
    center = total.center - Coordinate(c % s for c, s in zip(total.center, wanted.step, strict=True))

    def transposed(roi: Roi) -> Roi:
        to_center = center - roi.offset
        return Roi(center - Coordinate(to_center[a] for a in back), Coordinate(roi.shape[a] for a in back))

    rois = _each_roi(wanted, transposed)
    whole = rois.total

    def mirror(roi: Roi) -> Roi:
        opposite = whole.begin + whole.end - roi.end
        offset = (o if m else b for m, o, b in zip(mirrored, opposite, roi.begin, strict=True))
        return Roi(Coordinate(offset), roi.shape)

    return _each_roi(rois, mirror)


def _each_roi(rois: SampleRois, change: Callable[[Roi], Roi]) -> SampleRois:
    return attrs.evolve(rois, raw=change(rois.raw), labels=change(rois.labels), mask=change(rois.mask))


@attrs.define
class SimpleAugmentConfig(GeometryAugmentConfig):
    """Mirror and transpose samples at random. Axes of different voxel size are never transposed."""

    mirror_only: list[int] | None = field("The axes that may be mirrored, counted from 0; None is all.", default=None)
    transpose_only: list[int] | None = field(
        "The axes that may be transposed, counted from 0; None is all of the most common voxel size.", default=None
    )
    mirror_probs: list[float] | None = field(
        "Probability of mirroring, one value per axis; None is 0.5 for each.", default=None
    )

    def problem(self) -> str | None:
        """Return what is wrong with the values, or None."""
        for name, axes in self._chosen():
            if min(axes, default=0) < 0:
                return f"{name} is {axes}, but axes are counted from 0"
            if len(set(axes)) < len(axes):
                return f"{name} is {axes}, but each axis may be named once"
        if self.mirror_probs is not None and not all(0 <= p <= 1 for p in self.mirror_probs):
            return f"mirror_probs is {self.mirror_probs}, but probabilities lie between 0 and 1"
        return None

    def misfit(self, dims: int) -> str | None:
        """Return why samples of this many spatial axes cannot be changed with these values, or None."""
        for name, axes in self._chosen():
            if max(axes, default=0) >= dims:
                return (
                    f"{name} is {axes}, but the samples have {dims} spatial axes; name some of {list(range(dims))}, "
                    "channels are not counted"
                )
        if self.mirror_probs is not None and len(self.mirror_probs) != dims:
            return f"mirror_probs is {self.mirror_probs}, but the samples have {dims} spatial axes; give one each"
        return None

    def _chosen(self) -> Iterator[tuple[str, list[int]]]:
        """Return the given fields that choose axes, by name."""
        for name, axes in (("mirror_only", self.mirror_only), ("transpose_only", self.transpose_only)):
            if axes is not None:
                yield name, axes

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on all arrays."""
        return draw_flip(wanted, rng, self.mirror_only, self.transpose_only, self.mirror_probs)
