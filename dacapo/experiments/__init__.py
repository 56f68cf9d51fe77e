"""Runs and their parts.

Names are imported on first access, because lower layers than the run use parts of this package, such as the base class
of configs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dacapo.experiments.config_replacement import replace_config as replace_config
    from dacapo.experiments.early_stopping import EarlyStoppingConfig as EarlyStoppingConfig
    from dacapo.experiments.model import Model as Model
    from dacapo.experiments.run import Run as Run
    from dacapo.experiments.run_config import RunConfig as RunConfig
    from dacapo.experiments.training_iteration_stats import TrainingIterationStats as TrainingIterationStats
    from dacapo.experiments.training_stats import TrainingStats as TrainingStats
    from dacapo.experiments.validation_iteration_scores import ValidationIterationScores as ValidationIterationScores
    from dacapo.experiments.validation_scores import ValidationScores as ValidationScores

_HOMES = {
    "EarlyStoppingConfig": "early_stopping",
    "Model": "model",
    "Run": "run",
    "replace_config": "config_replacement",
    "RunConfig": "run_config",
    "TrainingIterationStats": "training_iteration_stats",
    "TrainingStats": "training_stats",
    "ValidationIterationScores": "validation_iteration_scores",
    "ValidationScores": "validation_scores",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
