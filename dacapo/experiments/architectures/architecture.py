"""The base class of all network bodies and of their configs."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from fractions import Fraction
from numbers import Integral
from typing import Any, ClassVar

import attrs
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.config import Config, field
from dacapo.utils.html import html_table

# A voxel size that every plausible enlargement divides.
_DIVISIBLE = 2**10 * 3**4 * 5**2 * 7 * 11 * 13


class Architecture(torch.nn.Module, ABC):
    """Map raw channels to feature maps, which a prediction head turns into predictions.

    Batches have the axes batch, channel, followed by `dims` spatial ones. All shapes here are in voxels, without batch
    and channels; only `scale` uses world units.

    Attributes:
        channels_last_on_cpu: Whether predictions on a CPU are faster, and the same up to rounding, if weights keep the
            channels of a voxel next to each other in memory.
    """

    channels_last_on_cpu: ClassVar[bool] = False

    def _repr_html_(self) -> str:
        """Return a table of shapes and sizes, for notebooks; ``repr`` lists all layers."""
        rows = [
            ("input shape", tuple(self.input_shape)),
            ("input channels", self.num_in_channels),
            ("output channels", self.num_out_channels),
            ("parameters", f"{sum(parameter.numel() for parameter in self.parameters()):,}"),
        ]
        return html_table(type(self).__name__, [], rows)

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
        """Number of feature maps that the network returns."""
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
        """Shift of the input, in input voxels, that shifts the output by an equivalent step and changes nothing else.

        Blocks whose offsets differ by a multiple of it fit together without seams.
        """
        return Coordinate((1,) * self.dims)

    @property
    def has_fixed_shape(self) -> bool:
        """Whether the network can predict only inputs of its own input shape, enlarged as for evaluation."""
        return False

    @property
    def receptive_halo(self) -> Coordinate:
        """Input voxels needed on each side of an output region to compute it as in an unbounded volume.

        The default applies to networks without padding: half the voxels that the network loses, rounded up.
        """
        return Coordinate(max(0, math.ceil(lost / 2)) for lost in lost_voxels(self))

    @property
    def padded_axes(self) -> tuple[bool, ...]:
        """For each axis, whether the output near the ends of an input depends on where it ends, for example by padding.

        Blocks then read more than the network loses. By default true where `receptive_halo` exceeds half of the voxels
        that the network loses, rounded up.
        """
        halves = (math.ceil(lost / 2) for lost in lost_voxels(self))
        return tuple(halo > half for halo, half in zip(self.receptive_halo, halves, strict=True))


def enlargement(architecture: Architecture) -> list[Fraction]:
    """Return the number of output voxels per input voxel along each axis."""
    scaled = architecture.scale(Coordinate((_DIVISIBLE,) * architecture.dims))
    return [Fraction(_DIVISIBLE, int(size)) for size in scaled]


def lost_voxels(architecture: Architecture) -> list[Fraction]:
    """Return the number of voxels of the training input that the output does not cover, along each axis.

    Raises:
        ConfigError: If the output would be larger than the input.
    """
    _, output_shape = compute_shape(architecture, architecture.num_in_channels, architecture.input_shape)
    ratios = enlargement(architecture)
    covered = [int(size) / ratio for size, ratio in zip(output_shape, ratios, strict=True)]
    lost = [int(size) - part for size, part in zip(architecture.input_shape, covered, strict=True)]
    if min(lost) < 0:
        raise ConfigError(
            f"the network returns {tuple(output_shape)} voxels for an input of {tuple(architecture.input_shape)}, at "
            f"{tuple(str(ratio) for ratio in ratios)} per voxel of input, which exceeds the input; reduce the padding, "
            "or let scale() return the finer voxel size of the output"
        )
    return lost


def as_coordinate(value: Iterable[int] | None) -> Coordinate | None:
    """Return the numbers of a config field as a coordinate; None stays None."""
    return None if value is None else Coordinate(value)


def as_coordinates(values: Iterable[Iterable[int]] | None) -> list[Coordinate] | None:
    """Return the lists of numbers of a config field as coordinates; None stays None."""
    return None if values is None else [Coordinate(value) for value in values]


def is_count(value: Any) -> bool:
    """Return whether a value is an integer of at least 1."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1


def find_bad_count(config: ArchitectureConfig, names: Iterable[str]) -> str | None:
    """Return the first of some fields that is no integer of at least 1, or None."""
    for name in names:
        if not is_count(getattr(config, name)):
            return f"{name} must be an integer of at least 1, got {getattr(config, name)!r}"
    return None


def find_bad_axes(input_shape: Coordinate | None) -> str | None:
    """Return the problem with an input shape that is neither 2D nor 3D, or None."""
    if input_shape is not None and input_shape.dims in (2, 3):
        return None
    given = None if input_shape is None else tuple(input_shape)
    return f"input_shape must have 2 or 3 axes, without batch and channels, got {given}"


def find_bad_increase(increase: Coordinate | None, dims: int) -> str | None:
    """Return the problem with an ``eval_shape_increase`` of another number of axes, or of negative numbers, or None."""
    if increase is None or (increase.dims == dims and min(increase) >= 0):
        return None
    return f"eval_shape_increase needs {dims} numbers of at least 0, as input_shape has, got {tuple(increase)}"


def check_dims(name: str, given: Coordinate, dims: int) -> None:
    """Check that something has one number per spatial axis of a network.

    Raises:
        ConfigError: If it does not.
    """
    if len(given) != dims:
        raise ConfigError(
            f"{name} {tuple(given)} has {len(given)} axes, but the network takes {dims}D input; use data and a network "
            "of the same number of axes"
        )


@attrs.define
class ArchitectureConfig(Config):
    """Base class of the configs of network bodies."""

    architecture_type: ClassVar[type[Architecture]]

    name: str = field(
        "Name of this architecture, unique among the stored ones; short names are easier to read.",
        alters_training=False,
    )

    def verify(self) -> tuple[bool, str]:
        """Check the config without building the network."""
        mistake = self.find_mistake()
        if mistake is not None:
            return False, f"architecture {self.name!r}: {mistake}"
        return super().verify()

    def check(self) -> None:
        """Check the config before the network is built.

        Raises:
            ConfigError: With what :meth:`find_mistake` finds.
        """
        mistake = self.find_mistake()
        if mistake is not None:
            raise ConfigError(f"architecture {self.name!r}: {mistake}")

    def find_mistake(self) -> str | None:
        """Return the first problem that keeps the network from being built or used, or None."""
        return None


def compute_shape(module: torch.nn.Module, num_in_channels: int, input_shape: Coordinate) -> tuple[int, Coordinate]:
    """Determine the shape that a module returns, without computing anything if the module allows it.

    The module itself does not run: its parameters, buffers, training mode and the random state stay unchanged.

    Args:
        module: Takes and returns a tensor with the axes batch, channel, space.
        num_in_channels: Number of channels of the input.
        input_shape: Spatial shape of the input in voxels.

    Returns:
        Number of channels and spatial shape of the output.
    """
    shape = (1, num_in_channels, *(int(size) for size in input_shape))
    try:
        output = dry_run(module, shape)
    except (NotImplementedError, RuntimeError):
        # Some operations cannot trace shapes alone. If the shape is invalid, the trial run raises the same error again.
        output = _trial_run(module, shape)
    return int(output.shape[1]), Coordinate(int(size) for size in output.shape[2:])


def dry_run(module: torch.nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """Run a copy of a module on tensors with a shape and no content."""
    with torch.no_grad():
        output: torch.Tensor = hollow_copy(module)(hollow_input(module, shape))
    return output


def hollow_input(module: torch.nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """Return an input for a :func:`hollow_copy` of a module: a tensor with a shape and no content."""
    return torch.zeros(shape, device="meta", dtype=_dtype(module))


def hollow_copy(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a module, in eval mode, whose tensors have a shape and no content."""
    tensors: dict[int, Any] = {}
    for parameter in module.parameters():
        tensors[id(parameter)] = torch.nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in module.buffers():
        tensors[id(buffer)] = buffer.detach().to("meta")
    # deepcopy uses the entries of the memo instead of copying, so no weight is ever duplicated.
    return copy.deepcopy(module, tensors).eval()


def _trial_run(module: torch.nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """Run a copy of a module on zeros."""
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        output: torch.Tensor = copy.deepcopy(module).eval()(torch.zeros(shape, device=device, dtype=_dtype(module)))
    return output


def _dtype(module: torch.nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
