"""A task: the target of a network, its loss, its post-processing and its scores."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from dacapo.experiments.config import Config, field
from dacapo.utils.html import html_table

if TYPE_CHECKING:
    from dacapo.experiments.architectures.architecture import Architecture
    from dacapo.experiments.model import Model

    from .evaluators import EvaluationScores, Evaluator
    from .losses import Loss
    from .post_processors import PostProcessor, PostProcessorParameters
    from .predictors import Predictor


class Task(ABC):
    """Hold the four parts that define a task.

    Attributes:
        predictor: Turns ground truth into targets and weights, and builds the model's head.
        loss: Compares prediction and target.
        post_processor: Turns predictions into a segmentation.
        evaluator: Compares a segmentation with ground truth.
    """

    predictor: Predictor
    loss: Loss
    evaluator: Evaluator
    post_processor: PostProcessor

    def __init__(self, task_config: Any = None) -> None:  # noqa: B027  (a subclass may set the parts elsewhere)
        """Set nothing: a subclass builds the four parts, from a config or otherwise."""

    @property
    def parameters(self) -> list[PostProcessorParameters]:
        """All parameters of the post-processor, in the order in which validation tries them."""
        return list(self.post_processor.enumerate_parameters())

    @property
    def evaluation_scores(self) -> EvaluationScores:
        """Scores without values, which know names, bounds and directions of all criteria."""
        return self.evaluator.score

    def __repr__(self) -> str:
        parts = (f"{name}={kind}" for name, kind in self._parts())
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """Return a table of the parts, for notebooks."""
        return html_table(type(self).__name__, ["part", "class"], self._parts())

    def _parts(self) -> list[tuple[str, str]]:
        names = ("predictor", "loss", "post_processor", "evaluator")
        return [(name, type(getattr(self, name)).__name__) for name in names if hasattr(self, name)]

    def create_model(self, architecture: Architecture) -> Model:
        """Build a model that predicts the targets of this task.

        Args:
            architecture: The network body; the predictor appends its head.
        """
        return self.predictor.create_model(architecture)


@attrs.define
class TaskConfig(Config):
    """Base class of all task configs."""

    task_type: ClassVar[type[Task]]

    name: str = field("Unique name of this task in the store.", alters_training=False)
