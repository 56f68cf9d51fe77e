"""Let the arrays of several datasets count their world coordinates in one unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import attrs
from funlib.geometry import Coordinate

from .arrays import ArrayConfig
from .arrays.world import common_unit
from .dataset import Dataset, DatasetConfig

C = TypeVar("C", bound=DatasetConfig)


def in_one_world(*parts: Sequence[DatasetConfig]) -> tuple[list[Dataset], ...]:
    """Build several lists of datasets, all of whose arrays count their world coordinates in one unit.

    Raises:
        ConfigError: If the arrays have no unit in common, or one cannot be counted in it.
    """
    built = _build(parts)
    datasets = [dataset for part in built for dataset in part]
    arrays = [array for dataset in datasets for array in (dataset.raw, dataset.gt, dataset.mask)]
    unit = common_unit([array.world for array in arrays if array is not None])
    return built if unit is None else _build([[counted_in(config, unit) for config in part] for part in parts])


def _build(parts: Iterable[Sequence[DatasetConfig]]) -> tuple[list[Dataset], ...]:
    return tuple([config.dataset_type(config) for config in part] for part in parts)


def counted_in(config: C, unit: str) -> C:
    """Return the config of the same dataset with world coordinates that count another unit.

    Args:
        config: The dataset. Its sample points count what its ground truth counts, or its raw data without any.
        unit: Such as ``0.01 nm``.

    Raises:
        ConfigError: If an array cannot be counted in another unit.
    """
    names = [field.name for field in attrs.fields(type(config))]
    arrays = {name: value for name in names if isinstance(value := getattr(config, name), ArrayConfig)}
    changed: dict[str, Any] = {name: value.counted_in(unit) for name, value in arrays.items()}
    points = getattr(config, "sample_points", None)
    if points:
        leading = arrays.get("gt_config") or arrays["raw_config"]
        factor = leading.array_type(leading).world.factor_to(unit)
        changed["sample_points"] = [Coordinate(point) * factor for point in points]
    return attrs.evolve(config, **changed)
