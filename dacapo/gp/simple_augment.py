"""Mirrored and transposed samples."""

from __future__ import annotations

from collections import Counter

import gunpowder as gp


class SimpleAugment(gp.SimpleAugment):  # type: ignore[misc]
    """Mirror and transpose at random, transposing only axes along which voxels have the same size."""

    transpose_only: list[int] | None

    def setup(self) -> None:
        """Leave out the axes that cannot be transposed without stretching the data."""
        sizes = [spec.voxel_size for _, spec in self.spec.items() if getattr(spec, "voxel_size", None) is not None]
        resolutions = list(zip(*sizes, strict=True))  # per axis, the voxel size of each array
        most_common = Counter(resolutions).most_common(1)[0][0]
        allowed = [axis for axis, resolution in enumerate(resolutions) if resolution == most_common]
        chosen = range(len(resolutions)) if self.transpose_only is None else self.transpose_only
        self.transpose_only = [axis for axis in chosen if axis in allowed]
        super().setup()
