"""Measure how a network changes shapes, and how far it looks.

The only assumption about the network is that it maps a tensor with the axes batch, channel, space to another.
"""

from __future__ import annotations

import copy
import math
from fractions import Fraction
from typing import Any

import attrs
import torch
from funlib.geometry import Coordinate
from torch.utils._python_dispatch import TorchDispatchMode

from dacapo.experiments.architectures.architecture import compute_shape, dry_run
from dacapo.experiments.architectures.placement import Reach, split_loss

# Enlargement of the trial input, a multiple of every common step of networks.
_GROWTH = 2**6 * 3**2 * 5 * 7

# Below this fraction of the largest influence lies that of masked attention, whose weights are tiny but not zero.
_NEGLIGIBLE = 1e-30

# The longest input for measuring the reach, in voxels and as a multiple of the input shape.
_LONGEST = (1024, 8)

_NORMALIZATIONS = (torch.nn.modules.instancenorm._InstanceNorm, torch.nn.GroupNorm)
# Saturating activations block the gradient. All of these keep shapes.
_ACTIVATIONS = (torch.nn.Hardtanh, torch.nn.Hardsigmoid, torch.nn.Sigmoid, torch.nn.Tanh, torch.nn.Softmax)
_MAX_POOLS: dict[type[torch.nn.Module], Any] = {
    torch.nn.MaxPool1d: torch.nn.AvgPool1d,
    torch.nn.MaxPool2d: torch.nn.AvgPool2d,
    torch.nn.MaxPool3d: torch.nn.AvgPool3d,
}


@attrs.frozen
class Growth:
    """The growth of a network's feature maps with its input, along one axis.

    Attributes:
        step: Smallest number of voxels by which the input can grow such that all feature maps grow in proportion. None
            if the network takes no larger input, treats one differently, or the step is larger than the input.
        ratio: Output voxels per input voxel.
    """

    step: int | None
    ratio: Fraction


class _Shapes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record the name and the result shapes of every operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.seen.append((str(func), tuple(tensor.shape)))
        return result


def measure_growth(module: torch.nn.Module, num_in_channels: int, input_shape: Coordinate, axis: int) -> Growth:
    """Compare the shapes of all feature maps for an input and a much larger one, without computing values.

    A layer at a quarter of the input's size, for example, grows by one voxel when the input grows by four, so the step
    is a multiple of four. The same holds for attention windows.

    Args:
        module: The network.
        num_in_channels: Number of channels of the input.
        input_shape: Spatial shape of the input in voxels.
        axis: The spatial axis.
    """
    larger = _with(input_shape, axis, input_shape[axis] + _GROWTH)
    try:
        small, large = (_trace_shapes(module, num_in_channels, shape) for shape in (input_shape, larger))
    except Exception:  # noqa: BLE001 - a network may raise anything for an unsuitable shape
        return Growth(None, _fixed_ratio(module, num_in_channels, input_shape, axis))
    if [name for name, _ in small] != [name for name, _ in large]:
        return Growth(None, _fixed_ratio(module, num_in_channels, input_shape, axis))
    step = 1
    for (_, before), (_, after) in zip(small, large, strict=True):
        for size, grown in zip(before, after, strict=False):
            step = math.lcm(step, Fraction(grown - size, _GROWTH).denominator)
    ratio = Fraction(large[-1][1][axis + 2] - small[-1][1][axis + 2], _GROWTH)
    return Growth(None if step > input_shape[axis] or ratio == 0 else step, ratio or Fraction(1))


def _trace_shapes(module: torch.nn.Module, channels: int, shape: Coordinate) -> list[tuple[str, tuple[int, ...]]]:
    with _Shapes() as recorded:
        output = dry_run(module, (1, channels, *shape))
    return [*recorded.seen, ("output", tuple(output.shape))]


def _fixed_ratio(module: torch.nn.Module, channels: int, shape: Coordinate, axis: int) -> Fraction:
    """Return the ratio of a network that takes a single shape: the enlargement if it is an integer, else 1."""
    output = compute_shape(module, channels, shape)[1][axis]
    return Fraction(output // shape[axis]) if output % shape[axis] == 0 else Fraction(1)


def _with(shape: Coordinate, axis: int, size: int) -> Coordinate:
    return Coordinate(size if other == axis else old for other, old in enumerate(shape))


def measure_reach(
    module: torch.nn.Module, num_in_channels: int, input_shape: Coordinate, growths: list[Growth]
) -> list[Reach]:
    """Measure by the gradient how many input voxels on each side of an output voxel influence it.

    The weights of a copy are made positive, so that influences do not cancel and the result depends on the architecture
    alone, whatever it has learned. The effect of normalization over the whole input (instance and group normalization)
    is ignored: it reaches everywhere, but is small. If the reach exceeds the input, a longer input is used.

    Args:
        module: The network.
        num_in_channels: Number of channels of the input.
        input_shape: Spatial shape of the input in voxels.
        growths: Results of `measure_growth`, per axis.

    Returns:
        The reach along each axis. If the network reads all of every input along an axis, the halo is the size of the
        input. An axis without a step counts as unpadded, since the network only reads inputs of that size.
    """
    probe = _make_probe(module)
    least = _least_shape(module, num_in_channels, input_shape, growths)
    output_shape = compute_shape(module, num_in_channels, input_shape)[1]
    reaches = []
    for axis, (growth, size) in enumerate(zip(growths, input_shape, strict=True)):
        before, after = _context(size, output_shape[axis], growth)
        lost = max(0, math.ceil(max(before, after)))
        if growth.step is None:
            reaches.append(Reach(lost, is_padded=False))
            continue
        length, seen = size, None
        while seen is None and length <= min(_LONGEST[0], _LONGEST[1] * size):
            with torch.inference_mode(False), torch.enable_grad():
                seen = _seen(probe, num_in_channels, _with(least, axis, length), axis, growth)
            length += -(-length // growth.step) * growth.step
        if seen is None:
            reaches.append(Reach(size, is_padded=True))
        elif seen[0] <= before and seen[1] <= after:
            # Blocks aligned with the stride of the output need no more than the voxels lost anyway.
            reaches.append(Reach(lost, is_padded=False))
        else:
            reaches.append(Reach(max(lost, math.ceil(max(seen)) + growth.step - 1), is_padded=True))
    return reaches


def _context(size: int, output_size: int, growth: Growth) -> tuple[Fraction, Fraction]:
    """Return the number of input voxels before and after the output."""
    before, after = split_loss(math.floor(size * growth.ratio) - output_size)
    return before / growth.ratio, after / growth.ratio


def _least_shape(module: torch.nn.Module, channels: int, shape: Coordinate, growths: list[Growth]) -> Coordinate:
    """Return a small usable shape, congruent to the given one, to save time across an axis."""
    least = Coordinate(_smallest(module, channels, shape, axis, growth.step) for axis, growth in enumerate(growths))
    return least if _takes(module, channels, least) else shape


def _smallest(module: torch.nn.Module, channels: int, shape: Coordinate, axis: int, step: int | None) -> int:
    """Return the smallest usable size along an axis that differs from the given one by a multiple of the step."""
    if step is None:
        return int(shape[axis])
    for size in range(shape[axis] % step or step, shape[axis], step):
        if _takes(module, channels, _with(shape, axis, size)):
            return int(size)
    return int(shape[axis])


def _takes(module: torch.nn.Module, channels: int, shape: Coordinate) -> bool:
    try:
        return all(size > 0 for size in compute_shape(module, channels, shape)[1])
    except Exception:  # noqa: BLE001 - a network may raise anything for an unsuitable shape
        return False


def _make_probe(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy in which every influence has a positive gradient."""
    probe = copy.deepcopy(module).eval()
    for parent in list(probe.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (*_NORMALIZATIONS, *_ACTIVATIONS)):
                setattr(parent, name, torch.nn.Identity())
            elif (
                type(child) in _MAX_POOLS
                and child.dilation in (1, (1,), (1, 1), (1, 1, 1))
                and not child.return_indices
            ):
                average = _MAX_POOLS[type(child)]
                setattr(parent, name, average(child.kernel_size, child.stride, child.padding, child.ceil_mode))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in probe.parameters():
            fan_in = max(1, parameter.numel() // max(1, parameter.shape[0])) if parameter.ndim > 1 else 1
            values = torch.empty(parameter.shape).uniform_(0.5, 1.5, generator=generator) / fan_in
            parameter.copy_(values)
            parameter.requires_grad_(False)
    return probe


def _seen(
    probe: torch.nn.Module, channels: int, shape: Coordinate, axis: int, growth: Growth
) -> tuple[Fraction, Fraction] | None:
    """Return how far an output step in the middle reaches to both sides; None if it reaches the ends of the input."""
    first = next(probe.parameters(), torch.empty(0))
    generator = torch.Generator().manual_seed(1)
    x = torch.rand((1, channels, *shape), generator=generator).to(first.device, first.dtype).requires_grad_()
    output = probe(x)
    size = output.shape[axis + 2]
    width = min(size, max(1, int((growth.step or 1) * growth.ratio)))
    begin = size // 2 // width * width
    end = min(begin + width, size)
    part = output.narrow(axis + 2, begin, end - begin)
    # Individual weights, for outputs whose sum is constant.
    weights = torch.empty(part.shape).uniform_(0.5, 1.5, generator=generator).to(part.device, part.dtype)
    (gradient,) = torch.autograd.grad((part * weights).sum(), x)
    influence = gradient.abs().transpose(0, axis + 2).flatten(1).amax(1)
    seen = torch.nonzero(influence > _NEGLIGIBLE * influence.max()).flatten().tolist()
    if not seen or seen[0] == 0 or seen[-1] == shape[axis] - 1:
        return None
    before, _ = _context(shape[axis], size, growth)
    return before + begin / growth.ratio - seen[0], seen[-1] + 1 - (before + end / growth.ratio)
