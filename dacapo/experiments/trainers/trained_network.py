"""A network as it is trained: in some precision, compiled, and together with other ranks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parallel import DistributedDataParallel

from dacapo.utils import distributed

if TYPE_CHECKING:
    from dacapo.experiments.model import Model

MIXED = {"bfloat16": torch.bfloat16, "float16": torch.float16}

# How values with four or five axes, the second being channels, lie in memory if those of a voxel are together.
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


class TrainedNetwork:
    """Computes predictions and gradients of a model, which stays as it is to everybody else.

    Attributes:
        model: The model whose parameters are trained.
        device: Where it is.
    """

    def __init__(
        self, model: Model, device: torch.device, precision: str, channels_last: bool = False, compiled: bool = False
    ) -> None:
        """Wrap a model.

        Args:
            model: The model, on the device.
            device: Where to train.
            precision: ``float32``, or ``bfloat16`` or ``float16`` for mixed precision.
            channels_last: Whether to keep the channels of a voxel next to each other in memory.
            compiled: Whether to compile the model.
        """
        self.model, self.device = model, device
        self._mixed = MIXED.get(precision)
        # Convolutions in half precision are fast only where channels lie next to each other in memory.
        self._channels_last = channels_last or self._mixed is not None
        if self._channels_last:
            for parameter in model.parameters():
                layout = LAYOUTS.get(parameter.ndim)
                if layout is not None:
                    # With one channel both layouts are the same in memory but not in name, and gradients follow names.
                    parameter.data = torch.empty_like(parameter, memory_format=layout).copy_(parameter.data)
        # A static graph may leave parameters out, as networks do of which only a part is used.
        self._ranks = DistributedDataParallel(model, static_graph=True) if distributed.world_size() > 1 else None
        network = model if self._ranks is None else self._ranks
        self._forward: Any = torch.compile(network) if compiled else network
        self._scaler = torch.amp.GradScaler(device.type) if precision == "float16" else None
        self._exchanged = False

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
        """Return a context for predicting and going backward, in which ranks exchange gradients if they have to.

        Args:
            last: Whether no other batch follows before the step.
        """
        # With a static graph the first exchange settles what is exchanged. An exchange too many changes nothing.
        if self._ranks is None or last or not self._exchanged:
            return nullcontext()
        return self._ranks.no_sync()

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss to those of the model; with several ranks their mean, at the last batch."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        self._exchanged = True

    def step(self, optimizer: torch.optim.Optimizer, clip_gradients: float | None = None) -> None:
        """Let the optimizer do its step; with float16 not if gradients are infinite, because they were scaled too much.

        Args:
            optimizer: Optimizer of the model.
            clip_gradients: Largest norm of all gradients together.
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
        """Return how gradients are scaled, None if they are not."""
        return None if self._scaler is None else self._scaler.state_dict()

    def load_scaler_state(self, state: dict[str, Any] | None) -> None:
        """Take up what ``scaler_state`` returned."""
        if self._scaler is not None and state is not None:
            self._scaler.load_state_dict(state)
