"""A task whose models start from given weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import torch

from dacapo.errors import DamagedFileError, PathNotFoundError
from dacapo.experiments.config import field
from dacapo.experiments.model_state import load_common
from dacapo.store.tensor_files import read_tensors
from dacapo.store.weights_store import Weights

from .task import Task, TaskConfig

if TYPE_CHECKING:
    from dacapo.experiments.architectures.architecture import Architecture
    from dacapo.experiments.model import Model


class PretrainedTask(Task):
    """Wrap another task, with models that load their initial weights from a file."""

    def __init__(self, task_config: PretrainedTaskConfig) -> None:
        """Build the other task; creating a model reads the weights."""
        self.weights = Path(task_config.weights)
        self.sub_task: Task = task_config.sub_task_config.task_type(task_config.sub_task_config)
        self.predictor = self.sub_task.predictor
        self.loss = self.sub_task.loss
        self.post_processor = self.sub_task.post_processor
        self.evaluator = self.sub_task.evaluator

    def create_model(self, architecture: Architecture) -> Model:
        """Build the other task's model and load tensors that match by name and shape; the rest keeps its own weights.

        Raises:
            PathNotFoundError: If the file does not exist.
            UnsafeFileError: If it would execute code.
            DamagedFileError: If it is damaged, or holds no model state.
            ConfigError: If no layer fits.
        """
        state = {name: value for name, value in _read_state(self.weights).items() if isinstance(value, torch.Tensor)}
        return load_common(self.sub_task.create_model(architecture), state, str(self.weights))


def _read_state(path: Path) -> Mapping[str, Any]:
    """Read the state of a model, either the whole content of a file or its entry 'model'."""
    if not path.is_file():
        raise PathNotFoundError(f"the weights file {path} does not exist; correct the field 'weights' of the task")
    content = read_tensors(path)
    if isinstance(content, Weights):
        content = vars(content)
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not any(isinstance(value, torch.Tensor) for value in state.values()):
        raise DamagedFileError(f"{path} holds no model state; expected tensors by name, possibly under 'model'")
    return state


@attrs.define
class PretrainedTaskConfig(TaskConfig):
    """Configure another task, and the weights its models start from."""

    task_type: ClassVar[type[Task]] = PretrainedTask

    sub_task_config: TaskConfig = field("The wrapped task.")
    weights: Path = field("File of weights: the state of a model, written by torch.save.")

    def verify(self) -> tuple[bool, str]:
        """Check the other task, and that the file exists."""
        valid, reason = super().verify()
        if not valid:
            return valid, reason
        if not Path(self.weights).is_file():
            return False, f"weights: the file {self.weights} does not exist"
        return valid, reason
