"""The regions of a training sample, and checks that datasets can provide them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ChannelMismatchError, ConfigError, DtypeError, InputTooSmallError, RoiError
from dacapo.experiments.datasplits.datasets.arrays.world import World
from dacapo.utils.wording import in_channels

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.datasplits.datasets.arrays import Array
    from dacapo.experiments.model import Model


@attrs.frozen
class SampleRegions:
    """The regions of a sample in world units, relative to its input.

    Attributes:
        raw_roi: The input of the network, which begins at 0.
        target_roi: The prediction of the network, in the middle of the input; see `Model.context`.
        voxel_size: Voxel size of the input.
        target_voxel_size: Voxel size of the prediction.
        world: The unit of world coordinates.
    """

    raw_roi: Roi
    target_roi: Roi
    voxel_size: Coordinate
    target_voxel_size: Coordinate
    world: World = attrs.field(default=attrs.Factory(lambda self: World.unknown(self.raw_roi.dims), takes_self=True))


def sample_regions(model: Model, voxel_size: Coordinate) -> SampleRegions:
    """Return the regions of the samples for a network.

    Args:
        model: The network.
        voxel_size: Voxel size of the input in world units.

    Raises:
        ConfigError: If the prediction is larger than the input, or the voxel size has another number of axes.
    """
    raw_roi = Roi((0,) * voxel_size.dims, model.input_shape * voxel_size)
    before, after = model.context(voxel_size)
    return SampleRegions(raw_roi, raw_roi.grow(-before, -after), voxel_size, model.scale(voxel_size))


@attrs.frozen
class DatasetRegions:
    """The part of a dataset that can be sampled, in world units.

    Attributes:
        origin: The point that locations are relative to, a corner of a voxel of raw data and of ground truth.
        labeled: The part of the ground truth that has raw data.
    """

    origin: Coordinate
    labeled: Roi


def check_datasets(datasets: Sequence[Dataset], model: Model, min_masked: float) -> SampleRegions:
    """Check that a network can be trained on datasets, without reading voxels.

    Returns:
        The regions of a sample.

    Raises:
        ConfigError: If there are no datasets, or dimensions or voxel sizes do not match.
        ChannelMismatchError: If raw data has another number of channels than the network takes.
        DtypeError: If ground truth is of a floating point type.
        InputTooSmallError: If no sample of a dataset can have enough ground truth.
        RoiError: If ground truth and raw data of a dataset do not overlap.
    """
    if not datasets:
        raise ConfigError("there are no datasets to train on; give the data split at least one for training")
    if sum(dataset.weight for dataset in datasets) <= 0 or min(dataset.weight for dataset in datasets) < 0:
        raise ConfigError(
            f"dataset weights are {[dataset.weight for dataset in datasets]}; none may be negative, and not all 0"
        )
    for dataset in datasets:
        _check_dimensions(dataset, model)
    raw = datasets[0].raw
    regions = attrs.evolve(sample_regions(model, raw.voxel_size), world=raw.world)
    for dataset in datasets:
        _check_arrays(dataset, model, regions)
        _check_extent(dataset, regions, min_masked)
    return regions


def _ground_truth(dataset: Dataset) -> Array:
    if dataset.gt is None:
        raise ConfigError(
            f"{dataset} has no ground truth to train on; give it a gt_config, or leave it out of training"
        )
    return dataset.gt


def _check_dimensions(dataset: Dataset, model: Model) -> None:
    gt = _ground_truth(dataset)
    for name, array in (("raw data", dataset.raw), ("ground truth", gt), ("the mask", dataset.mask)):
        if array is not None and array.dims != model.architecture.dims:
            raise ConfigError(
                f"{name} of {dataset} has {array.dims} spatial axes {array.axes}, "
                f"the network takes {model.architecture.dims}D input"
            )


def _check_arrays(dataset: Dataset, model: Model, regions: SampleRegions) -> None:
    raw, gt = dataset.raw, _ground_truth(dataset)
    channels = 1 if raw.channel_axis is None else raw.num_channels
    if channels != model.num_in_channels:
        raise ChannelMismatchError(
            f"raw data of {dataset} has {in_channels(channels)}, the network takes {model.num_in_channels}; "
            "change the architecture's number of input channels or the raw array"
        )
    if raw.voxel_size != regions.voxel_size or raw.world.parts != regions.world.parts:
        raise ConfigError(
            f"raw data of {dataset} has voxel size {raw.spacing}, that of the first dataset "
            f"{regions.world.in_units(regions.voxel_size)}; all datasets of a run need the same, resample some"
        )
    for name, array in (("ground truth", gt), ("the mask", dataset.mask)):
        if array is not None and array.voxel_size != regions.target_voxel_size:
            raise ConfigError(
                f"{name} of {dataset} has voxel size {array.voxel_size}, but for raw voxels of {raw.voxel_size} the "
                f"network predicts voxels of {regions.target_voxel_size}; resample one of them"
            )
    if gt.dtype.kind not in "biu":
        raise DtypeError(
            f"ground truth of {dataset} has type {gt.dtype}; labels must be integers (or bool), convert them first"
        )


def _check_extent(dataset: Dataset, regions: SampleRegions, min_masked: float) -> None:
    gt = _ground_truth(dataset)
    labeled = dataset_regions(dataset, regions).labeled
    if labeled.size == 0:
        raise RoiError(f"ground truth of {dataset} at {gt.roi} has no raw data, which is at {dataset.raw.roi}")
    if dataset.mask is not None and dataset.mask.roi.intersect(labeled).size == 0:
        raise RoiError(f"the mask of {dataset} at {dataset.mask.roi} is outside of its ground truth at {labeled}")
    target = regions.target_roi.shape
    filled = math.prod(min(1.0, have / want) for have, want in zip(labeled.shape, target, strict=True))
    if filled < min_masked:
        raise InputTooSmallError(
            f"{dataset} has ground truth with raw data in {labeled}, which fills at most {filled:.3f} of a sample of "
            f"{target} world units, less than min_masked = {min_masked}; use a smaller network input, lower min_masked "
            "or leave the dataset out"
        )
    outside = [point for point in dataset.sample_points or [] if not labeled.contains(Coordinate(point))]
    if outside:
        raise ConfigError(
            f"sample points {outside[:5]} of {dataset} lie outside of its ground truth with raw data, {labeled} "
            "(points are in world units)"
        )


def dataset_regions(dataset: Dataset, regions: SampleRegions) -> DatasetRegions:
    """Return the part of a dataset that can be sampled.

    Raises:
        ConfigError: If the voxels of raw data and ground truth do not line up.
    """
    raw, gt = dataset.raw.roi, _ground_truth(dataset).roi
    # Offsets need not be multiples of the voxel size, as long as both grids have common corners.
    origin = Coordinate(
        r if raw_size >= gt_size else g
        for r, g, raw_size, gt_size in zip(
            raw.offset, gt.offset, regions.voxel_size, regions.target_voxel_size, strict=True
        )
    )
    if any((raw.offset - origin) % regions.voxel_size) or any((gt.offset - origin) % regions.target_voxel_size):
        raise ConfigError(
            f"voxels of raw data and ground truth of {dataset} do not line up: they begin at {raw.offset} and "
            f"{gt.offset}, with sizes {regions.voxel_size} and {regions.target_voxel_size}; correct an offset"
        )
    common = raw.intersect(gt) - origin
    if common.size > 0:
        common = common.snap_to_grid(regions.target_voxel_size, mode="shrink")
    return DatasetRegions(origin, common + origin)
