"""The state of a trainer in a checkpoint: class counts, the scaling of gradients, and the average of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dacapo.errors import TrainingError


def to_state(
    kind: str, counts: Sequence[Any], scaler: dict[str, Any] | None, average: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a state that ``torch.load(..., weights_only=True)`` can read.

    Args:
        kind: The class of the trainer.
        counts: Class counts of all ranks.
        scaler: State of the gradient scaler, None without one.
        average: State of the average of the weights, None without one.
    """
    state: dict[str, Any] = {"trainer": kind, "moving_class_counts": [_to_tensors(c) for c in counts]}
    others = {"grad_scaler": scaler, "weight_average": average}
    return state | {name: other for name, other in others.items() if other is not None}


def from_state(kind: str, state: dict[str, Any]) -> tuple[list[Any], dict[str, Any] | None, dict[str, Any] | None]:
    """Return the class counts of all ranks, and the states of the gradient scaler and of the average of the weights.

    Raises:
        TrainingError: If the state is of another kind of trainer.
    """
    # The layout of the counts does not always tell whose they are.
    given = state.get("trainer", kind)
    known = {"trainer", "moving_class_counts", "grad_scaler", "weight_average"}
    if given != kind or "moving_class_counts" not in state or not set(state) <= known:
        got = f"one with {sorted(state)}" if given == kind else f"that of a {given}"
        raise TrainingError(
            f"expected the state of a {kind}, got {got}; the checkpoint is of another trainer. Use the one that the "
            "run was started with, or start a new run; its start_config can take over the weights"
        )
    counts = [_to_arrays(counts) for counts in state["moving_class_counts"]]
    return counts, state.get("grad_scaler"), state.get("weight_average")


def _to_tensors(counts: Any) -> Any:
    """Return class counts with tensors instead of arrays, which torch loads without unpickling."""
    if isinstance(counts, list | tuple):
        return type(counts)(_to_tensors(part) for part in counts)
    if isinstance(counts, np.ndarray):
        return torch.from_numpy(counts.copy())
    return counts.item() if isinstance(counts, np.generic) else counts


def _to_arrays(counts: Any) -> Any:
    """Undo `_to_tensors`."""
    if isinstance(counts, list | tuple):
        return type(counts)(_to_arrays(part) for part in counts)
    return counts.cpu().numpy().copy() if isinstance(counts, torch.Tensor) else counts
