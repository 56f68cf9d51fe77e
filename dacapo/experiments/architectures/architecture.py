"""The base of all network bodies and of their configs."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import attrs
import torch
from funlib.geometry import Coordinate

from dacapo.experiments.config import Config, field


class Architecture(torch.nn.Module, ABC):
    """Map raw channels to feature maps, which a prediction head turns into predictions.

    Batches have the axes batch, channel, and then `dims` spatial ones. All shapes here count voxels, without batch
    and channels; only `scale` deals with world units.
    """

    @property
    @abstractmethod
    def input_shape(self) -> Coordinate:
        """Spatial shape in voxels of the input during training."""
        raise NotImplementedError

    @property
    def eval_shape_increase(self) -> Coordinate:
        """Voxels by which the input may be larger per axis in prediction than in training."""
        return Coordinate((0,) * self.dims)

    @property
    @abstractmethod
    def num_in_channels(self) -> int:
        """Number of channels of the input."""
        raise NotImplementedError

    @property
    @abstractmethod
    def num_out_channels(self) -> int:
        """Number of feature maps that leave the network."""
        raise NotImplementedError

    @property
    def dims(self) -> int:
        """Number of spatial axes."""
        return int(self.input_shape.dims)

    def scale(self, input_voxel_size: Coordinate) -> Coordinate:
        """Return the voxel size of the output, given that of the input, both in world units."""
        return input_voxel_size

    @property
    def stride(self) -> Coordinate:
        """Step in input voxels by which the input may move for the output to move along unchanged.

        Blocks whose offsets differ by a multiple of it fit together without a seam.
        """
        return Coordinate((1,) * self.dims)

    @property
    def has_fixed_shape(self) -> bool:
        """Whether the network can only predict with inputs of its own input shape, enlarged as for evaluation."""
        return False

    @property
    def receptive_halo(self) -> Coordinate:
        """Input voxels that are needed on each side of an output region to compute it as in an endless volume.

        The default holds for networks without padding: half of what the output is smaller than the input.
        """
        _, output_shape = compute_shape(self, self.num_in_channels, self.input_shape)
        lost = (size - covered for size, covered in zip(self.input_shape, output_shape, strict=True))
        return Coordinate(max(0, -(-voxels // 2)) for voxels in lost)


@attrs.define
class ArchitectureConfig(Config):
    """Base of the configs of network bodies."""

    architecture_type: ClassVar[type[Architecture]]

    name: str = field(
        "A name for this architecture, unique among all stored ones; short names are easier to read.",
        alters_training=False,
    )


def compute_shape(module: torch.nn.Module, num_in_channels: int, input_shape: Coordinate) -> tuple[int, Coordinate]:
    """Find out what shape a module returns, without computing anything where it allows that.

    The module itself is not run: its parameters, buffers, training mode and the random state stay as they are.

    Args:
        module: Takes and returns a tensor of the axes batch, channel, space.
        num_in_channels: Number of channels of the input.
        input_shape: Spatial shape of the input in voxels.

    Returns:
        Number of channels and spatial shape of the output.
    """
    shape = (1, num_in_channels, *(int(size) for size in input_shape))
    try:
        output = dry_run(module, shape)
    except (NotImplementedError, RuntimeError):
        # Some operations have no shape-only version. If the shape is the problem, this raises it again.
        output = _trial_run(module, shape)
    return int(output.shape[1]), Coordinate(int(size) for size in output.shape[2:])


def dry_run(module: torch.nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """Run a copy of a module whose tensors have a shape and no content."""
    empty = torch.zeros(shape, device="meta", dtype=_dtype(module))
    with torch.no_grad():
        output: torch.Tensor = hollow_copy(module)(empty)
    return output


def hollow_copy(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a module, in eval mode, whose tensors have a shape and no content."""
    tensors: dict[int, Any] = {}
    for parameter in module.parameters():
        tensors[id(parameter)] = torch.nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in module.buffers():
        tensors[id(buffer)] = buffer.detach().to("meta")
    # deepcopy takes what the memo holds in place of a copy, so no weight is ever duplicated.
    return copy.deepcopy(module, tensors).eval()


def _trial_run(module: torch.nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """Run a copy of a module on zeros."""
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        output: torch.Tensor = copy.deepcopy(module).eval()(torch.zeros(shape, device=device, dtype=_dtype(module)))
    return output


def _dtype(module: torch.nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
