"""Load the state of one model into another: all of it, or the matching part.

States are tensors by name, as ``state_dict()`` of a model returns them.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from dacapo.errors import ConfigError

if TYPE_CHECKING:
    from dacapo.experiments.model import Model

logger = logging.getLogger(__name__)

HEAD_PREFIXES = ("prediction_head.", "chain.1.")


def load_model_state(model: torch.nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Load a complete state into a model; one of several names of a tensor is enough.

    Args:
        model: The model to load it into.
        state: Tensors by name.
        source: Description of the state for the error message.

    Raises:
        ConfigError: If names are missing or unexpected, or shapes differ; the model is unchanged then.
    """
    complete = OrderedDict(state)
    for names in same_tensors(model):
        present = next((name for name in names if name in state), None)
        if present is not None:
            complete.update({name: state[present] for name in names if name not in state})
    wanted = model.state_dict()
    shared = [name for name in wanted if name in complete]
    problems = {
        "missing": [name for name in wanted if name not in complete],
        "unexpected": [name for name in complete if name not in wanted],
        "of different shape": [name for name in shared if _shape(wanted[name]) != _shape(complete[name])],
    }
    if any(problems.values()):
        found = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
        raise ConfigError(
            f"{source} do not fit the model. {found}. Was the architecture or the task changed after training? "
            "Use the config the run was trained with, or start a new run from these weights"
        )
    metadata = getattr(state, "_metadata", None)
    if metadata is not None:
        complete._metadata = metadata  # type: ignore[attr-defined]
    model.load_state_dict(complete)


def load_common(
    model: Model,
    state: Mapping[str, torch.Tensor],
    source: str,
    old_head: Sequence[str] | None = None,
    new_head: Sequence[str] | None = None,
) -> Model:
    """Copy tensors of a state into a model where name and shape agree.

    Args:
        model: The model to change.
        state: Tensors by name.
        source: Origin of the tensors, for messages.
        old_head: Labels of the channels of the head in ``state``.
        new_head: Labels of the channels of the model's head.

    Returns:
        The same model.

    Raises:
        ConfigError: If no tensor fits.
    """
    tensors, by_label = model.state_dict(), bool(old_head) and bool(new_head)
    known: set[str] = set()
    copied = 0
    for names in same_tensors(model):
        known.update(names)
        if by_label and names[0].startswith(HEAD_PREFIXES):
            continue
        old = next((state[name] for name in names if name in state), None)
        target = tensors[names[0]]
        if old is None:
            logger.warning("%s has no layer %s; it keeps its own weights", source, names[0])
        elif old.shape != target.shape:
            shapes = tuple(target.shape), tuple(old.shape)
            logger.warning(
                "layer %s has shape %s, in %s %s; it keeps its own weights", names[0], shapes[0], source, shapes[1]
            )
        else:
            copied += 1
            with torch.no_grad():
                target.copy_(old)
    for name in state:
        if name not in known and not _is_second_name(name, state):
            logger.warning("layer %s of %s has no counterpart in the model and is skipped", name, source)
    if by_label and old_head and new_head:
        head = {name: tensor for name, tensor in state.items() if name.startswith(HEAD_PREFIXES)}
        copied += bool(head)
        match_heads(model, head, old_head, new_head)
    if not copied:
        raise ConfigError(
            f"no layer of the model has the name and shape of one in {source}; start from a run of a similar "
            "architecture, or omit the start"
        )
    return model


def match_heads(
    model: Model, head_weights: Mapping[str, torch.Tensor], old_head: Sequence[str], new_head: Sequence[str]
) -> Model:
    """Copy the channels of an old head whose labels the new head has too.

    Args:
        model: The model to change.
        head_weights: Tensors of the old head by name, output channels first. Names may begin with ``prediction_head.``
            or ``chain.1.``.
        old_head: Label of each channel of the old head.
        new_head: Label of each channel of the model's head.

    Returns:
        The same model.
    """
    old = {_inside_head(name): tensor for name, tensor in head_weights.items()}
    pairs = [(new_head.index(label), old_head.index(label)) for label in new_head if label in old_head]
    for label in new_head:
        if label not in old_head:
            logger.warning("channel %r is new; it keeps its own weights in the head", label)
    for name, target in model.prediction_head.state_dict().items():
        source = old.get(name)
        if source is None or not _same_but_channels(source, target, len(old_head), len(new_head)):
            logger.warning("layer prediction_head.%s cannot be matched by labels; it keeps its own weights", name)
            continue
        with torch.no_grad():
            for new_channel, old_channel in pairs:
                target[new_channel].copy_(source[old_channel])
    return model


def same_tensors(model: torch.nn.Module) -> list[list[str]]:
    """Group the names in a model's state by the tensor they refer to.

    A model registers its parts both individually and in its chain, so most tensors have two names.
    """
    groups: dict[int, list[str]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        groups.setdefault(id(tensor), []).append(name)
    return list(groups.values())


def _shape(value: Any) -> tuple[int, ...] | None:
    shape = getattr(value, "shape", None)
    return None if shape is None else tuple(shape)


def _some(names: Sequence[str], shown: int = 6) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _is_second_name(name: str, state: Mapping[str, torch.Tensor]) -> bool:
    """Return whether a tensor of a chain is also listed under the name of its part."""
    pairs = (("chain.0.", "architecture."), ("chain.1.", "prediction_head."))
    return any(name.startswith(chain) and part + name.removeprefix(chain) in state for chain, part in pairs)


def _inside_head(name: str) -> str:
    for prefix in HEAD_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _same_but_channels(old: torch.Tensor, new: torch.Tensor, old_count: int, new_count: int) -> bool:
    if old.dim() == 0 or new.dim() == 0:
        return False
    return old.shape[1:] == new.shape[1:] and (old.shape[0], new.shape[0]) == (old_count, new_count)
