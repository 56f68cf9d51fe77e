"""Mirrored and transposed samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from dacapo.experiments.config import field

from ..torch_augments import Change, SampleRois, draw_flip
from .augment_config import AugmentConfig

if TYPE_CHECKING:
    import gunpowder as gp
    import numpy as np


@attrs.define
class SimpleAugmentConfig(AugmentConfig):
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
        """Return the fields that choose axes, by name, as far as they are given."""
        for name, axes in (("mirror_only", self.mirror_only), ("transpose_only", self.transpose_only)):
            if axes is not None:
                yield name, axes

    def node(
        self,
        _raw_key: gp.ArrayKey | None = None,
        _gt_key: gp.ArrayKey | None = None,
        _mask_key: gp.ArrayKey | None = None,
    ) -> Any:
        """Return the node, which acts on all arrays."""
        from dacapo.gp import SimpleAugment

        return SimpleAugment(
            mirror_only=self.mirror_only, transpose_only=self.transpose_only, mirror_probs=self.mirror_probs
        )

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on all arrays."""
        return draw_flip(wanted, rng, self.mirror_only, self.transpose_only, self.mirror_probs)
