"""The target of a sample or a batch, as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import torch

from dacapo.utils.shared_memory import Transferable

from .class_weights import Classes


@attrs.frozen
class TorchTarget(Transferable):
    """The target of a network for a sample, or for the samples of a batch.

    Attributes:
        target: Float32, axes (batch,) channel, space.
        classes: The classes that determine the weights of the channels, in their order.
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
