"""Batches of samples that are tensors, made ahead of time in other processes and on the device of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data

from dacapo.errors import TrainingError
from dacapo.experiments.tasks.predictors.torch_target import TorchTarget, stack_targets
from dacapo.utils.one_thread import one_thread
from dacapo.utils.shared_memory import Transferable

from .batch_sampler import BatchSampler
from .loader import BatchStream
from .sampler import Crop, PatchSampler, PlainTarget

if TYPE_CHECKING:
    from dacapo.experiments.tasks.predictors.sample_labels import SampleLabels

CPU = torch.device("cpu")


@attrs.define
class ReadBatch(Transferable):
    """The crops that were read for a batch.

    Attributes:
        iteration: The iteration it is for.
        part: Its number within the iteration.
        crops: One per sample.
        targets: Their targets, where those are made on the CPU.
        shown: Their ground truth and masks if a snapshot is to be taken, where targets are made on the CPU.
        shows: Whether a snapshot is to be taken.
        moving_class_counts: None; classes are counted where batches come together.
    """

    iteration: int
    part: int
    crops: list[Crop]
    targets: list[TorchTarget | PlainTarget] | None
    shown: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] | None
    shows: bool
    moving_class_counts: None = None


@attrs.define
class UnweightedBatch(Transferable):
    """A complete batch but for its weights.

    Attributes:
        iteration: The iteration it is for.
        part: Its number within the iteration.
        raw: Float32, axes batch, channel, space.
        target: Target and classes, or what takes their place.
        gt: Ground truth in the region of the target, if a snapshot is to be taken.
        mask: Mask in that region, likewise.
        moving_class_counts: None; classes are counted where batches come together.
    """

    iteration: int
    part: int
    raw: torch.Tensor
    target: TorchTarget | list[PlainTarget]
    gt: npt.NDArray[Any] | None
    mask: npt.NDArray[Any] | None
    moving_class_counts: None = None

    def tensors(self) -> Iterator[torch.Tensor]:
        """Return the tensors that lie on the device of the network."""
        yield self.raw
        if isinstance(self.target, TorchTarget):
            yield from self.target.tensors()


class TorchBatches(BatchStream):
    """Batches as far as they are made on a CPU: completely, or what was read for them."""

    def __init__(
        self,
        sampler: PatchSampler,
        device: torch.device,
        sampling: BatchSampler,
        start: int,
        num_workers: int,
        snapshot_interval: int | None = None,
        can_fork: bool = True,
    ) -> None:
        """Set what makes samples, for which device, and where to start; see ``BatchStream``."""
        super().__init__(sampling, start, [None] * num_workers, snapshot_interval)
        self.sampler = sampler
        self.device = device
        self.can_fork = can_fork

    def make(self, position: int, moving_class_counts: Any) -> Any:
        """Make a batch, or read what it needs if it is to be made on a GPU.

        Raises:
            TrainingError: If that fails.
        """
        iteration = self.sampling.iteration(position)
        try:
            with one_thread():
                read = self._read(iteration, self.sampling.part(position), position)
                return finish(self.sampler, read, self.device) if self.device.type == "cpu" else read
        except Exception as error:
            what = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
            raise TrainingError(f"the batch of iteration {iteration} could not be made: {what}") from error

    def _read(self, iteration: int, part: int, position: int) -> ReadBatch:
        crops = self.sampler.read(self.sampling.seeds(position))
        batch = ReadBatch(iteration, part, crops, None, None, self.shows(position))
        predictor = self.sampler.predictor
        if self.device.type == "cpu" or (predictor.works_on_tensors and predictor.targets_on_device):
            return batch
        labels = [self.sampler.labels(crop) for crop in crops]
        batch.targets = [self.sampler.target(one) for one in labels]
        batch.shown = [self.sampler.shown(one) for one in labels] if batch.shows else None
        for crop in crops:  # not needed any more
            crop.gt = crop.mask = torch.empty(0)
        return batch


def finish(sampler: PatchSampler, batch: ReadBatch, device: torch.device) -> UnweightedBatch:
    """Make on a device what is still to be made of a batch, all but the weights."""

    def send(values: torch.Tensor) -> torch.Tensor:
        if device.type == "cuda" and values.device.type == "cpu" and values.numel():
            values = values.pin_memory()  # so that this process need not wait for the transfer
        return values.to(device, non_blocking=True)

    crops = [crop.to(send) for crop in batch.crops]
    targets, shown = batch.targets, batch.shown
    if targets is None:
        labels: list[SampleLabels] = [sampler.labels(crop) for crop in crops]
        targets = [sampler.target(one) for one in labels]
        shown = [sampler.shown(one) for one in labels] if batch.shows else None
    raw = torch.stack([sampler.raw(crop) for crop in crops])
    gt, mask = (None, None) if shown is None else (np.stack(values) for values in zip(*shown, strict=True))
    return UnweightedBatch(batch.iteration, batch.part, raw, _together(targets, send), gt, mask)


def _together(
    targets: Sequence[TorchTarget | PlainTarget], send: Callable[[torch.Tensor], torch.Tensor]
) -> TorchTarget | list[PlainTarget]:
    tensors = [target for target in targets if isinstance(target, TorchTarget)]
    if len(tensors) < len(targets):
        return [target for target in targets if isinstance(target, PlainTarget)]
    target = stack_targets(tensors)
    return TorchTarget(send(target.target), [attrs.evolve(c, codes=send(c.codes)) for c in target.classes])
