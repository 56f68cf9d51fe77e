"""Tasks: what a network learns, and how its output becomes a segmentation and a score."""

from __future__ import annotations

from dacapo.utils.aliases import alias_modules

from .dummy_task import DummyTask, DummyTaskConfig
from .task import Task, TaskConfig

__all__ = ["DummyTask", "DummyTaskConfig", "Task", "TaskConfig"]

# Legacy import paths.
alias_modules(__name__, {"dummy_task_config": "dummy_task", "task_config": "task"})
