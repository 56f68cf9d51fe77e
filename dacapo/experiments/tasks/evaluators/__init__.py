"""Evaluators, which compare segmentations with the truth."""

from __future__ import annotations

from dacapo.utils.aliases import alias_modules

from .binary_segmentation_evaluator import (
    BinarySegmentationEvaluationScores,
    BinarySegmentationEvaluator,
    MultiChannelBinarySegmentationEvaluationScores,
)
from .dummy_evaluator import DummyEvaluationScores, DummyEvaluator
from .evaluator import Criterion, EvaluationScores, Evaluator, TabulatedScores
from .instance_evaluator import InstanceEvaluationScores, InstanceEvaluator

__all__ = [
    "BinarySegmentationEvaluationScores",
    "BinarySegmentationEvaluator",
    "Criterion",
    "DummyEvaluationScores",
    "DummyEvaluator",
    "EvaluationScores",
    "Evaluator",
    "InstanceEvaluationScores",
    "InstanceEvaluator",
    "MultiChannelBinarySegmentationEvaluationScores",
    "TabulatedScores",
]

# Legacy import paths.
alias_modules(
    __name__,
    {
        "binary_segmentation_evaluation_scores": "binary_segmentation_evaluator",
        "dummy_evaluation_scores": "dummy_evaluator",
        "evaluation_scores": "evaluator",
        "instance_evaluation_scores": "instance_evaluator",
    },
)
