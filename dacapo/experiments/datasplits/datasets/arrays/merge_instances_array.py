"""Several instance segmentations merged into one."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import ConfigError, DtypeError
from dacapo.experiments.config import field
from dacapo.utils.blocks import BlockGrid, fit_block_shape

from .array import ArrayConfig
from .view import VoxelwiseView, build_all

# Shape in voxels of the blocks in which the largest ids are determined.
_EDGE = 256


class MergeInstancesArray(VoxelwiseView):
    """Instances of all sources in one array of uint64, with the ids of each source shifted above those before it.

    Where instances of several sources overlap, the first source in the list wins. The shift depends on the largest ids
    in the roi that is read: within one read every instance has a unique id, but the same instance can have different
    ids in different reads. After :meth:`fix_labels` the shift depends on the largest ids in the whole array.
    """

    _highest: list[int] | None = None

    def __init__(self, array_config: MergeInstancesArrayConfig) -> None:
        """Build the sources.

        Raises:
            ConfigError: If the sources do not match, or some have channels and others do not.
            DtypeError: If a source does not hold labels.
        """
        super().__init__(array_config.name, build_all(array_config.source_array_configs))
        for source in self._sources:
            if source.dtype.kind not in "biu":
                raise DtypeError(f"{self}: {source} has data type {source.dtype}; expected integer labels")
            if source.axes != self._source.axes:
                raise ConfigError(
                    f"{self}: sources have the axes {self._source.axes} and {source.axes}; make them equal"
                )

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint64)

    def fix_labels(self) -> None:
        if self._highest is not None:
            return
        super().fix_labels()
        shape = fit_block_shape((_EDGE,), self.roi.shape / self.voxel_size)
        self._highest = [
            max(int(source[block].max(initial=0)) for block in BlockGrid(self.roi, shape * self.voxel_size))
            for source in self._sources
        ]

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        merged = np.zeros(values[0].shape, dtype=np.uint64)
        raised = 0
        for index, labels in enumerate(values):
            free = (labels > 0) & (merged == 0)
            merged[free] = labels[free].astype(np.uint64) + np.uint64(raised)
            raised += int(labels.max(initial=0)) if self._highest is None else self._highest[index]
        return merged


@attrs.define
class MergeInstancesArrayConfig(ArrayConfig):
    """Config of several instance segmentations merged into one."""

    array_type: ClassVar[type[MergeInstancesArray]] = MergeInstancesArray

    source_array_configs: list[ArrayConfig] = field("Arrays of instance ids; the first one wins where they overlap.")
