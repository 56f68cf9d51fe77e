"""Evaluators: how good a segmentation is, compared with the truth."""

from __future__ import annotations

from dacapo.utils.aliases import alias_modules

from .dummy_evaluator import DummyEvaluationScores, DummyEvaluator
from .evaluator import Criterion, EvaluationScores, Evaluator
from .instance_evaluator import InstanceEvaluationScores

__all__ = [
    "Criterion",
    "DummyEvaluationScores",
    "DummyEvaluator",
    "EvaluationScores",
    "Evaluator",
    "InstanceEvaluationScores",
]

# Legacy import paths.
alias_modules(
    __name__,
    {
        "dummy_evaluation_scores": "dummy_evaluator",
        "evaluation_scores": "evaluator",
        "instance_evaluation_scores": "instance_evaluator",
    },
)
