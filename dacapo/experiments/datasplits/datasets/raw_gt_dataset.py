"""A dataset with raw data, ground truth and a mask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import attrs
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.config import field

from .arrays import Array, ArrayConfig
from .arrays.world import common_unit
from .common_world import counted_in
from .dataset import Dataset, DatasetConfig


class RawGTDataset(Dataset):
    """Raw data with ground truth and a mask of where the ground truth is reliable.

    Construction opens files and checks them against each other; it reads no voxels.
    """

    def __init__(self, dataset_config: RawGTDatasetConfig) -> None:
        """Build the arrays.

        Raises:
            ConfigError: If raw data is missing, or the arrays do not match: along each axis, one of the voxel sizes of
                raw and ground truth must be a multiple of the other, all arrays must overlap, and the mask must have
                the ground truth's voxel size.
        """
        self.config = dataset_config
        self.name = dataset_config.name
        self.weight = dataset_config.weight
        self.sample_points = dataset_config.sample_points
        if dataset_config.raw_config is None:
            raise ConfigError(f"dataset {self.name!r} has no raw_config; a dataset needs raw data")
        self.raw, self.gt, self.mask = _arrays(dataset_config)
        unit = common_unit([array.world for array in (self.raw, self.gt, self.mask) if array is not None])
        if unit is not None:
            dataset_config = counted_in(dataset_config, unit)
            self.config, self.sample_points = dataset_config, dataset_config.sample_points
            self.raw, self.gt, self.mask = _arrays(dataset_config)
        self._check_weight()
        self._check_gt()
        self._check_mask()
        self._check_sample_points()

    def _check_weight(self) -> None:
        if self.weight < 0:
            raise ConfigError(f"dataset {self.name!r}: weight is {self.weight}; expected 0 or more")

    def _check_gt(self) -> None:
        if self.gt is None:
            return
        self._check_overlap("raw", self.raw, "gt", self.gt)
        pairs = list(zip(self.raw.voxel_size, self.gt.voxel_size, strict=True))
        if any(max(pair) % min(pair) for pair in pairs):
            raise ConfigError(
                f"dataset {self.name!r}: voxel size is {self.raw.voxel_size} for raw, {self.gt.voxel_size} for gt; "
                "along each axis one must be a multiple of the other; resample one of them"
            )

    def _check_mask(self) -> None:
        if self.mask is None:
            return
        if self.gt is None:
            raise ConfigError(f"dataset {self.name!r} has a mask but no gt")
        self._check_overlap("gt", self.gt, "mask", self.mask)
        if self.mask.voxel_size != self.gt.voxel_size:
            raise ConfigError(
                f"dataset {self.name!r}: voxel size is {self.gt.voxel_size} for gt, {self.mask.voxel_size} for mask; "
                "they must be equal; resample one of them"
            )

    def _check_overlap(self, first_name: str, first: Array, second_name: str, second: Array) -> None:
        if first.dims != second.dims:
            raise ConfigError(
                f"dataset {self.name!r}: {first_name} has {first.dims} spatial axes ({first.axes}), "
                f"{second_name} has {second.dims} ({second.axes}); expected the same number"
            )
        if first.roi.intersect(second.roi).empty:
            raise ConfigError(
                f"dataset {self.name!r}: {first_name} covers {first.roi}, {second_name} covers {second.roi}; "
                "they do not overlap; check offsets and voxel sizes"
            )

    def _check_sample_points(self) -> None:
        region = self.raw.roi if self.gt is None else self.gt.roi
        for point in self.sample_points or []:
            if len(point) != region.dims or not region.contains(point):
                raise ConfigError(
                    f"dataset {self.name!r}: sample point {point} does not lie in "
                    f"{'raw' if self.gt is None else 'gt'}, which covers {region}"
                )


def _arrays(config: RawGTDatasetConfig) -> tuple[Array, Array | None, Array | None]:
    """Build raw data, ground truth and mask of a config that has raw data."""
    configs = (config.raw_config, config.gt_config, config.mask_config)
    raw, gt, mask = (None if part is None else part.array_type(part) for part in configs)
    assert raw is not None
    return raw, gt, mask


def _coordinates(points: Iterable[Any] | None) -> list[Coordinate] | None:
    return None if points is None else [Coordinate(point) for point in points]


@attrs.define
class RawGTDatasetConfig(DatasetConfig):
    """Config of a dataset with raw data, ground truth and a mask."""

    dataset_type: ClassVar[type[RawGTDataset]] = RawGTDataset

    raw_config: ArrayConfig | None = field("The raw data; required.", default=None)
    gt_config: ArrayConfig | None = field("The ground truth.", default=None)
    mask_config: ArrayConfig | None = field("Mask of the reliable ground truth; by default all of it.", default=None)
    sample_points: list[Coordinate] | None = field(
        "Centers of training samples, in world units; by default anywhere.",
        default=None,
        converter=_coordinates,
    )
