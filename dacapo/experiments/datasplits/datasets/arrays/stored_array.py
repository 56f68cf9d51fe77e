"""An array found in a container, by the metadata of its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dacapo.utils.paths import is_url, shown

from .remote import in_memory
from .remote_files import is_writable_place

WRITABLE = ("zarr2", "zarr3")


@dataclass(frozen=True)
class StoredArray:
    """An array found in a container, not yet opened."""

    container: Path
    dataset: str
    format: str
    """``zarr2``, ``zarr3``, ``n5`` or ``neuroglancer_precomputed``."""
    header: Mapping[str, Any]
    """The format's own metadata: shape, chunks and data type."""
    attributes: Mapping[str, Any]

    @property
    def where(self) -> str:
        """Container and dataset, for messages."""
        return shown(self.container / self.dataset)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.header["dimensions" if self.format == "n5" else "shape"])

    @property
    def is_opened_by_zarr(self) -> bool:
        """Whether Zarr reads and writes it, and not TensorStore: on a disk, or in memory."""
        return self.format == "zarr2" and (not is_url(self.container) or in_memory(self.container))

    @property
    def is_writable(self) -> bool:
        """Whether its format and place can be written."""
        return self.format in WRITABLE and (is_writable_place(self.container) or self.is_opened_by_zarr)

    @property
    def path(self) -> Path:
        """Folder of the array."""
        return self.container / self.dataset
