"""The target of a sample or a batch, as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import torch

from dacapo.utils.shared_memory import Transferable

from .class_weights import Classes


@attrs.frozen
class TorchTarget(Transferable):
    """What a network is to predict for a sample, or for the samples of a batch.

    Attributes:
        target: Float32, axes (batch,) channel, space.
        classes: What the weights of the channels, in this order, follow from.
    """

    target: torch.Tensor
    classes: list[Classes]

    def tensors(self) -> Iterator[torch.Tensor]:
        """Return all tensors."""
        yield self.target
        yield from (group.codes for group in self.classes)


def stack_targets(targets: Sequence[TorchTarget]) -> TorchTarget:
    """Return the targets of several samples as those of a batch."""
    together = zip(*(target.classes for target in targets), strict=True)
    return TorchTarget(
        torch.stack([target.target for target in targets]),
        [attrs.evolve(alike[0], codes=torch.stack([c.codes for c in alike])) for alike in together],
    )
