"""A network body of a single small convolution, for trying out the rest of the package."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.architectures.architecture import Architecture, ArchitectureConfig, is_count
from dacapo.experiments.config import field


class DummyArchitecture(Architecture):
    """Convolve once with a 3x3x3 kernel, without padding."""

    def __init__(self, architecture_config: DummyArchitectureConfig) -> None:
        """Build the convolution.

        Raises:
            ConfigError: If a number of channels is not positive.
        """
        super().__init__()
        mistake = architecture_config.find_mistake()
        if mistake is not None:
            raise ConfigError(mistake)
        self.channels_in = architecture_config.num_in_channels
        self.channels_out = architecture_config.num_out_channels
        self.conv = torch.nn.Conv3d(self.channels_in, self.channels_out, kernel_size=3)

    @property
    def input_shape(self) -> Coordinate:
        return Coordinate(40, 20, 20)

    @property
    def num_in_channels(self) -> int:
        return self.channels_in

    @property
    def num_out_channels(self) -> int:
        return self.channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolved batch, two voxels smaller per axis.

        Args:
            x: Axes batch, channel, z, y, x.
        """
        convolved: torch.Tensor = self.conv(x)
        return convolved


@attrs.define
class DummyArchitectureConfig(ArchitectureConfig):
    """A single convolution in 3D, for tests."""

    architecture_type: ClassVar[type[Architecture]] = DummyArchitecture

    num_in_channels: int = field("Number of channels of the input.")
    num_out_channels: int = field("Number of channels of the output.")

    def verify(self) -> tuple[bool, str]:
        """Return False always, because a single convolution is not meant for real data."""
        wrong = self.find_mistake()
        return False, wrong or f"architecture {self.name!r} is for tests only; use a CNNectomeUNetConfig for real data"

    def find_mistake(self) -> str | None:
        """Return the first problem that keeps the architecture from being built, or None."""
        if is_count(self.num_in_channels) and is_count(self.num_out_channels):
            return None
        given = f"num_in_channels={self.num_in_channels!r}, num_out_channels={self.num_out_channels!r}"
        return f"architecture {self.name!r} needs at least one channel in and out, got {given}"
