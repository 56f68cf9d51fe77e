"""The parts of a U-Net.

Attribute names are part of the parameter names in checkpoints, so they are as fixed as a file format.
Tensors have the axes batch, channel, and two or three spatial ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from dacapo.experiments.architectures.placement import split_loss
from dacapo.experiments.architectures.unet_geometry import UNetGeometry

Size = Sequence[int]

_CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_POOL: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
# The gradient of a convolution depends on its input, not its output, so the activation may overwrite the output.
_relu = partial(nn.ReLU, inplace=True)

_LINEAR_MODE = {2: "bilinear", 3: "trilinear"}


def convolution(
    fmaps_in: int, fmaps_out: int, kernel_size: Size, padding: str, stride: Size | None = None
) -> nn.Module:
    """Return a 2D or 3D convolution, depending on the length of ``kernel_size``, by default at each voxel."""
    kernel = tuple(kernel_size)
    steps = (1,) * len(kernel) if stride is None else tuple(stride)
    return _CONVOLUTION[len(kernel)](fmaps_in, fmaps_out, kernel, steps, padding=padding)  # type: ignore[arg-type]


def transposed_convolution(fmaps_in: int, fmaps_out: int, factors: Size) -> nn.Module:
    """Return a 2D or 3D layer that makes a block of voxels, of shape ``factors``, of each voxel."""
    block = tuple(factors)
    return _TRANSPOSED[len(block)](fmaps_in, fmaps_out, block, stride=block)  # type: ignore[arg-type]


def center_crop(x: torch.Tensor, shape: Size) -> torch.Tensor:
    """Return a view of the spatial center of ``x``; if the margin is odd, one more voxel is cut off at the end."""
    for axis, size in enumerate(shape, start=2):
        x = x.narrow(axis, split_loss(x.shape[axis] - size)[0], size)
    return x


class ConvPass(nn.Module):
    """Convolve several times, with an activation after each."""

    def __init__(
        self,
        fmaps_in: int,
        fmaps_out: int,
        kernel_sizes: Sequence[Size],
        padding: str,
        activation: Callable[[], nn.Module] | None = _relu,
    ) -> None:
        """Build one convolution per kernel size; without an activation they follow each other directly."""
        super().__init__()
        layers: list[nn.Module] = []
        for index, kernel_size in enumerate(kernel_sizes):
            layers.append(convolution(fmaps_in if index == 0 else fmaps_out, fmaps_out, kernel_size, padding))
            if activation is not None:
                layers.append(activation())
        self.conv_pass = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature maps, smaller by the kernels unless padded."""
        result: torch.Tensor = self.conv_pass(x)
        return result


class Downsample(nn.Module):
    """Keep the largest value of each block."""

    def __init__(self, factors: Size) -> None:
        """Build the pooling; ``factors`` is the shape of a block."""
        super().__init__()
        self.down = _POOL[len(factors)](tuple(factors))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return one voxel per block."""
        result: torch.Tensor = self.down(x)
        return result


class Upsample(nn.Module):
    """Enlarge feature maps, by repeating voxels or with a learned kernel."""

    def __init__(self, factors: Size, fmaps_in: int, fmaps_out: int, constant: bool) -> None:
        """Build the layers; a 1x1 convolution mixes the channels of repeated voxels."""
        super().__init__()
        dims, block = len(factors), tuple(factors)
        self.constant = constant
        layers: list[nn.Module]
        if constant:
            enlarge = nn.Upsample(scale_factor=tuple(float(factor) for factor in block), mode="nearest")
            layers = [enlarge, convolution(fmaps_in, fmaps_out, (1,) * dims, "valid")]
        else:
            layers = [transposed_convolution(fmaps_in, fmaps_out, block)]
        self.up = nn.Sequential(*layers, _relu())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return feature maps larger by the factors."""
        layers = list(self.up)
        if self.constant:
            # Convolving before repeating gives the same values for a fraction of the work.
            layers = [*layers[1:], layers[0]]
        for layer in layers:
            x = layer(x)
        return x


class AttentionGate(nn.Module):
    """Weight a skip connection by features of the level below.

    The gate is additive attention (Oktay et al. 2018, arXiv:1804.03999): both inputs are projected to the same number
    of feature maps at the lower resolution, added, and reduced to one weight per voxel.
    """

    def __init__(self, fmaps_gate: int, fmaps_skip: int, fmaps_inner: int, factors: Size) -> None:
        """Build the layers.

        Args:
            fmaps_gate: Feature maps of the level below.
            fmaps_skip: Feature maps of the skip connection.
            fmaps_inner: Number of feature maps of the projections.
            factors: Downsample factors between the two.
        """
        super().__init__()
        single = [(1,) * len(factors)] * 2
        self.W_g = ConvPass(fmaps_gate, fmaps_inner, single, "valid", activation=None)
        self.W_x = nn.Sequential(
            ConvPass(fmaps_skip, fmaps_inner, single, "valid", activation=None), Downsample(factors)
        )
        self.psi = ConvPass(fmaps_inner, 1, single, "valid", activation=nn.Sigmoid)
        scale = tuple(float(factor) for factor in factors)
        self.up = nn.Upsample(scale_factor=scale, mode=_LINEAR_MODE[len(factors)], align_corners=True)

    def forward(self, gate: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return the weighted skip connection.

        Args:
            gate: Feature maps of the level below; if they cover less than the skip connection, they are padded with
                zeros to the same extent.
            skip: Feature maps whose size the factors divide.
        """
        inner = self.W_x(skip)
        margins = [inner.shape[axis] - gate.shape[axis] for axis in range(inner.dim() - 1, 1, -1)]
        padding = [part for margin in margins for part in (margin // 2, margin - margin // 2)]
        inner = torch.relu(inner + nn.functional.pad(self.W_g(gate), padding))
        weights: torch.Tensor = self.up(self.psi(inner))
        return skip * weights


class UNet(nn.Module):
    """Go down a pyramid of resolutions and up again, with skip connections at each level."""

    def __init__(
        self,
        geometry: UNetGeometry,
        fmaps_in: int,
        fmaps_out: int,
        num_fmaps: int,
        fmap_inc_factor: int,
        constant_upsample: bool,
    ) -> None:
        """Build the layers; level ``i`` has ``num_fmaps * fmap_inc_factor**i`` feature maps, the output fmaps_out."""
        super().__init__()
        self.geometry = geometry
        padding = "same" if geometry.padded else "valid"
        fmaps = [num_fmaps * fmap_inc_factor**level for level in range(geometry.levels + 1)]
        fmaps_up = [fmaps_out, *fmaps[1:]]
        levels = list(enumerate(geometry.downsample_factors))

        self.l_conv = nn.ModuleList(
            ConvPass(before, after, kernels, padding)
            for before, after, kernels in zip([fmaps_in, *fmaps], fmaps, geometry.kernels_down, strict=False)
        )
        self.l_down = nn.ModuleList(Downsample(factors) for _, factors in levels)
        # The outer list has one entry, because a U-Net of this kind could have several decoders.
        # At the top level, going up keeps the number of feature maps, to give the last pass more input.
        up = [
            Upsample(factors, fmaps_up[level + 1], fmaps[max(level, 1)], constant_upsample) for level, factors in levels
        ]
        self.r_up = nn.ModuleList([nn.ModuleList(up)])
        if geometry.attention:
            gates = [AttentionGate(fmaps_up[i + 1], fmaps[i], fmaps_up[i], factors) for i, factors in levels]
            self.attention = nn.ModuleList([nn.ModuleList(gates)])
        passes = [
            ConvPass(fmaps[level] + fmaps[max(level, 1)], fmaps_up[level], kernels, padding)
            for level, kernels in enumerate(geometry.kernels_up)
        ]
        self.r_conv = nn.ModuleList([nn.ModuleList(passes)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature maps of the top level."""
        skips = []
        for conv, down in zip(self.l_conv, self.l_down, strict=False):
            skips.append(conv(x))
            x = down(skips[-1])
        x = self.l_conv[-1](x)
        for level in reversed(range(self.geometry.levels)):
            x = self._ascend(level, x, skips.pop())
        return x

    def _ascend(self, level: int, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        if self.geometry.attention:
            skip = self._at(self.attention, level)(below, skip)
        x = self._at(self.r_up, level)(below)
        shape = [self.geometry.crop_size(axis, level, size) for axis, size in enumerate(x.shape[2:])]
        x = torch.cat([center_crop(skip, shape), center_crop(x, shape)], dim=1)
        result: torch.Tensor = self._at(self.r_conv, level)(x)
        return result

    @staticmethod
    def _at(ways: nn.ModuleList, level: int) -> nn.Module:
        way = ways[0]
        assert isinstance(way, nn.ModuleList)
        return way[level]


def initialize(module: nn.Module) -> None:
    """Initialize convolutions that are followed by a ReLU, after He et al. 2015 (arXiv:1502.01852).

    Biases keep torch's initial values.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
            # Kernels do not overlap here, so each output voxel sums over the input channels of one voxel.
            nn.init.normal_(layer.weight, std=(2 / layer.in_channels) ** 0.5)
