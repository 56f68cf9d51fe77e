"""A task for tests."""

from __future__ import annotations

from typing import ClassVar

import attrs

from dacapo.experiments.config import field

from .evaluators import DummyEvaluator
from .losses import DummyLoss
from .post_processors import DummyPostProcessor
from .predictors import DummyPredictor
from .task import Task, TaskConfig


class DummyTask(Task):
    """Learn zeros."""

    def __init__(self, task_config: DummyTaskConfig) -> None:
        """Build the four parts."""
        self.predictor = DummyPredictor(task_config.embedding_dims)
        self.loss = DummyLoss()
        self.post_processor = DummyPostProcessor(task_config.detection_threshold)
        self.evaluator = DummyEvaluator()


@attrs.define
class DummyTaskConfig(TaskConfig):
    """Configure a task for tests."""

    task_type: ClassVar[type[Task]] = DummyTask

    embedding_dims: int = field("Number of channels to predict.")
    detection_threshold: float = field("Threshold of the post-processor.")

    def verify(self) -> tuple[bool, str]:
        """Refuse the config, which is for tests and learns nothing."""
        return False, "this is a DummyTaskConfig, which is for tests and learns nothing; use another task"
