"""The types of numbers that networks compute with."""

from __future__ import annotations

PRECISIONS = ("float32", "bfloat16")
"""Those that predict: the weights' own type, and mixed precision."""

TRAINING_PRECISIONS = (*PRECISIONS, "float16")
"""Those that train: gradients are scaled for float16, which predictions have no use for."""
