"""Samples put together as batches, on a CPU or on the device of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch

from dacapo.experiments.tasks.predictors.torch_target import TorchTarget, stack_targets
from dacapo.utils.shared_memory import Transferable

from .sampler import ArrayTarget, Crop, PatchSampler

CPU = torch.device("cpu")


@attrs.define
class ReadBatch(Transferable):
    """The crops of a batch.

    Attributes:
        iteration: Its iteration.
        part: Its number within the iteration.
        crops: One crop per sample.
        shows: Whether a snapshot will be taken.
        targets: The targets of the samples, if they are made on the CPU.
        shown: Ground truth and mask of each sample for a snapshot, if targets are made on the CPU.
    """

    iteration: int
    part: int
    crops: list[Crop]
    shows: bool
    targets: list[TorchTarget | ArrayTarget] | None = None
    shown: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] | None = None

    def make_targets(self, sampler: PatchSampler) -> None:
        """Make the targets, and ground truth and masks for a snapshot."""
        labels = [sampler.labels(crop) for crop in self.crops]
        self.targets = [sampler.target(one) for one in labels]
        self.shown = [sampler.shown(one) for one in labels] if self.shows else None
        for crop in self.crops:  # no longer needed
            crop.gt = crop.mask = torch.empty(0)


@attrs.define
class UnweightedBatch(Transferable):
    """A batch without weights.

    Attributes:
        iteration: Its iteration.
        part: Its number within the iteration.
        raw: Float32, axes batch, channel, space.
        target: Target and classes, or targets as arrays.
        gt: Ground truth in the region of the target, for a snapshot.
        mask: Mask in that region, likewise.
    """

    iteration: int
    part: int
    raw: torch.Tensor
    target: TorchTarget | list[ArrayTarget]
    gt: npt.NDArray[Any] | None
    mask: npt.NDArray[Any] | None

    def tensors(self) -> Iterator[torch.Tensor]:
        """Return the tensors that lie on the device of the network."""
        yield self.raw
        if isinstance(self.target, TorchTarget):
            yield from self.target.tensors()


def collate(sampler: PatchSampler, batch: ReadBatch, device: torch.device) -> UnweightedBatch:
    """Apply the changes to a batch on a device, make the targets if there are none, and stack the samples."""

    def send(values: torch.Tensor) -> torch.Tensor:
        if device.type == "cuda" and values.device.type == "cpu" and values.numel():
            values = values.pin_memory()  # so that this process does not wait for the transfer
        return values.to(device, non_blocking=True)

    batch = attrs.evolve(batch, crops=[crop.to(send) for crop in batch.crops])
    raw = torch.stack([sampler.raw(crop) for crop in batch.crops])
    if batch.targets is None:
        batch.make_targets(sampler)
    assert batch.targets is not None
    gt, mask = (None, None) if batch.shown is None else (np.stack(values) for values in zip(*batch.shown, strict=True))
    return UnweightedBatch(batch.iteration, batch.part, raw, _stack(batch.targets, send), gt, mask)


def _stack(
    targets: Sequence[TorchTarget | ArrayTarget], send: Callable[[torch.Tensor], torch.Tensor]
) -> TorchTarget | list[ArrayTarget]:
    tensors = [target for target in targets if isinstance(target, TorchTarget)]
    if len(tensors) < len(targets):
        return [target for target in targets if isinstance(target, ArrayTarget)]
    target = stack_targets(tensors)
    return TorchTarget(send(target.target), [attrs.evolve(c, codes=send(c.codes)) for c in target.classes])
