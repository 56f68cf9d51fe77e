"""Names of the arrays and points of a dataset, for moving them through a pipeline."""

from __future__ import annotations

from enum import Enum


class DataKey(Enum):
    """Base class of the names."""


class ArrayKey(DataKey):
    """Arrays of a dataset; the value is the dataset's attribute."""

    RAW = "raw"
    GT = "gt"
    MASK = "mask"


class GraphKey(DataKey):
    """Points of a dataset; the value is the dataset's attribute."""

    SAMPLE_POINTS = "sample_points"
