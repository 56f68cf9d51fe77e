"""Writing the precomputed format of neuroglancer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays.precomputed import PRECOMPUTED

from .layout import Layout
from .tensorstore_files import open_files, write_files
from .writers import Writer

TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32")
_CORNERS = [8, 8, 8]  # of the blocks of compressed labels, as neuroglancer's own writers choose them


class PrecomputedWriter(Writer):
    """A folder with a file ``info`` and a folder for each level. The datasets are the names of levels."""

    suffixes: ClassVar[tuple[str, ...]] = (".precomputed",)
    holds_datasets = False
    has_levels = True
    _opened: Any = None

    @classmethod
    def can_hold(cls, layout: Layout) -> bool:
        """Return whether the array begins at a whole voxel."""
        return not any(layout.roi.offset % layout.voxel_size)

    def create(self) -> None:
        layout = self.layout
        dtype = self._dtype()
        if layout.axes[-3:] != ["z", "y", "x"]:
            raise ConfigError(f"precomputed volumes have the axes z, y, x, and c for channels; got {layout.axes}")
        if dtype.name not in TYPES:
            raise ConfigError(f"precomputed volumes hold {', '.join(TYPES)}, not {dtype}; convert the values first")
        if "" in layout.world.units:
            raise ConfigError(
                "precomputed volumes have sizes in nanometers, but the unit of the array is unknown; give it"
            )
        is_labels = dtype.name in ("uint32", "uint64")
        compressed = {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": _CORNERS}
        size, offset = layout.world.in_nanometers(layout.voxel_size), layout.roi.offset
        if not self.can_hold(layout):
            raise ConfigError(
                f"precomputed volumes begin at whole voxels, but the offset {offset} is no multiple of the voxel size "
                f"{layout.voxel_size}; give another with offset"
            )
        open_files(
            PRECOMPUTED,
            self.path,
            {
                "multiscale_metadata": {
                    "type": "segmentation" if is_labels else "image",
                    "data_type": dtype.name,
                    "num_channels": layout.channels or 1,
                },
                "scale_metadata": {
                    "key": self.dataset,
                    "size": [int(n) for n in layout.shape[:-4:-1]],
                    "resolution": [float(n) for n in size[::-1]],
                    "voxel_offset": [int(n) for n in (offset / layout.voxel_size)[::-1]],
                    "chunk_size": [int(n) for n in layout.chunks[:-4:-1]],
                    **(compressed if is_labels else {"encoding": "raw"}),
                },
            },
            create=True,
            open=True,  # a process may have died after it
        )

    def write(self, index: tuple[slice, ...], values: npt.NDArray[Any]) -> None:
        import tensorstore

        if self._opened is None:
            opened = open_files(PRECOMPUTED, self.path, {"scale_metadata": {"key": self.dataset}}, open=True)
            self._opened = opened.T[tensorstore.d[:].translate_to[0]]  # from the slowest axis, beginning at 0
        place = index if self.layout.channels is not None else (slice(0, 1), *index)
        stored = values.astype(self._dtype(), copy=False)
        write_files(self.path, self._opened[place], stored if self.layout.channels is not None else stored[None])

    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8) if self.layout.dtype == np.bool_ else self.layout.dtype
