"""The classes of a target, and the weights that follow from how frequent they are.

The classes of a sample do not depend on other samples, so any process can make them, in any order. Weights depend on
the frequency of classes in all samples so far, so they are computed where samples come together, batch by batch.

On a CPU, numpy does the work: it compares in a fraction of the time that torch needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import torch

from dacapo.errors import ConfigError, LabelError
from dacapo.utils.balance_weights import MovingCounts, count_codes, inverse_frequencies, look_up
from dacapo.utils.balance_weights import mark_unknown as mark_unknown_classes
from dacapo.utils.shared_memory import Transferable

UNKNOWN = 2
"""The class of voxels that are not annotated, or not known for another reason: weight 0, and not counted."""


@attrs.frozen
class Classes(Transferable):
    """The classes of some channels of a target.

    Attributes:
        codes: 0, 1 or ``UNKNOWN``, uint8, axes (batch,) channel, space.
        balanced: Whether weights make both classes count alike; otherwise class 1 has weight 1 and class 0 none.
        clipmin: Lower limit of the fraction of a class when weights are balanced.
        clipmax: Upper limit of it.
        repeat: Number of channels of the target that share each channel of ``codes``.
    """

    codes: torch.Tensor
    balanced: bool = True
    clipmin: float = 0.05
    clipmax: float = 0.95
    repeat: int = 1


def mark_unknown(classes: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return 0 and 1 (bool or uint8) as codes, with ``UNKNOWN`` where not known; both channels first.

    Raises:
        LabelError: If a class is another number. Classes on a GPU are not checked, because that would wait for it.
    """
    if classes.device.type != "cpu":
        return mark_on_device(classes, known)
    values = classes.numpy().view(np.uint8)
    if classes.dtype == torch.uint8 and values.max(initial=0) > 1:
        raise LabelError(f"classes of a target are 0 and 1, but some are {values.max()}")
    return torch.from_numpy(mark_unknown_classes(values, known.numpy(), UNKNOWN))


def mark_on_device(classes: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Do the same as :func:`mark_unknown`, on any device."""
    return classes.to(torch.uint8).masked_fill(~known, UNKNOWN)


TensorCounts = list[torch.Tensor]
"""For each entry of ``TorchTarget.classes``: voxels of either class, and all voxels plus one; shape (channel, 3)."""


def no_counts(classes: Sequence[Classes]) -> TensorCounts:
    """Return the counts before the first batch, on the device of the classes."""
    start = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    return [start.repeat(group.codes.shape[1], 1).to(group.codes.device) for group in classes]


def count_classes(classes: Sequence[Classes]) -> TensorCounts:
    """Count the classes in a batch; channels that are not balanced are not counted."""
    return [_count(group) for group in classes]


def _count(group: Classes) -> torch.Tensor:
    channels = group.codes.transpose(0, 1)
    if not group.balanced:
        return torch.zeros((len(channels), 3), dtype=torch.float64, device=channels.device)
    if channels.device.type == "cpu":
        found = torch.tensor([count_codes(channel, 2) for channel in channels.numpy()], dtype=torch.float64)
    else:
        found = count_on_device(channels)
    return torch.cat([found, found.sum(dim=1, keepdim=True)], dim=1)


def count_on_device(channels: torch.Tensor) -> torch.Tensor:
    """Return how often the codes 0 and 1 occur in each channel, float64, shape (channel, 2), on any device."""
    flat = channels.flatten(start_dim=1)
    return torch.stack([(flat == code).sum(dim=1) for code in (0, 1)], dim=1).to(torch.float64)


def to_moving_counts(classes: Sequence[Classes], counts: TensorCounts) -> list[MovingCounts | None]:
    """Return counts in the form of ``balance_weights``, None for classes that are not balanced."""
    return [
        [[(zeros, total), (ones, total)] for zeros, ones, total in counted.tolist()] if group.balanced else None
        for group, counted in zip(classes, counts, strict=True)
    ]


def from_moving_counts(classes: Sequence[Classes], moving: Sequence[MovingCounts | None]) -> TensorCounts:
    """Undo :func:`to_moving_counts`; None stands for no counts yet.

    Raises:
        ConfigError: If the counts are those of other channels.
    """
    counts = no_counts(classes)
    for index, (start, given) in enumerate(zip(counts, moving, strict=False)):
        if given is not None:
            values = torch.as_tensor(np.asarray(given, dtype=np.float64))
            if values.shape != (len(start), 2, 2):
                raise ConfigError(
                    f"the counts handed in have shape {tuple(values.shape)}, but {len(start)} channels of two classes "
                    f"need {(len(start), 2, 2)}; start without counts"
                )
            counts[index] = torch.cat([values[..., 0], values[:, :1, 1]], dim=1)
    return counts


def class_weights(classes: Sequence[Classes], counts: TensorCounts) -> torch.Tensor:
    """Return the weights of a batch, float32, axes batch, channel, space.

    Weights are those of ``balance_weights``, with the fractions of the classes among all voxels counted so far.

    Args:
        classes: Classes of the batch.
        counts: Counts so far, those of the batch included.
    """
    codes = classes[0].codes
    channels = [group.codes.shape[1] * group.repeat for group in classes]
    shape = (len(codes), sum(channels), *codes.shape[2:])
    weights = torch.empty(shape, dtype=torch.float32, device=codes.device)
    for part, group, counted in zip(torch.split(weights, channels, dim=1), classes, counts, strict=True):
        each = part.view(len(part), -1, group.repeat, *part.shape[2:])
        _look_up(group.codes, _table(group, counted), each[:, :, 0])
        each[:, :, 1:] = each[:, :, :1]
    return weights


def _table(group: Classes, counts: torch.Tensor) -> torch.Tensor:
    """Return the weights of the codes 0, 1 and 2, float32, shape (channel, 3)."""
    if not group.balanced:
        return torch.tensor([[0.0, 1.0, 0.0]], device=counts.device).expand(len(counts), 3)
    weights = inverse_frequencies(counts[:, :2], counts[:, 2:], group.clipmin, group.clipmax)
    return torch.nn.functional.pad(weights, (0, 1)).to(torch.float32)


def _look_up(codes: torch.Tensor, table: torch.Tensor, out: torch.Tensor) -> None:
    if codes.device.type == "cpu":
        for sample, weights in zip(codes.numpy(), out.numpy(), strict=True):
            for channel in zip(sample, table.numpy(), weights, strict=True):
                look_up(*channel)
    else:
        out.copy_(look_up_on_device(codes, table))


def look_up_on_device(codes: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Return the entries of codes (axes batch, channel, space) in a table (axes channel, code), on any device."""
    channel = torch.arange(len(table), device=codes.device).reshape(1, -1, *(1,) * (codes.ndim - 2))
    return table[channel, codes.long()]
