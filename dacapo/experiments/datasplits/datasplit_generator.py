"""Generate datasplits from a table of volumes.

Each row of the table is a dataset: ``dataset_type``, ``raw_container``, ``raw_dataset``, ``gt_container``,
``gt_dataset``. A CSV file may begin with these names as a header, in any order; blank lines and lines that begin with
``#`` are skipped. ``dataset_type`` is ``train`` or ``val``. Containers are paths in the file system.

**Scale levels.** A dataset is an array, or a group with several scale levels: OME-NGFF multiscales, or arrays named
``s0``, ``s1``, ... The level closest to the requested resolution is read, and resampled if its voxel size differs: raw
data by interpolation, labels by the nearest voxel. The limits (``max_gt_downsample``, ...) bound how many times larger
(downsample) or smaller (upsample) the requested voxels may be than those of the level, along any axis. A level of the
requested voxel size whose offset is not a multiple of it is moved to the next multiple, so that the voxel corners of
all arrays coincide; if that is more than half a voxel, a finer level is resampled instead, if available.

**Ground truth.** ``gt_dataset`` names one or several datasets in the container, separated by ``&``:

=====================  ====================================================  =======================
``gt_dataset``         datasets                                              names of the classes
=====================  ====================================================  =======================
``labels/mito``        ``labels/mito``                                       ``mito``
``labels/mito/s0``     ``labels/mito/s0``, this level only                   ``mito``
``a/mito&b/er``        ``a/mito`` and ``b/er``                               ``mito``, ``er``
``labels/[mito&er]``   ``labels/mito`` and ``labels/er``                     ``mito``, ``er``
``labels/[mito]/s1``   ``labels/mito/s1``                                    ``mito``
=====================  ====================================================  =======================

In *semantic* segmentation each class becomes one channel, in the order of the names: 1 where its dataset is not 0. If
the path before the brackets is itself a volume with an attribute ``labels``, a list of mappings with ``name`` and
``value``, the classes are the ids with these names; if the list tells by ``annotationState`` which ids were annotated,
it becomes a mask, see :class:`MissingAnnotationsMask`. All rows must name the same classes.

In *instance* segmentation labels are used unchanged; those of several datasets are merged, and the first one wins where
they overlap.

``targets`` selects from the classes that the rows name, and orders them.
"""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import attrs
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError, DacapoError, PathNotFoundError

from .datasets import RawGTDataset, RawGTDatasetConfig
from .datasets.arrays import (
    ArrayConfig,
    BinarizeArrayConfig,
    ConcatArrayConfig,
    IntensitiesArrayConfig,
    MergeInstancesArrayConfig,
    MissingAnnotationsMaskConfig,
    ZarrArray,
)
from .scale_levels import LEVEL_NAME, closest_level, find_levels, has_levels, in_world_units, read_as
from .train_validate_datasplit import TrainValidateDataSplitConfig

logger = logging.getLogger(__name__)

MAX_NAME = 80
COLUMNS = ("dataset_type", "raw_container", "raw_dataset", "gt_container", "gt_dataset")


class CustomEnum(Enum):
    """An enumeration whose members print as their names."""

    def __str__(self) -> str:
        return self.name


class DatasetType(CustomEnum):
    """The purpose of a dataset."""

    train = 1
    val = 2


class SegmentationType(CustomEnum):
    """The kind of ground truth."""

    semantic = 1
    instance = 2


M = TypeVar("M", bound=CustomEnum)


def _member(kind: type[M], value: M | str) -> M:
    """Return the member of an enumeration by its name.

    Raises:
        ConfigError: If it does not exist.
    """
    name = str(value).strip().lower()
    if name not in kind.__members__:
        raise ConfigError(f"unknown {kind.__name__} {name!r}; expected one of {', '.join(kind.__members__)}")
    return kind[name]


class DatasetSpec:
    """One row of the table; the module describes the fields."""

    def __init__(
        self,
        dataset_type: str | DatasetType,
        raw_container: str | Path,
        raw_dataset: str,
        gt_container: str | Path,
        gt_dataset: str,
    ) -> None:
        """Set the fields of a row.

        Raises:
            ConfigError: If the dataset type is unknown, or a field is empty.
        """
        self.dataset_type = _member(DatasetType, dataset_type)
        values = {"raw_container": raw_container, "raw_dataset": raw_dataset, "gt_container": gt_container}
        for name, value in {**values, "gt_dataset": gt_dataset}.items():
            if not str(value).strip():
                raise ConfigError(f"{name} is empty; each dataset needs {', '.join(COLUMNS)}")
        self.raw_container = Path(raw_container)
        self.raw_dataset = str(raw_dataset)
        self.gt_container = Path(gt_container)
        self.gt_dataset = str(gt_dataset)

    def __str__(self) -> str:
        return f"{self.dataset_type} dataset {self.gt_container}/{self.gt_dataset}"

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={str(getattr(self, name))!r}" for name in COLUMNS)
        return f"DatasetSpec({values})"


def generate_dataspec_from_csv(csv_path: str | Path) -> list[DatasetSpec]:
    """Read the rows of a table; the module describes its format.

    Raises:
        PathNotFoundError: If the file does not exist.
        ConfigError: If the header is wrong, or a row has too few, too many or invalid fields.
    """
    path = Path(csv_path)
    if not path.is_file():
        raise PathNotFoundError(f"the table {path} does not exist; expected a CSV file with {', '.join(COLUMNS)}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, skipinitialspace=True)
        rows = [(reader.line_num, [field.strip() for field in row]) for row in reader]
    rows = [(line, row) for line, row in rows if any(row) and not row[0].startswith("#")]
    columns = list(COLUMNS)
    if rows and set(map(str.lower, rows[0][1])) & set(COLUMNS):
        columns = [name.lower() for name in rows.pop(0)[1]]
        if sorted(columns) != sorted(COLUMNS):
            raise ConfigError(
                f"{path} has the header {', '.join(columns)}; expected {', '.join(COLUMNS)}, in any order"
            )
    return [_spec(f"{path}, line {line}", columns, row) for line, row in rows]


def _spec(where: str, columns: list[str], row: list[str]) -> DatasetSpec:
    if len(row) != len(columns):
        raise ConfigError(f"{where} has {len(row)} fields; expected {', '.join(columns)}")
    try:
        return DatasetSpec(**dict(zip(columns, row, strict=True)))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


@attrs.frozen
class _Classes:
    """The classes named by a gt_dataset.

    Attributes:
        datasets: The dataset of each class, by its name, in order.
        volume: The path before the brackets, if there are brackets and nothing follows them.
    """

    datasets: dict[str, str]
    volume: str | None = None


def _parse(text: str, separator: str) -> _Classes:
    """Parse a gt_dataset.

    Raises:
        ConfigError: If it cannot be parsed, or names a class twice.
    """
    problem = f"gt_dataset {text!r} cannot be parsed"
    if "[" not in text and "]" not in text:
        pairs = [(_last_name(path), path) for path in text.split(separator)]
        volume = None
    else:
        match = re.fullmatch(r"([^\[\]]*)\[([^\[\]]*)\]([^\[\]]*)", text)
        if match is None:
            raise ConfigError(f"{problem}: expected one pair of brackets, as in path/[class1{separator}class2]")
        before, names, behind = match.groups()
        pairs = [(name.strip(), f"{before}{name.strip()}{behind}") for name in names.split(separator)]
        volume = before.strip("/") if not behind.strip("/") else None
    classes = [name for name, _ in pairs]
    if not all(classes):
        raise ConfigError(f"{problem}: a class has no name")
    if len(set(classes)) != len(classes):
        raise ConfigError(f"{problem}: it names the classes {', '.join(classes)}, one of them twice")
    return _Classes(dict(pairs), volume)


def _last_name(path: str) -> str:
    """Return the last part of a path that is not the name of a scale level."""
    parts = [part for part in path.strip().split("/") if part]
    while len(parts) > 1 and LEVEL_NAME.fullmatch(parts[-1]):
        parts.pop()
    return parts[-1] if parts else ""


class DataSplitGenerator:
    """Generate the config of a datasplit from a list of volumes; see the module."""

    def __init__(
        self,
        name: str,
        datasets: list[DatasetSpec],
        input_resolution: Sequence[float] | Coordinate,
        output_resolution: Sequence[float] | Coordinate,
        targets: list[str] | None = None,
        segmentation_type: str | SegmentationType = "semantic",
        max_gt_downsample: float = 32,
        max_gt_upsample: float = 4,
        max_raw_training_downsample: float = 16,
        max_raw_training_upsample: float = 2,
        max_raw_validation_downsample: float = 8,
        max_raw_validation_upsample: float = 2,
        min_training_volume_size: int = 8000,
        raw_min: float = 0,
        raw_max: float = 255,
        classes_separator_caracter: str = "&",
    ) -> None:
        """Set the rows and how to use them.

        Args:
            name: Name of the datasplit.
            datasets: The rows.
            input_resolution: Voxel size of raw data, in units of the data (mostly nanometers); fractions are allowed.
            output_resolution: Voxel size of ground truth, in the same units.
            targets: Classes to use, in this order; by default all that the rows name.
            segmentation_type: ``semantic`` or ``instance``.
            max_gt_downsample: Limit on how many times larger the voxels of ground truth may become.
            max_gt_upsample: Limit on how many times smaller they may become.
            max_raw_training_downsample: The same for raw training data.
            max_raw_training_upsample: The same for raw training data.
            max_raw_validation_downsample: The same for raw validation data.
            max_raw_validation_upsample: The same for raw validation data.
            min_training_volume_size: Training datasets with fewer voxels of ground truth are omitted.
            raw_min: The raw value that maps to 0.
            raw_max: The raw value that maps to 1.
            classes_separator_caracter: Separator between classes in ``gt_dataset``.

        Raises:
            ConfigError: If a value is invalid.
        """
        self.name = name
        self.datasets = list(datasets)
        self.input_resolution = _resolution(input_resolution)
        self.output_resolution = _resolution(output_resolution)
        self.targets = None if targets is None else list(targets)
        self.segmentation_type = _member(SegmentationType, segmentation_type)
        self.max_gt_downsample = max_gt_downsample
        self.max_gt_upsample = max_gt_upsample
        self.max_raw_training_downsample = max_raw_training_downsample
        self.max_raw_training_upsample = max_raw_training_upsample
        self.max_raw_validation_downsample = max_raw_validation_downsample
        self.max_raw_validation_upsample = max_raw_validation_upsample
        self.min_training_volume_size = min_training_volume_size
        self.raw_min = raw_min
        self.raw_max = raw_max
        self.classes_separator_caracter = classes_separator_caracter
        self._class_name: list[str] | None = None
        self._check()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.datasets)} datasets)"

    def _check(self) -> None:
        if not self.datasets:
            raise ConfigError(f"datasplit {self.name!r} has no datasets; give at least one")
        for name, value in (("input", self.input_resolution), ("output", self.output_resolution)):
            if min(value) <= 0:
                raise ConfigError(f"{name}_resolution is {value}; expected positive numbers")
        if self.targets is not None and (not self.targets or len(set(self.targets)) != len(self.targets)):
            raise ConfigError(f"targets are {self.targets}; expected different names of classes, or None for all")
        if not self.classes_separator_caracter or set(self.classes_separator_caracter) & set("[]/"):
            raise ConfigError(
                f"classes_separator_caracter is {self.classes_separator_caracter!r}; expected a character that is "
                "not [, ] or /"
            )

    @property
    def class_name(self) -> list[str] | None:
        """Names of the classes in the order of the channels; None before the first row is parsed.

        In instance segmentation, the names of the datasets that the first row merges.
        """
        return None if self._class_name is None else list(self._class_name)

    def check_class_name(self, class_name: str) -> tuple[list[str], list[str]]:
        """Parse the ``gt_dataset`` of a row, and check that all rows name the same classes.

        Returns:
            The datasets and the names of their classes, those of ``targets`` if given.

        Raises:
            ConfigError: If it cannot be parsed, lacks a target, or, in semantic segmentation, names other classes than
                an earlier row.
        """
        classes = self._chosen(class_name)
        return list(classes.datasets.values()), list(classes.datasets)

    def _chosen(self, gt_dataset: str) -> _Classes:
        classes = _parse(gt_dataset, self.classes_separator_caracter)
        names = list(classes.datasets) if self.targets is None else self.targets
        missing = [name for name in names if name not in classes.datasets]
        if missing:
            raise ConfigError(
                f"gt_dataset {gt_dataset!r} names the classes {', '.join(classes.datasets)}, "
                f"but not the targets {', '.join(missing)}"
            )
        if self._class_name is None:
            self._class_name = list(names)
        if self.segmentation_type is SegmentationType.semantic and names != self._class_name:
            raise ConfigError(
                f"gt_dataset {gt_dataset!r} names the classes {', '.join(names)}, but an earlier row "
                f"{', '.join(self._class_name)}; name the same ones in the same order, as in "
                f"path/[{self.classes_separator_caracter.join(self._class_name)}], or select some with targets"
            )
        return _Classes({name: classes.datasets[name] for name in names}, classes.volume)

    def compute(self) -> TrainValidateDataSplitConfig:
        """Open all volumes, choose scale levels, and return the config of the datasplit. No voxels are read.

        Raises:
            ArrayNotFoundError: If a container or dataset does not exist.
            ConfigError: If a resolution is out of reach, rows name different classes, arrays do not match, or all
                training datasets are too small.
        """
        self._class_name = None
        configs: dict[DatasetType, list[Any]] = {kind: [] for kind in DatasetType}
        used: set[str] = set()
        dropped, least = [], self.min_training_volume_size
        for spec in self.datasets:
            try:
                config = self._dataset(spec, _unused_name(spec, used))
                size = _labeled_voxels(config)
            except DacapoError as error:
                raise type(error)(f"{spec}: {error}") from error
            if spec.dataset_type is DatasetType.train and size < least:
                logger.warning("omitting %s: it has %d labeled voxels, fewer than %d", spec, size, least)
                dropped.append(spec)
                continue
            configs[spec.dataset_type].append(config)
        if dropped and not configs[DatasetType.train]:
            raise ConfigError(
                f"datasplit {self.name!r}: all training datasets have fewer than {least} labeled voxels; "
                "lower min_training_volume_size, or choose a finer output_resolution"
            )
        return TrainValidateDataSplitConfig(self.name, configs[DatasetType.train], configs[DatasetType.val])

    def _dataset(self, spec: DatasetSpec, name: str) -> RawGTDatasetConfig:
        gt, mask = self._ground_truth(spec, name)
        return RawGTDatasetConfig(name=name, raw_config=self._raw(spec, name), gt_config=gt, mask_config=mask)

    def _raw(self, spec: DatasetSpec, name: str) -> ArrayConfig:
        limits = (
            (self.max_raw_training_downsample, self.max_raw_training_upsample)
            if spec.dataset_type is DatasetType.train
            else (self.max_raw_validation_downsample, self.max_raw_validation_upsample)
        )
        levels = find_levels(spec.raw_container, spec.raw_dataset, f"{name}_raw_stored", self.input_resolution)
        resolution = in_world_units(levels, self.input_resolution)
        source = read_as(closest_level(levels, resolution, *limits), resolution, interpolate=True)
        return IntensitiesArrayConfig(f"{name}_raw", source, min=self.raw_min, max=self.raw_max)

    def _ground_truth(self, spec: DatasetSpec, name: str) -> tuple[ArrayConfig, ArrayConfig | None]:
        """Return the configs of ground truth and mask; the mask is None if nothing marks reliable annotation."""
        classes = self._chosen(spec.gt_dataset)
        if self.segmentation_type is SegmentationType.semantic:
            ids = self._ids_of_volume(spec, classes, name)
            if ids is not None:
                return ids
        sources = {
            label: self._labels(spec, dataset, f"{name}_{label}_stored")[1]
            for label, dataset in classes.datasets.items()
        }
        if self.segmentation_type is SegmentationType.instance:
            return self._instances(list(sources.values()), name), None
        channels: dict[str, ArrayConfig] = {
            label: BinarizeArrayConfig(f"{name}_{label}", source, groupings=[(label, [])])
            for label, source in sources.items()
        }
        if len(channels) == 1:
            return next(iter(channels.values())), None
        return ConcatArrayConfig(f"{name}_gt", channels=list(channels), source_array_configs=channels), None

    def _instances(self, sources: list[ArrayConfig], name: str) -> ArrayConfig:
        return sources[0] if len(sources) == 1 else MergeInstancesArrayConfig(f"{name}_gt", sources)

    def _labels(self, spec: DatasetSpec, dataset: str, name: str) -> tuple[ZarrArray, ArrayConfig]:
        levels = find_levels(spec.gt_container, dataset, name, self.output_resolution)
        resolution = in_world_units(levels, self.output_resolution)
        level = closest_level(levels, resolution, self.max_gt_downsample, self.max_gt_upsample)
        return level, read_as(level, resolution, interpolate=False)

    def _ids_of_volume(
        self, spec: DatasetSpec, classes: _Classes, name: str
    ) -> tuple[ArrayConfig, ArrayConfig | None] | None:
        """Return ground truth and mask from one volume whose attribute names its ids, or None if it does not exist."""
        container = spec.gt_container
        if classes.volume is None or any(has_levels(container, path) for path in classes.datasets.values()):
            return None
        if not has_levels(container, classes.volume):
            return None
        level, source = self._labels(spec, classes.volume, f"{name}_stored")
        entries = [entry for entry in level.attrs.get("labels", ()) if isinstance(entry, Mapping) and "value" in entry]
        groupings = [
            (label, [int(entry["value"]) for entry in entries if entry.get("name") == label])
            for label in classes.datasets
        ]
        unknown = [label for label, ids in groupings if not ids]
        if unknown:
            known = ", ".join(str(entry.get("name")) for entry in entries) or "none"
            raise ConfigError(
                f"dataset {', '.join(classes.datasets[label] for label in unknown)} does not exist, and {level} has no "
                f"ids of these names in its attribute 'labels'; it names {known}"
            )
        mask = None
        if any("annotationState" in entry for entry in entries):
            mask = MissingAnnotationsMaskConfig(f"{name}_mask", source, groupings=groupings)
        return BinarizeArrayConfig(f"{name}_gt", source, groupings=groupings), mask

    @staticmethod
    def generate_from_csv(
        csv_path: str | Path,
        input_resolution: Sequence[float] | Coordinate,
        output_resolution: Sequence[float] | Coordinate,
        name: str | None = None,
        **kwargs: Any,
    ) -> DataSplitGenerator:
        """Create a generator from a CSV file.

        Args:
            csv_path: The table.
            input_resolution: Voxel size of raw data, in units of the data (mostly nanometers); fractions are allowed.
            output_resolution: Voxel size of ground truth, in the same units.
            name: Name of the datasplit, by default that of the file.
            kwargs: Other arguments of :class:`DataSplitGenerator`.

        Raises:
            PathNotFoundError: If the file does not exist.
            ConfigError: If it cannot be parsed.
        """
        datasets = generate_dataspec_from_csv(csv_path)
        if not datasets:
            raise ConfigError(f"{csv_path} has no rows; expected {', '.join(COLUMNS)} in each")
        return DataSplitGenerator(name or Path(csv_path).stem, datasets, input_resolution, output_resolution, **kwargs)


def _resolution(numbers: Sequence[float] | Coordinate) -> Coordinate | tuple[float, ...]:
    """Return a voxel size; one with fractions is no Coordinate, which would drop them."""
    return Coordinate(numbers) if all(float(n).is_integer() for n in numbers) else tuple(map(float, numbers))


def _unused_name(spec: DatasetSpec, used: set[str]) -> str:
    """Return an unused name for a dataset that is valid as a file name, and add it to the used names."""
    wanted = re.sub(r"[^\w.-]+", "_", f"{spec.gt_container.stem}_{spec.gt_dataset}").strip("_.")[:MAX_NAME]
    name, number = wanted, 1
    while name in used:
        number += 1
        name = f"{wanted}_{number}"
    used.add(name)
    return name


def _labeled_voxels(config: RawGTDatasetConfig) -> int:
    """Build a dataset, which checks that its parts match, and return its number of labeled voxels."""
    dataset: RawGTDataset = config.dataset_type(config)
    assert dataset.gt is not None
    region = dataset.gt.roi.intersect(dataset.raw.roi)
    return int(math.prod(region.shape / dataset.gt.voxel_size))
