"""The data of the demo: synthetic tissue, or a volume of the user cut into three parts."""

from __future__ import annotations

import itertools
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, DtypeError, RoiError
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    ArrayConfig,
    CropArrayConfig,
    IntensitiesArrayConfig,
    ZarrArray,
    ZarrArrayConfig,
    config_for,
)
from dacapo.experiments.datasplits.datasets.arrays.opener import identifier_of
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.store.array_store import LocalArrayIdentifier

from .tissue import synthetic_tissue

logger = logging.getLogger(__name__)

# Shapes of the synthetic volumes in voxels; their order determines the seeds.
SHAPES: Mapping[str, Sequence[int]] = {"train": (96, 160, 160), "validate": (60, 80, 80), "unseen": (64, 160, 160)}
VOXEL_SIZE = Coordinate(8, 8, 8)  # nm

# Fractions of a user's volume for training and validation; the demo segments the rest.
TRAIN_PART, VALIDATE_PART = 0.6, 0.2
LARGEST_SCORED = {2: 512, 3: 96}  # voxels per axis, by number of axes; limits the time for scoring
PERCENTILES = (0.5, 99.5)


@attrs.frozen
class DemoData:
    """The data for training, validation and segmentation.

    Attributes:
        train: Training data.
        validate: Validation data, which selects checkpoint and parameters.
        unseen_raw: The volume to segment.
        unseen_truth: Its labels, for scoring.
        unseen_roi: The part of it to segment; None for the whole volume.
        smallest_shape: Per axis, the smallest extent of the raw data over all parts, in voxels.
        voxel_size: In world units.
        channels: Number of channels of the raw data.
        unit: Unit of world coordinates.
        origin: Source of the raw data, if worth mentioning.
    """

    train: RawGTDatasetConfig
    validate: RawGTDatasetConfig
    unseen_raw: LocalArrayIdentifier
    unseen_truth: ArrayConfig
    unseen_roi: Roi | None
    smallest_shape: Coordinate
    voxel_size: Coordinate
    channels: int = 1
    unit: str = "nm"
    origin: str = ""


def synthetic_data(folder: Path, shapes: Mapping[str, Sequence[int]]) -> DemoData:
    train, validate_, _ = (_dataset(part, folder / f"{part}.zarr", "raw", "labels") for part in shapes)
    return DemoData(
        train=train,
        validate=validate_,
        unseen_raw=LocalArrayIdentifier(folder / "unseen.zarr", "raw"),
        unseen_truth=ZarrArrayConfig(
            name="unseen_labels", file_name=folder / "unseen.zarr", dataset="labels", mode="r"
        ),
        unseen_roi=None,
        smallest_shape=Coordinate(np.min(list(shapes.values()), axis=0).tolist()),
        voxel_size=VOXEL_SIZE,
        origin="synthetic tissue",
    )


def _dataset(name: str, container: Path, raw: str, labels: str) -> RawGTDatasetConfig:
    return RawGTDatasetConfig(
        name=name,
        raw_config=_scaled(ZarrArrayConfig(name=f"{name}_raw", file_name=container, dataset=raw, mode="r"), 0, 255),
        gt_config=ZarrArrayConfig(name=f"{name}_labels", file_name=container, dataset=labels, mode="r"),
    )


def _scaled(source: ArrayConfig, low: float, high: float) -> ArrayConfig:
    """Scale a range to -1..1: networks learn faster from values around 0."""
    middle = (low + high) / 2  # maps to 0, the upper end maps to 1
    return IntensitiesArrayConfig(name=f"{source.name}_scaled", source_array_config=source, min=middle, max=float(high))


def write_tissue(folder: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """Write the missing volumes, each one completely or not at all."""
    for seed, (part, shape) in enumerate(shapes.items()):
        path = folder / f"{part}.zarr"
        if path.exists():
            continue
        logger.info("generating synthetic tissue of %s voxels: %s", "x".join(map(str, shape)), path)
        partial = path.with_name(f".{path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        roi = Roi(Coordinate(0, 0, seed * 10000), Coordinate(shape) * VOXEL_SIZE)  # regions that do not overlap
        raw, labels = synthetic_tissue(shape, seed)
        volumes: dict[str, npt.NDArray[Any]] = {"raw": raw, "labels": labels}
        for dataset, values in volumes.items():
            array = ZarrArray.create_from_array_identifier(
                LocalArrayIdentifier(partial, dataset), ["z", "y", "x"], roi, None, VOXEL_SIZE, values.dtype
            )
            array[roi] = values
            array.add_metadata({"synthetic": True, "source": "dacapo.demo.tissue.synthetic_tissue", "seed": seed})
        partial.rename(path)


def own_data(raw: Path | str | None, labels: Path | str | None) -> DemoData:
    """Cut a volume of the user along its longest axis."""
    if raw is None or labels is None:
        raise ConfigError("give both raw data and labels, or neither to use synthetic tissue")
    raw_leaf, labels_leaf = config_for(raw, name="raw_values"), config_for(labels, name="labels_values")
    raw_array, labels_array = build(raw_leaf), build(labels_leaf)
    _check_own(raw_array, labels_array)
    train, validate_, unseen = _parts(raw_array)
    low, high = _intensity_range(raw_array, train)
    logger.info("scaling intensities from %g to %g to -1 to 1", low, high)
    logger.info("training in %s, validating in %s, segmenting %s (world units)", train, validate_, unseen)

    def crop(part: str, source: ArrayConfig, roi: Roi) -> ArrayConfig:
        return CropArrayConfig(name=f"{part}_{source.name}", source_array_config=source, roi=roi)

    return DemoData(
        # Training sees nothing of the other parts; validation reads context around its part.
        train=RawGTDatasetConfig(
            name="train",
            raw_config=_scaled(crop("train", raw_leaf, train), low, high),
            gt_config=crop("train", labels_leaf, train),
        ),
        validate=RawGTDatasetConfig(
            name="validate", raw_config=_scaled(raw_leaf, low, high), gt_config=crop("validate", labels_leaf, validate_)
        ),
        unseen_raw=identifier_of(raw_leaf),
        unseen_truth=crop("unseen", labels_leaf, unseen),
        unseen_roi=unseen,
        smallest_shape=train.shape / raw_array.voxel_size,
        voxel_size=raw_array.voxel_size,
        channels=raw_array.num_channels or 1,
        unit=raw_array.units[-1] or "world units",
    )


def _check_own(raw: Array, labels: Array) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise DtypeError(f"{labels} is of type {labels.dtype}; labels must be integers, one per object")
    if raw.dims not in (2, 3):
        raise ConfigError(f"{raw} has {raw.dims} spatial axes; the demo takes two or three")
    if labels.num_channels is not None:
        raise ConfigError(f"{labels} has a channel axis; labels must not have one")
    if (raw.voxel_size, raw.roi) != (labels.voxel_size, labels.roi):
        raise RoiError(
            f"labels must cover the same region as the raw data: {labels.roi} with voxels of {labels.voxel_size}, "
            f"but raw data is {raw.roi} with voxels of {raw.voxel_size}"
        )


def _parts(raw: Array) -> tuple[Roi, Roi, Roi]:
    """Return the parts to train on, validate on and segment; the last two are cropped to limit the time for scoring."""
    shape = raw.roi.shape / raw.voxel_size
    axis = int(np.argmax(shape))
    cuts = [0, int(shape[axis] * TRAIN_PART), int(shape[axis] * (TRAIN_PART + VALIDATE_PART)), shape[axis]]
    parts: list[Roi] = []
    for begin, end in itertools.pairwise(cuts):
        low = [begin if a == axis else 0 for a in range(raw.dims)]
        size = [end - begin if a == axis else shape[a] for a in range(raw.dims)]
        if parts:
            wanted = [min(s, LARGEST_SCORED[raw.dims]) for s in size]
            low, size = [b + (s - w) // 2 for b, s, w in zip(low, size, wanted, strict=True)], wanted
        parts.append(Roi(raw.roi.offset + Coordinate(low) * raw.voxel_size, Coordinate(size) * raw.voxel_size))
    train, validate_, unseen = parts
    return train, validate_, unseen


def _intensity_range(raw: Array, train: Roi) -> tuple[float, float]:
    """Return the intensities that map to -1 and 1: the full range of uint8, else percentiles of a sample."""
    if raw.dtype == np.uint8:
        return 0.0, 255.0
    size = Coordinate(
        min(s, 4 * v * LARGEST_SCORED[raw.dims] // 3) // v * v for s, v in zip(train.shape, raw.voxel_size, strict=True)
    )
    middle = Roi(train.offset + (train.shape - size) / 2 / raw.voxel_size * raw.voxel_size, size)
    low, high = (float(value) for value in np.percentile(raw[middle], PERCENTILES))
    if not low < high:
        raise ConfigError(f"{raw} is constant ({low:g}) in the middle of its training part {middle}")
    return low, high
