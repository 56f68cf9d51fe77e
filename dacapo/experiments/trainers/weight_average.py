"""The exponential moving average of the weights of a network in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from dacapo.errors import TrainingError
from dacapo.experiments.model_state import same_tensors


class WeightAverage:
    """Average the weights of a model over its iterations.

    A model holds one set of weights: those that are trained, or, once :meth:`show` has exchanged them, their average.
    This object holds the other set, so no weights are ever computed from rounded ones.

    Buffers such as the running means of normalization are averaged too; buffers of integers are copied.

    Args:
        decay: Weight of the average so far in each update, below 1. It grows from 0.1, so that the average of the first
            iterations is not that of the initial weights: in the n-th update it is at most n / (n + 9).
        kept: The weights that the model does not hold, by name.
        updates: Number of updates so far.
        is_shown: Whether the model holds the average.
    """

    def __init__(
        self, decay: float, kept: Mapping[str, torch.Tensor], updates: int = 0, is_shown: bool = False
    ) -> None:
        self.decay, self.updates, self.is_shown = decay, updates, is_shown
        self._kept = dict(kept)

    @classmethod
    def of_model(cls, model: torch.nn.Module, decay: float) -> WeightAverage:
        """Return an average that begins with the weights of a model."""
        return cls(decay, {name: value.clone() for name, value in _values(model).items()})

    @classmethod
    def from_state(cls, state: Mapping[str, Any], decay: float) -> WeightAverage:
        """Return the average that :meth:`state` described."""
        kept = {name: value.clone() for name, value in state["kept"].items()}
        return cls(decay, kept, state["updates"], state["is_shown"])

    def state(self) -> dict[str, Any]:
        """Return all but the weights that the model holds, as plain values and tensors; tensors are not copied."""
        return {"kept": dict(self._kept), "updates": self.updates, "is_shown": self.is_shown}

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Take the weights of an iteration into the average; the model holds those that are trained."""
        current = _values(model)
        self._check(current)
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 9))
        for name, value in current.items():
            if value.is_floating_point() or value.is_complex():
                self._kept[name] = self._kept[name].to(value.device).lerp_(value, 1 - decay)
            else:
                self._kept[name] = value.clone()

    def show(self, model: torch.nn.Module) -> None:
        """Give the model the average, unless it holds it already."""
        if not self.is_shown:
            self._exchange(model)

    def hide(self, model: torch.nn.Module) -> None:
        """Give the model the weights that are trained, unless it holds them already."""
        if self.is_shown:
            self._exchange(model)

    @torch.no_grad()
    def _exchange(self, model: torch.nn.Module) -> None:
        current = _values(model)
        self._check(current)
        for name, value in current.items():
            held = value.clone()
            value.copy_(self._kept[name])
            self._kept[name] = held
        self.is_shown = not self.is_shown

    def _check(self, current: Mapping[str, torch.Tensor]) -> None:
        """Refuse the weights of another model, before anything changes."""
        shapes = [{name: tuple(value.shape) for name, value in weights.items()} for weights in (current, self._kept)]
        if shapes[0] != shapes[1]:
            different = sorted(name for name in {*shapes[0], *shapes[1]} if shapes[0].get(name) != shapes[1].get(name))
            raise TrainingError(
                f"the average of the weights does not belong to this model: {', '.join(different[:6])} differ; build "
                "the run anew, and load a checkpoint of it"
            )


def _values(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return each tensor of a model's state once, by its first name; they share their values with the model."""
    state = model.state_dict()
    return {names[0]: state[names[0]] for names in same_tensors(model)}
