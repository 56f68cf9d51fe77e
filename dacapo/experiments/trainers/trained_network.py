"""A network in training: in some precision, perhaps compiled, perhaps on several ranks."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parallel import DistributedDataParallel

from dacapo.errors import TrainingError
from dacapo.utils import distributed
from dacapo.utils.memory_layout import LAYOUTS

if TYPE_CHECKING:
    from dacapo.experiments.model import Model
    from dacapo.experiments.tasks.losses import Loss

    from .weighting import TrainingBatch

MIXED = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TrainedNetwork:
    """Computes predictions and gradients of a model without changing the model for anybody else.

    Attributes:
        model: The model whose parameters are trained.
        device: Its device.
    """

    def __init__(
        self,
        model: Model,
        device: torch.device,
        precision: str,
        channels_last: bool = False,
        compiled: bool = False,
        scaler_state: dict[str, Any] | None = None,
    ) -> None:
        """Wrap a model.

        Args:
            model: The model, on the device.
            device: Device to train on.
            precision: ``float32``, or ``bfloat16`` or ``float16`` for mixed precision.
            channels_last: Whether to keep the channels of a voxel next to each other in memory.
            compiled: Whether to compile the model.
            scaler_state: State of the gradient scaler to go on with.
        """
        self.model, self.device = model, device
        self._mixed = MIXED.get(precision)
        # Convolutions in half precision are fast only if channels lie next to each other in memory.
        self._channels_last = channels_last or self._mixed is not None
        if self._channels_last:
            for parameter in model.parameters():
                layout = LAYOUTS.get(parameter.ndim)
                if layout is not None:
                    # With one channel, both layouts are the same in memory but not in name, and gradients follow names.
                    parameter.data = torch.empty_like(parameter, memory_format=layout).copy_(parameter.data)
        # A static graph may leave parameters out; some networks use only a part of theirs.
        self._ranks = DistributedDataParallel(model, static_graph=True) if distributed.world_size() > 1 else None
        network = model if self._ranks is None else self._ranks
        self._forward: Any = torch.compile(network) if compiled else network
        self._scaler = torch.amp.GradScaler(device.type) if precision == "float16" else None
        if self._scaler is not None and scaler_state is not None:
            self._scaler.load_state_dict(scaler_state)
        self._exchanged = False

    def add_gradients(
        self, batch: TrainingBatch, loss: Loss, seed: int, accumulate: int = 1, last: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the gradients of a batch to those of the model; with several ranks their mean, at the last batch.

        Args:
            batch: The batch.
            loss: Compares prediction and target.
            seed: Seed of random layers, such as dropout.
            accumulate: Number of batches before the step, whose gradients are averaged.
            last: Whether this is the last of them.

        Returns:
            The loss and the prediction.

        Raises:
            TrainingError: If prediction and target differ in shape.
        """
        # With a static graph, the first exchange determines which gradients are exchanged. A needless one is harmless.
        waits = self._ranks is not None and not last and self._exchanged
        with self._ranks.no_sync() if self._ranks is not None and waits else nullcontext():
            self._seed(seed)
            raw, target, weight = (torch.as_tensor(a).to(self.device) for a in (batch.raw, batch.target, batch.weight))
            prediction = self._predict(raw)
            if prediction.shape[2:] != target.shape[2:]:
                raise TrainingError(
                    f"the network predicts shape {tuple(prediction.shape)}, but targets have shape "
                    f"{tuple(target.shape)}"
                )
            value = loss.compute(prediction, target, weight)
            scaled = value / accumulate if accumulate > 1 else value
            (scaled if self._scaler is None else self._scaler.scale(scaled)).backward()  # type: ignore[no-untyped-call]
        self._exchanged = True
        return value.detach(), prediction.detach()

    def _seed(self, seed: int) -> None:
        """Seed the generators that layers draw from, like ``torch.manual_seed``, but only on the devices in use."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type != "cpu":
            torch.manual_seed(seed)

    def _predict(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the output of the model as float32."""
        if self._channels_last and raw.ndim in LAYOUTS:
            raw = raw.contiguous(memory_format=LAYOUTS[raw.ndim])
        if self._mixed is None:
            return self._forward(raw)  # type: ignore[no-any-return]
        with torch.autocast(raw.device.type, self._mixed):
            prediction = self._forward(raw)
        return prediction.float()  # type: ignore[no-any-return]

    def step(self, optimizer: torch.optim.Optimizer, clip_gradients: float | None = None) -> None:
        """Step the optimizer; with float16 skip the step if the scaled gradients overflowed.

        Args:
            optimizer: Optimizer of the model.
            clip_gradients: Maximum norm of all gradients together.
        """
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)
        if clip_gradients is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip_gradients)
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    def scaler_state(self) -> dict[str, Any] | None:
        """Return the state of the gradient scaler, None without one."""
        return None if self._scaler is None else self._scaler.state_dict()
