"""The weights of batches, which balance classes by their frequency so far."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from dacapo.errors import ConfigError, TrainingError
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.experiments.tasks.predictors.class_weights import (
    TensorCounts,
    class_weights,
    count_classes,
    from_moving_counts,
    no_counts,
)
from dacapo.experiments.tasks.predictors.tensor_predictor import TensorPredictor
from dacapo.experiments.tasks.predictors.torch_target import TorchTarget
from dacapo.utils import distributed

from .collate import CPU, UnweightedBatch
from .sampler import ArrayTarget

if TYPE_CHECKING:
    from dacapo.experiments.tasks.predictors import Predictor


@attrs.define
class TrainingBatch:
    """A batch: numpy arrays on a CPU, tensors on a GPU; axes batch, channel (if any), space.

    Attributes:
        iteration: Its iteration.
        part: Its number within the iteration.
        raw: Input of the network, float32.
        target: Target of the prediction, float32.
        weight: Weight of every value of the target, float32.
        gt: Ground truth in the region of the target, for a snapshot.
        mask: Mask in that region, likewise.
        moving_class_counts: Class counts after this batch.
    """

    iteration: int
    part: int
    raw: Any
    target: Any
    weight: Any
    gt: np.ndarray[Any, Any] | None
    mask: np.ndarray[Any, Any] | None
    moving_class_counts: Any

    def on_cpu(self) -> TrainingBatch:
        """Return a batch of arrays."""
        raw, target, weight = (torch.as_tensor(a).numpy(force=True) for a in (self.raw, self.target, self.weight))
        return attrs.evolve(self, raw=raw, target=target, weight=weight)


def weighted(batches: Iterator[UnweightedBatch], predictor: Predictor, counts: Any) -> Iterator[TrainingBatch]:
    """Add weights to batches, in order.

    Args:
        batches: Batches without weights.
        predictor: Makes the weights of targets that are arrays.
        counts: Class counts before the first batch, None at the beginning of a training.
    """
    raw: Any
    target: Any
    weight: Any
    for batch in batches:
        if isinstance(batch.target, TorchTarget):
            target = batch.target.target
            weight, counts = _balanced(batch.target, predictor, counts)
        else:
            target, weight, counts = _from_arrays(batch.target, predictor, counts)
        raw, target, weight = (t.numpy() if t.device == CPU else t for t in (batch.raw, target, weight))
        yield TrainingBatch(batch.iteration, batch.part, raw, target, weight, batch.gt, batch.mask, counts)


def _balanced(target: TorchTarget, predictor: Predictor, counts: Any) -> tuple[torch.Tensor, TensorCounts]:
    """Return the weights of a batch, and the class counts after it, over all ranks."""
    new = count_classes(target.classes)
    if distributed.world_size() > 1:
        together = torch.cat([part.flatten() for part in new])
        torch.distributed.all_reduce(together)
        parts = torch.split(together, [part.numel() for part in new])
        new = [part.reshape(old.shape) for part, old in zip(parts, new, strict=True)]
    before = _earlier_counts(target, predictor, counts)
    # Counts of a checkpoint are arrays, and may come from another device.
    counts = [torch.as_tensor(old, device=part.device) + part for old, part in zip(before, new, strict=True)]
    return class_weights(target.classes, counts), counts


def _earlier_counts(target: TorchTarget, predictor: Predictor, counts: Any) -> Sequence[Any]:
    """Return the class counts before a batch, given those after the batch before or those of a checkpoint.

    Checkpoints of a GunpowderTrainer of earlier versions have the counts that ``create_weight`` returned.
    """
    start = no_counts(target.classes)
    shapes = [tuple(part.shape) for part in start]
    if counts is None or (isinstance(counts, list) and [np.shape(part) for part in counts] == shapes):
        return start if counts is None else counts
    if isinstance(predictor, TensorPredictor):
        with contextlib.suppress(ConfigError, TypeError, ValueError):
            return from_moving_counts(target.classes, predictor.unpack_counts(counts))
    raise TrainingError(
        f"the checkpoint has class counts {shorten(str(counts), 200)}, but this training counts classes in arrays of "
        f"shapes {shapes}; it is of another version or task. Start a new run; its start_config can take over the "
        "weights"
    )


def _from_arrays(
    targets: Sequence[ArrayTarget], predictor: Predictor, counts: Any
) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Return target and weight of a batch from a predictor without tensor targets, and the class counts after it.

    Classes are counted sample by sample, on each rank separately.
    """
    counts = copy.deepcopy(counts)  # predictors may change them in place
    made = []
    for sample in targets:
        roi = sample.target_roi
        weight, counts = predictor.annotated_weight(sample.gt, sample.target, sample.mask, roi, counts)
        made.append([read_channels_first(array, roi) for array in (sample.target, weight)])
    targets_and_weights = (np.stack(arrays).astype(np.float32) for arrays in zip(*made, strict=True))
    return *map(torch.from_numpy, targets_and_weights), counts
