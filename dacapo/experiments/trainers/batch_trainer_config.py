"""The config of trainers on random samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from dacapo.experiments.config import field
from dacapo.utils.precision import TRAINING_PRECISIONS

from .gp_augments import AugmentConfig
from .trainer import Trainer, TrainerConfig

if TYPE_CHECKING:
    import numpy.typing as npt


def prepare_input(augments: Sequence[AugmentConfig], raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return raw values as float32, after the augmentations that change every sample alike."""
    values = raw.astype(np.float32)
    for augment in augments:
        values = augment.at_prediction(values)
    return values


@attrs.define
class BatchTrainerConfig(TrainerConfig):
    """Base of the configs of trainers on random, augmented samples."""

    trainer_type: ClassVar[type[Trainer]]

    num_data_fetchers: int = field(
        "Number of processes that make batches ahead of time; with 1, no process is started.",
        default=5,
        alters_training=False,
    )
    augments: list[AugmentConfig] = field("Random changes of the samples, in order.", factory=list)
    snapshot_interval: int | None = field(
        "Iterations between snapshots of a batch. By default, none are taken.",
        default=None,
        alters_training=False,
    )
    min_masked: float | None = field(
        "Smallest fraction of a sample that must be annotated (masked in); other samples are rejected.", default=0.15
    )
    clip_raw: bool = field("Use raw data only inside the ground truth, and mirror it around that.", default=False)
    warmup_iterations: int = field(
        "Iterations during which the learning rate grows from 1% to its full value.", default=1000, kw_only=True
    )
    decay_iterations: int | None = field(
        "Iteration at which the learning rate is back at 1%, after it has followed a cosine since the warm-up. By "
        "default, it stays constant.",
        default=None,
        kw_only=True,
    )

    precision: str = field(
        "Precision of the network in training: 'float32', or mixed precision, which is faster and a little less "
        "exact: 'bfloat16', or 'float16' with scaled gradients for GPUs without bfloat16. Weights stay float32.",
        default="float32",
        kw_only=True,
    )
    accumulate: int = field(
        "Number of batches in an iteration. Their gradients are averaged before the step of the optimizer, so n "
        "batches train like one batch of n times the size, but in the memory of one.",
        default=1,
        alters_training=False,
        kw_only=True,
    )
    clip_gradients: float | None = field(
        "Maximum norm of all gradients together, to which larger gradients are scaled down. By default, no limit.",
        default=None,
        kw_only=True,
    )
    ema_decay: float | None = field(
        "Average the weights over iterations, with this decay, such as 0.999. The average is validated and applied; "
        "its scores vary less from one checkpoint to the next. By default, weights are not averaged.",
        default=None,
        kw_only=True,
    )
    channels_last: bool = field(
        "Keep the channels of a voxel next to each other in memory, which makes convolutions faster on some hardware. "
        "Mixed precision always does.",
        default=False,
        alters_training=False,
        kw_only=True,
    )
    compile: bool = field(
        "Compile the network with torch.compile, which takes minutes at the start and makes iterations faster.",
        default=False,
        alters_training=False,
        kw_only=True,
    )

    def input_preparation(self) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
        """Return :func:`prepare_input` with the augmentations; builds no trainer."""
        return functools.partial(prepare_input, list(self.augments))

    def verify(self) -> tuple[bool, str]:
        """Check the settings."""
        problem = self.problem()
        return (False, problem) if problem is not None else TrainerConfig.verify(self)

    def problem(self) -> str | None:
        """Return what is wrong with the settings, or None."""
        fine, reason = TrainerConfig.verify(self)
        if not fine:
            return reason
        if self.num_data_fetchers < 0:
            return f"num_data_fetchers is {self.num_data_fetchers}, but cannot be negative"
        if self.min_masked is not None and not 0 <= self.min_masked <= 1:
            return f"min_masked is {self.min_masked}, but must be a fraction of a sample, from 0 to 1"
        if self.snapshot_interval is not None and self.snapshot_interval < 1:
            return f"snapshot_interval is {self.snapshot_interval}, but must be at least 1, or None for no snapshots"
        if self.precision not in TRAINING_PRECISIONS:
            return f"precision is {self.precision!r}, but must be one of {', '.join(TRAINING_PRECISIONS)}"
        if self.accumulate < 1:
            return f"accumulate is {self.accumulate}, but an iteration needs at least 1 batch"
        if self.clip_gradients is not None and not self.clip_gradients > 0:
            return f"clip_gradients is {self.clip_gradients}, but must be above 0, or None for no limit"
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            return f"ema_decay is {self.ema_decay}, but must be between 0 and 1, or None for no average"
        if self.warmup_iterations < 0:
            return f"warmup_iterations is {self.warmup_iterations}, but cannot be negative"
        if self.decay_iterations is not None and self.decay_iterations <= self.warmup_iterations:
            return (
                f"decay_iterations is {self.decay_iterations}, but must be above "
                f"warmup_iterations = {self.warmup_iterations}"
            )
        return None
