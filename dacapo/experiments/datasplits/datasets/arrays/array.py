"""The interface of all arrays: values on a voxel grid with a place in the world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, RoiError
from dacapo.experiments.config import Config, configs_inside, field, verify_by_building
from dacapo.utils.byte_order import native
from dacapo.utils.html import html_table
from dacapo.utils.padding import read_reflected, read_zero_padded

from .as_numpy import array_facts, indexed_by_voxels, read_whole, to_xarray
from .axes import NON_SPATIAL_AXES
from .viewing import neuroglancer_layer, neuroglancer_source
from .voxel_reader import VoxelReader
from .world import World

if TYPE_CHECKING:
    import xarray as xr


class Array(ABC):
    """Values on a regular grid, addressed by rois in world units.

    A roi has one entry per spatial axis, in the order of the spatial axes in :attr:`axes`. The grid starts at
    ``roi.offset``, which need not be a multiple of the voxel size.

    Integers and slices count voxels instead, as in NumPy: ``array[0:10]`` reads the first ten sections, ``len`` is the
    length of the first axis, and ``np.asarray(array)`` reads everything.
    """

    name: str = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the subclass, which reads rois, take indices of voxels too."""
        super().__init_subclass__(**kwargs)
        if "__getitem__" in vars(cls):
            setattr(cls, "__getitem__", indexed_by_voxels(vars(cls)["__getitem__"]))  # noqa: B010  # for mypy

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name!r}" if self.name else type(self).__name__

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in array_facts(self))
        return f"<{self}: {facts}>"

    def _repr_html_(self) -> str:
        """Return a table of what is known without reading voxels, for notebooks."""
        return html_table(str(self), [], [*array_facts(self), ("class", type(self).__name__)])

    @property
    @abstractmethod
    def attrs(self) -> Mapping[str, Any]:
        """Attributes stored beside the array."""
        raise NotImplementedError

    @property
    @abstractmethod
    def axes(self) -> list[str]:
        """Names of the axes in the order of the data; ``c`` is channels, ``b`` batch, all others are spatial."""
        raise NotImplementedError

    @property
    @abstractmethod
    def dims(self) -> int:
        """Number of spatial axes."""
        raise NotImplementedError

    @property
    @abstractmethod
    def voxel_size(self) -> Coordinate:
        """Size of a voxel in world units, per spatial axis."""
        raise NotImplementedError

    @property
    @abstractmethod
    def roi(self) -> Roi:
        """Region of the world that the array covers, in world units."""
        raise NotImplementedError

    @property
    def world(self) -> World:
        """What world coordinates count; by default nothing is known of it."""
        return World.unknown(self.dims)

    @property
    def units(self) -> list[str]:
        """Unit of each spatial axis; empty strings for pixels, or if unknown."""
        return list(self.world.units)

    @property
    def spacing(self) -> tuple[int | float, ...]:
        """Size of a voxel in :attr:`units`, per spatial axis.

        It differs from :attr:`voxel_size` where world coordinates count a part of the unit, see :mod:`.world`.
        """
        return self.world.in_units(self.voxel_size)

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Data type of the values that reading returns, in the byte order of this machine."""
        raise NotImplementedError

    @property
    @abstractmethod
    def num_channels(self) -> int | None:
        """Length of the channel axis, None without one."""
        raise NotImplementedError

    @property
    @abstractmethod
    def data(self) -> Any:
        """All values, as an object that numpy can slice; lazy if the array is on disk."""
        raise NotImplementedError

    @property
    @abstractmethod
    def writable(self) -> bool:
        """Whether ``array[roi] = value`` works."""
        raise NotImplementedError

    @property
    def chunk_shape(self) -> tuple[int, ...] | None:
        """Shape of the chunks that are decoded as a whole, axes as in :attr:`axes`; None without chunks."""
        return None

    @property
    def is_stored(self) -> bool:
        """Whether reading waits for a disk or a network, and works in several threads at once."""
        return False

    def fix_labels(self) -> None:  # noqa: B027  # most arrays have nothing to do
        """Make labels denote the same object in every subsequent read, if they do not already.

        May read all voxels once, block by block.
        """

    @property
    def channel_axis(self) -> int | None:
        """Position of the channel axis in :attr:`axes`, None without one."""
        return self.axes.index("c") if "c" in self.axes else None

    @indexed_by_voxels
    def __getitem__(self, roi: Any) -> np.ndarray[Any, Any]:
        """Read the values in a roi, or those at an index of voxels.

        Args:
            roi: In world units, on the voxel grid and inside :attr:`roi`. Or integers, slices and an ellipsis, which
                count voxels along :attr:`axes` from the first one, as in NumPy.

        Returns:
            The values, with all axes of :attr:`axes` but those that an integer indexes, and of data type :attr:`dtype`.

        Raises:
            RoiError: If the roi is not on the grid or extends outside.
        """
        return native(np.asarray(self.data[self.slices(roi)]))

    def __len__(self) -> int:
        """Return the number of voxels along the first axis."""
        return VoxelReader(self).shape[0]

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the sections along the first axis; each is read when its turn comes."""
        return (self[number] for number in range(len(self)))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Read all voxels.

        Raises:
            MemoryBudgetError: If they need more memory than is available.
            ValueError: If they are not to be copied, which reading does.
        """
        if copy is False:
            raise ValueError(f"{self} is read into new memory; leave out copy=False, or take array.data")
        values = read_whole(self)
        return np.array(values, dtype=dtype) if copy else np.asarray(values, dtype=dtype)

    def to_xarray(self, lazy: bool = False) -> xr.DataArray:
        """Return an xarray, with the names of the axes, and the positions of voxels in their unit as coordinates.

        A position is that of the corner of a voxel, as in :attr:`roi`.

        Args:
            lazy: Whether to read voxels when they are needed, which needs dask.

        Raises:
            MemoryBudgetError: If all voxels need more memory than is available, without ``lazy``.
            MissingDependencyError: If ``lazy`` is set and dask is not installed.
        """
        return to_xarray(self, lazy)

    def read_padded(self, roi: Roi, padding: Literal["reflect", "zero"] = "reflect") -> np.ndarray[Any, Any]:
        """Read the values in a roi that may extend beyond the array. Only the necessary part of the array is read.

        Args:
            roi: In world units, on the voxel grid.
            padding: Whether voxels outside mirror those inside, or are 0.

        Returns:
            The values, with all axes of :attr:`axes`.

        Raises:
            RoiError: If the roi is not on the grid.
        """
        return read_reflected(self, roi) if padding == "reflect" else read_zero_padded(self, roi)

    def neuroglancer_source(self) -> Any:
        """Return a volume for a neuroglancer viewer; see :func:`.viewing.neuroglancer_source`.

        Raises:
            MissingDependencyError: If neuroglancer is not installed.
        """
        return neuroglancer_source(self)

    def _can_neuroglance(self) -> bool:
        """Return whether a viewer can show this array."""
        return True

    def _neuroglancer_source(self) -> Any:
        """Return the source of voxels for a viewer."""
        return self.neuroglancer_source()

    def _neuroglancer_layer(self) -> Any:
        """Return a layer for a neuroglancer viewer; see :func:`.viewing.neuroglancer_layer`."""
        return neuroglancer_layer(self, self._neuroglancer_source())

    def _source_name(self) -> str:
        """Return the name of the layer."""
        return self.name

    def slices(self, roi: Roi) -> tuple[slice, ...]:
        """Return the index into the data for a roi, one slice per axis.

        Raises:
            RoiError: If the roi is not on the grid or extends outside.
        """
        self.check_roi(roi)
        begin = (roi.offset - self.roi.offset) / self.voxel_size
        shape = roi.shape / self.voxel_size
        spatial = iter([slice(int(b), int(b + s)) for b, s in zip(begin, shape, strict=True)])
        return tuple(slice(None) if axis in NON_SPATIAL_AXES else next(spatial) for axis in self.axes)

    def check_roi(self, roi: Roi) -> None:
        """Raise an error unless a roi lies on the voxel grid and inside the array."""
        mine = self.roi
        if roi.dims != mine.dims:
            raise RoiError(f"{self}: roi {roi} has {roi.dims} dimensions, the array has {mine.dims} ({mine})")
        if None in roi.offset or None in roi.shape:
            raise RoiError(f"{self}: roi {roi} has no bounds; give one inside {mine}")
        problems = []
        if any((roi.offset - mine.offset) % self.voxel_size) or any(roi.shape % self.voxel_size):
            problems.append(
                f"not aligned to the voxel grid (voxel size {self.voxel_size}, starting at {mine.offset}); "
                "use roi.snap_to_grid"
            )
        if any(a < b for a, b in zip(roi.begin, mine.begin, strict=True)) or any(
            a > b for a, b in zip(roi.end, mine.end, strict=True)
        ):
            problems.append(f"not inside the array's roi {mine}; use roi.intersect")
        if problems:
            raise RoiError(f"{self}: roi {roi} is {' and '.join(problems)}")


@attrs.define
class ArrayConfig(Config):
    """Base class of the configs of arrays; ``config.array_type(config)`` builds the array."""

    array_type: ClassVar[type[Any]]

    is_as_stored: ClassVar[bool] = False
    """Whether values are the unchanged content of a file, so that a new volume can replace this array."""

    name: str = field("Name of the array, for messages and as the key of its config in a store.", alters_training=False)

    def stated_metadata(self) -> frozenset[str]:
        """Return which of ``axes``, ``voxel_size`` and ``offset`` the source itself states; reads no voxels."""
        return frozenset(("axes", "voxel_size", "offset", "unit"))

    def counted_in(self, unit: str) -> ArrayConfig:
        """Return the config of the same array with world coordinates that count another unit.

        Args:
            unit: Such as ``0.01 nm``; a part of what they count now.

        Raises:
            ConfigError: If the array, or one that it is computed from, cannot be counted in another unit.
        """
        if not any(isinstance(inner, ArrayConfig) for _, inner in configs_inside(self)):
            raise ConfigError(
                f"array {self.name!r} is used with arrays whose world coordinates count {unit!r}, because they have "
                f"fractional voxel sizes or other units; a {type(self).__name__} cannot be counted in that"
            )
        return map_inner(self, lambda inner: inner.counted_in(unit))

    def verify(self) -> tuple[bool, str]:
        """Check that the array can be built. Opens files and reads their metadata, but no voxels."""
        return verify_by_building(self, self.array_type)


def map_inner(config: ArrayConfig, change: Callable[[ArrayConfig], ArrayConfig]) -> ArrayConfig:
    """Return a config with the array configs in its fields replaced."""

    def changed(value: Any) -> Any:
        if isinstance(value, ArrayConfig):
            return change(value)
        if isinstance(value, dict):
            return {key: changed(entry) for key, entry in value.items()}
        return type(value)(map(changed, value)) if type(value) in (list, tuple) else value

    fields = [field for field in attrs.fields(type(config)) if field.init]
    return attrs.evolve(config, **{str(field.alias): changed(getattr(config, field.name)) for field in fields})
