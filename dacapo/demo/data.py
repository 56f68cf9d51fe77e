"""The data of the demo: synthetic tissue, or a volume of the user cut into three parts."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, RoiError
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    ArrayConfig,
    CropArrayConfig,
    ZarrArray,
    ZarrArrayConfig,
    config_for,
)
from dacapo.experiments.datasplits.datasets.arrays.opener import identifier_of
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.defaults import Facts, check_labels, divide, intensity_range, scaled
from dacapo.store.array_store import LocalArrayIdentifier

from .tissue import synthetic_tissue

logger = logging.getLogger(__name__)

# Shapes of the synthetic volumes in voxels; their order determines the seeds.
SHAPES: Mapping[str, Sequence[int]] = {"train": (96, 160, 160), "validate": (60, 80, 80), "unseen": (64, 160, 160)}
VOXEL_SIZE = Coordinate(8, 8, 8)  # nm

# Where the parts of a user's volume for training and validation end; the demo segments the rest.
ENDS = (0.6, 0.8)


@attrs.frozen
class DemoData:
    """The data for training, validation and segmentation.

    Attributes:
        train: Training data.
        validate: Validation data, which selects checkpoint and parameters.
        unseen_raw: The volume to segment.
        unseen_truth: Its labels, for scoring.
        unseen_roi: The part of it to segment; None for the whole volume.
        facts: What the decisions about the run follow from.
        unit: Unit of world coordinates.
        origin: Source of the raw data, if worth mentioning.
    """

    train: RawGTDatasetConfig
    validate: RawGTDatasetConfig
    unseen_raw: LocalArrayIdentifier
    unseen_truth: ArrayConfig
    unseen_roi: Roi | None
    facts: Facts
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
        facts=Facts(VOXEL_SIZE, Coordinate(np.min(list(shapes.values()), axis=0).tolist())),
        origin="synthetic tissue",
    )


def _dataset(name: str, container: Path, raw: str, labels: str) -> RawGTDatasetConfig:
    return RawGTDatasetConfig(
        name=name,
        raw_config=scaled(ZarrArrayConfig(name=f"{name}_raw", file_name=container, dataset=raw, mode="r"), 0, 255),
        gt_config=ZarrArrayConfig(name=f"{name}_labels", file_name=container, dataset=labels, mode="r"),
    )


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
    train, validate_, unseen = divide(raw_array.roi, raw_array.voxel_size, ENDS)
    low, high = intensity_range(raw_array, train)
    logger.info("scaling intensities from %g to %g to -1 to 1", low, high)
    logger.info("training in %s, validating in %s, segmenting %s (world units)", train, validate_, unseen)

    def crop(part: str, source: ArrayConfig, roi: Roi) -> ArrayConfig:
        return CropArrayConfig(name=f"{part}_{source.name}", source_array_config=source, roi=roi)

    return DemoData(
        # Training sees nothing of the other parts; validation reads context around its part.
        train=RawGTDatasetConfig(
            name="train",
            raw_config=scaled(crop("train", raw_leaf, train), low, high),
            gt_config=crop("train", labels_leaf, train),
        ),
        validate=RawGTDatasetConfig(
            name="validate", raw_config=scaled(raw_leaf, low, high), gt_config=crop("validate", labels_leaf, validate_)
        ),
        unseen_raw=identifier_of(raw_leaf),
        unseen_truth=crop("unseen", labels_leaf, unseen),
        unseen_roi=unseen,
        facts=Facts(raw_array.voxel_size, train.shape / raw_array.voxel_size, raw_array.num_channels or 1),
        unit=raw_array.units[-1] or "world units",
    )


def _check_own(raw: Array, labels: Array) -> None:
    check_labels(raw, labels)
    if (raw.voxel_size, raw.roi) != (labels.voxel_size, labels.roi):
        raise RoiError(
            f"labels must cover the same region as the raw data: {labels.roi} with voxels of {labels.voxel_size}, "
            f"but raw data is {raw.roi} with voxels of {raw.voxel_size}"
        )
