"""The parts of a U-Net of residual blocks.

Attribute names are part of the parameter names in checkpoints, so they are as fixed as a file format.
Tensors have the axes batch, channel, and two or three spatial ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dacapo.experiments.architectures.unet_layers import Downsample, convolution, initialize, transposed_convolution

Size = Sequence[int]

NORMALIZATIONS = ("batch", "none")
_BATCH_NORM: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ResidualBlock(nn.Module):
    """Convolve twice, and add the result of the first convolution to that of the second."""

    def __init__(self, fmaps_in: int, fmaps_out: int, dims: int, normalization: str) -> None:
        super().__init__()
        kernel = (3,) * dims
        self.first = nn.Sequential(
            convolution(fmaps_in, fmaps_out, kernel, "same"), _normalize(fmaps_out, dims, normalization)
        )
        self.second = nn.Sequential(
            convolution(fmaps_out, fmaps_out, kernel, "same"), _normalize(fmaps_out, dims, normalization)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return feature maps of the same size."""
        x = torch.relu(self.first(x))
        return torch.relu(x + self.second(x))


class CoarseUNet(nn.Module):
    """Reduce the resolution, go down a pyramid and up again with skip connections, and return to full resolution."""

    def __init__(
        self, fmaps_in: int, fmaps_out: int, fmaps: Sequence[int], factors: Sequence[Size], normalization: str
    ) -> None:
        """Build the layers with new weights.

        Args:
            fmaps_in: Channels of the input.
            fmaps_out: Feature maps of the output.
            fmaps: Feature maps of each level, from the top.
            factors: Factors by which each level is smaller than the one above, and the first than the input.
            normalization: One of ``NORMALIZATIONS``.
        """
        super().__init__()
        dims, single = len(factors[0]), (1,) * len(factors[0])
        first = tuple(int(factor) for factor in factors[0])
        levels = range(len(fmaps))

        def block(before: int, after: int) -> ResidualBlock:
            return ResidualBlock(before, after, dims, normalization)

        self.reduce = convolution(fmaps_in, fmaps[0], first, "valid", stride=first)
        self.down = nn.ModuleList(block(fmaps[max(level - 1, 0)], fmaps[level]) for level in levels)
        self.pool = nn.ModuleList(Downsample(step) for step in factors[1:])
        self.narrow = nn.ModuleList(convolution(fmaps[i + 1], fmaps[i], single, "valid") for i in levels[:-1])
        self.enlarge = nn.ModuleList(
            nn.Upsample(scale_factor=tuple(float(factor) for factor in step)) for step in factors[1:]
        )
        self.up = nn.ModuleList(block(fmaps[level], fmaps[level]) for level in levels[:-1])
        self.restore = transposed_convolution(fmaps[0], fmaps_out, first)
        self.last = convolution(fmaps_out + fmaps_in, fmaps_out, (3,) * dims, "same")
        initialize(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature maps, of the size of the input."""
        raw, x, skips = x, torch.relu(self.reduce(x)), []
        for block, pool in zip(self.down, self.pool, strict=False):
            skips.append(block(x))
            x = pool(skips[-1])
        x = self.down[-1](x)
        for narrow, enlarge, block in reversed(list(zip(self.narrow, self.enlarge, self.up, strict=True))):
            x = block(skips.pop() + enlarge(narrow(x)))
        x = torch.relu(self.restore(x))
        return torch.relu(self.last(torch.cat([x, raw.to(x.dtype)], dim=1)))


def _normalize(fmaps: int, dims: int, normalization: str) -> nn.Module:
    return _BATCH_NORM[dims](fmaps) if normalization == "batch" else nn.Identity()
