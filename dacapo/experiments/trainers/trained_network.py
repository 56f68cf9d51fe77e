"""A network in training: in some precision, perhaps compiled, perhaps on several ranks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parallel import DistributedDataParallel

from dacapo.utils import distributed

if TYPE_CHECKING:
    from dacapo.experiments.model import Model

MIXED = {"bfloat16": torch.bfloat16, "float16": torch.float16}

# Memory layouts that keep the channels of a voxel together, by the number of axes (batch, channel, space).
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


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

    def seed(self, seed: int) -> None:
        """Seed the generators that layers draw from, like ``torch.manual_seed``, but only on the devices in use."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type != "cpu":
            torch.manual_seed(seed)

    def predict(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the output of the model as float32."""
        if self._channels_last and raw.ndim in LAYOUTS:
            raw = raw.contiguous(memory_format=LAYOUTS[raw.ndim])
        if self._mixed is None:
            return self._forward(raw)  # type: ignore[no-any-return]
        with torch.autocast(raw.device.type, self._mixed):
            prediction = self._forward(raw)
        return prediction.float()  # type: ignore[no-any-return]

    def exchanging(self, last: bool) -> AbstractContextManager[None]:
        """Return a context for forward and backward pass, in which ranks exchange gradients if they have to.

        Args:
            last: Whether this is the last batch before the step.
        """
        # With a static graph, the first exchange determines which gradients are exchanged. A needless exchange is
        # harmless.
        if self._ranks is None or last or not self._exchanged:
            return nullcontext()
        return self._ranks.no_sync()

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss to those of the model; with several ranks their mean, at the last batch."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        self._exchanged = True

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
