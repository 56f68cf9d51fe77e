"""Segmentation of instances by affinities."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.config import field
from dacapo.utils.fragments import FragmentParameters

from .checks import first_problem, limits_problem
from .evaluators import InstanceEvaluator
from .losses import AffinitiesLoss
from .post_processors import (
    AgglomerationPostProcessor,
    AgglomerationPostProcessorParameters,
    PostProcessor,
    WatershedPostProcessor,
    WatershedPostProcessorParameters,
)
from .post_processors.agglomeration_post_processor import DEFAULT_THRESHOLDS
from .post_processors.watershed_post_processor import DEFAULT_BIASES
from .predictors import AffinitiesPredictor
from .task import Task, TaskConfig


def _mutex_watershed(config: AffinitiesTaskConfig) -> WatershedPostProcessor:
    return WatershedPostProcessor(
        offsets=config.neighborhood,
        parameters=[
            WatershedPostProcessorParameters(
                id=number,
                bias=bias,
                min_size=config.min_size,
                long_range_bias=config.long_range_bias,
                fill_background=config.fill_background,
            )
            for number, bias in enumerate(config.biases)
        ],
    )


def _agglomeration(config: AffinitiesTaskConfig) -> AgglomerationPostProcessor:
    return AgglomerationPostProcessor(
        offsets=config.neighborhood,
        parameters=[
            AgglomerationPostProcessorParameters(
                id=number, merge_threshold=threshold, quantile=config.merge_quantile, min_size=config.min_size
            )
            for number, threshold in enumerate(config.merge_thresholds)
        ],
        fragments=FragmentParameters(per_section=config.fragments_per_section),
    )


POST_PROCESSORS: dict[str, Callable[[AffinitiesTaskConfig], PostProcessor]] = {
    "mutex_watershed": _mutex_watershed,
    "agglomeration": _agglomeration,
}
"""How a config names the post-processors."""


class AffinitiesTask(Task):
    """Predict which neighboring voxels belong together, and join them by a mutex watershed or by agglomeration."""

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
        self.post_processor = POST_PROCESSORS[task_config.post_processor](task_config)
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
    post_processor: str = field(
        "How affinities become objects: 'mutex_watershed', with biases and long_range_bias; or 'agglomeration', which "
        "merges fragments and uses offsets to direct neighbors only, with merge_thresholds, merge_quantile and "
        "fragments_per_section.",
        default="mutex_watershed",
        kw_only=True,
    )
    merge_thresholds: list[float] = field(
        "Scores, from 0 to 1, that validation tries as the limit above which agglomeration merges two regions.",
        factory=lambda: list(DEFAULT_THRESHOLDS),
        kw_only=True,
    )
    merge_quantile: float | None = field(
        "The quantile of the affinities between two regions that is their score, above 0 and at most 1; by default "
        "their mean.",
        default=None,
        kw_only=True,
    )
    fragments_per_section: bool = field(
        "Whether each section, a plane across the first of three axes, has fragments of its own; for data of coarser "
        "resolution along that axis.",
        default=False,
        kw_only=True,
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
    fill_background: bool = field(
        "Whether objects grow into the background that the mutex watershed leaves between them, for tissue in which "
        "every voxel belongs to an object.",
        default=False,
        kw_only=True,
    )

    def verify(self) -> tuple[bool, str]:
        """Check offsets, limits and ratio."""
        return first_problem(
            self,
            super().verify(),
            self._neighborhood_problem(),
            limits_problem("affs_weight", self.affs_weight_clipmin, self.affs_weight_clipmax),
            limits_problem("lsd_weight", self.lsd_weight_clipmin, self.lsd_weight_clipmax),
            self._watershed_problem(),
            self._agglomeration_problem(),
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

    def _agglomeration_problem(self) -> str | None:
        if self.post_processor not in POST_PROCESSORS:
            names = " or ".join(map(repr, POST_PROCESSORS))
            return f"post_processor is {self.post_processor!r}, but must be {names}"
        if self.fill_background and self.post_processor != "mutex_watershed":
            return f"fill_background is for the mutex watershed only, but post_processor is {self.post_processor!r}"
        if not self.merge_thresholds or not all(0 <= threshold < 1 for threshold in self.merge_thresholds):
            return f"merge_thresholds are {self.merge_thresholds}, but must be at least 0 and below 1"
        if self.merge_quantile is not None and not 0 < self.merge_quantile <= 1:
            return f"merge_quantile is {self.merge_quantile}, but must be above 0 and at most 1, or None for the mean"
        within = [offset for offset in self.neighborhood if sum(map(abs, offset)) == 1 and not offset[0]]
        uses_sections = self.post_processor == "agglomeration" and self.fragments_per_section
        if uses_sections and not (within and len(within[0]) == 3):
            return "fragments_per_section needs offsets of three numbers, one of them to a neighbor in the same section"
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
