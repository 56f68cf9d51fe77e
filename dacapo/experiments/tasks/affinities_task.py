"""Segmentation of instances by affinities."""

from __future__ import annotations

from typing import ClassVar

import attrs
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.config import field

from .checks import first_problem, limits_problem
from .evaluators import InstanceEvaluator
from .losses import AffinitiesLoss
from .post_processors import WatershedPostProcessor, WatershedPostProcessorParameters
from .post_processors.watershed_post_processor import DEFAULT_BIASES
from .predictors import AffinitiesPredictor
from .task import Task, TaskConfig


class AffinitiesTask(Task):
    """Predict which neighboring voxels belong together, and join them by a mutex watershed."""

    def __init__(self, task_config: AffinitiesTaskConfig) -> None:
        """Build the four parts.

        Raises:
            ConfigError: If the config is invalid.
        """
        works, why = task_config.verify()
        if not works:
            raise ConfigError(why)
        self.predictor = AffinitiesPredictor(
            neighborhood=task_config.neighborhood,
            lsds=task_config.lsds,
            affs_weight_clipmin=task_config.affs_weight_clipmin,
            affs_weight_clipmax=task_config.affs_weight_clipmax,
            lsd_weight_clipmin=task_config.lsd_weight_clipmin,
            lsd_weight_clipmax=task_config.lsd_weight_clipmax,
            background_as_object=task_config.background_as_object,
        )
        self.loss = AffinitiesLoss(len(task_config.neighborhood), task_config.lsds_to_affs_weight_ratio)
        self.post_processor = WatershedPostProcessor(
            offsets=task_config.neighborhood,
            parameters=[
                WatershedPostProcessorParameters(
                    id=number, bias=bias, min_size=task_config.min_size, long_range_bias=task_config.long_range_bias
                )
                for number, bias in enumerate(task_config.biases)
            ],
        )
        self.evaluator = InstanceEvaluator()


@attrs.define
class AffinitiesTaskConfig(TaskConfig):
    """Configure the segmentation of instances by affinities."""

    task_type: ClassVar[type[Task]] = AffinitiesTask

    neighborhood: list[Coordinate] = field(
        "Offsets in voxels from a voxel to the neighbors it is compared with, in the axis order of the data. Direct "
        "neighbors join voxels, long offsets separate objects."
    )
    lsds: bool = field("Whether to predict local shape descriptors too, which improves the affinities.", default=False)
    lsds_to_affs_weight_ratio: float = field(
        "Weight of the loss of descriptors relative to that of affinities.", default=1
    )
    affs_weight_clipmin: float = field(
        "Lower limit of the fraction of ones or zeros from which weights of affinities are computed.", default=0.05
    )
    affs_weight_clipmax: float = field("Upper limit of that fraction.", default=0.95)
    lsd_weight_clipmin: float = field(
        "Lower limit of the fraction of objects or background from which weights of descriptors are computed.",
        default=0.05,
    )
    lsd_weight_clipmax: float = field("Upper limit of that fraction.", default=0.95)
    background_as_object: bool = field(
        "Whether label 0 is an object. Otherwise its voxels belong to no object, not even to each other.",
        default=False,
    )
    biases: list[float] = field(
        "Affinities, from 0 to 1, that validation tries as the border between 'different' and 'same'.",
        factory=lambda: list(DEFAULT_BIASES),
        kw_only=True,
    )
    long_range_bias: float | None = field(
        "The same for offsets beyond direct neighbors; by default equal to biases.", default=None, kw_only=True
    )
    min_size: int = field("Smaller segments, in voxels, are merged into neighboring ones.", default=0, kw_only=True)

    def verify(self) -> tuple[bool, str]:
        """Check offsets, limits and ratio."""
        return first_problem(
            self,
            super().verify(),
            self._neighborhood_problem(),
            limits_problem("affs_weight", self.affs_weight_clipmin, self.affs_weight_clipmax),
            limits_problem("lsd_weight", self.lsd_weight_clipmin, self.lsd_weight_clipmax),
            self._watershed_problem(),
            None
            if self.lsds_to_affs_weight_ratio >= 0
            else f"lsds_to_affs_weight_ratio is {self.lsds_to_affs_weight_ratio}, but must not be negative",
        )

    def _watershed_problem(self) -> str | None:
        biases = [*self.biases, *([] if self.long_range_bias is None else [self.long_range_bias])]
        if not self.biases or not all(0 < bias < 1 for bias in biases):
            return f"biases are {self.biases} and long_range_bias {self.long_range_bias}, but must be between 0 and 1"
        if self.min_size < 0:
            return f"min_size is {self.min_size}, but cannot be negative"
        return None

    def _neighborhood_problem(self) -> str | None:
        offsets = [tuple(int(o) for o in offset) for offset in self.neighborhood]
        if not offsets:
            return "neighborhood is empty, but needs at least one offset"
        dims = {len(offset) for offset in offsets}
        if len(dims) > 1 or not dims <= {2, 3}:
            return f"neighborhood {offsets} must have offsets of 2 or of 3 numbers each"
        if any(not any(offset) for offset in offsets):
            return f"neighborhood {offsets} has an offset of zeros, but a voxel is always joined to itself"
        if len(set(offsets)) < len(offsets):
            return f"neighborhood {offsets} has the same offset twice"
        direct = [offset for offset in offsets if sum(map(abs, offset)) == 1]
        if not direct:
            return f"neighborhood {offsets} has no direct neighbor such as {(1, *(0,) * (len(offsets[0]) - 1))}"
        return None
