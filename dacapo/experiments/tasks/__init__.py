"""Tasks: the quantity that a network learns, and how its output becomes a segmentation and a score."""

from __future__ import annotations

from dacapo.utils.aliases import alias_modules

from .affinities_task import AffinitiesTask, AffinitiesTaskConfig
from .distance_task import DistanceTask, DistanceTaskConfig
from .dummy_task import DummyTask, DummyTaskConfig
from .hot_distance_task import HotDistanceTask, HotDistanceTaskConfig
from .inner_distance_task import InnerDistanceTask, InnerDistanceTaskConfig
from .one_hot_task import OneHotTask, OneHotTaskConfig
from .pretrained_task import PretrainedTask, PretrainedTaskConfig
from .task import Task, TaskConfig

__all__ = [
    "AffinitiesTask",
    "AffinitiesTaskConfig",
    "DistanceTask",
    "DistanceTaskConfig",
    "DummyTask",
    "DummyTaskConfig",
    "HotDistanceTask",
    "HotDistanceTaskConfig",
    "InnerDistanceTask",
    "InnerDistanceTaskConfig",
    "OneHotTask",
    "OneHotTaskConfig",
    "PretrainedTask",
    "PretrainedTaskConfig",
    "Task",
    "TaskConfig",
]

# Legacy import paths.
alias_modules(
    __name__,
    {
        "affinities_task_config": "affinities_task",
        "distance_task_config": "distance_task",
        "dummy_task_config": "dummy_task",
        "hot_distance_task_config": "hot_distance_task",
        "inner_distance_task_config": "inner_distance_task",
        "one_hot_task_config": "one_hot_task",
        "pretrained_task_config": "pretrained_task",
        "task_config": "task",
    },
)
