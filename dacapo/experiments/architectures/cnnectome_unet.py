"""The default U-Net, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import ClassVar

import attrs
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.architectures.architecture import (
    Architecture,
    ArchitectureConfig,
    as_coordinate,
    as_coordinates,
    check_dims,
    find_bad_axes,
    find_bad_count,
    find_bad_increase,
)
from dacapo.experiments.architectures.unet_geometry import UNetGeometry
from dacapo.experiments.architectures.unet_layers import ConvPass, UNet, Upsample, initialize
from dacapo.experiments.config import field


class CNNectomeUNet(Architecture):
    """A U-Net after Ronneberger et al. 2015 (arXiv:1505.04597) and Funke et al. 2018 (arXiv:1709.02974).

    Each level convolves, pools by its downsample factors, and is joined again on the way up. Feature maps are cropped
    so that shifting the input by `stride` shifts the output with it; the output covers the center of the input. With
    ``upsample_factors`` the output has a higher resolution than the input.

    With attention, the gates are interpolated between the corners of their input, so the output in a block depends
    slightly on the position of the block; no halo can remove that.
    """

    channels_last_on_cpu = True

    def __init__(self, architecture_config: CNNectomeUNetConfig) -> None:
        """Build the network.

        Raises:
            ConfigError: If the config is invalid; for an unsuitable input shape, the message gives the level at which
                it fails, the size there, and the nearest suitable shapes.
        """
        super().__init__()
        architecture_config.check()
        config = architecture_config
        self.name = config.name
        self.fmaps_out = config.fmaps_out
        self.fmaps_in = config.fmaps_in
        self.num_fmaps = config.num_fmaps
        self.fmap_inc_factor = config.fmap_inc_factor
        self.constant_upsample = config.constant_upsample
        self.geometry = config.geometry()
        self._input_shape = config.input_shape
        self._eval_shape_increase = config._eval_shape_increase
        self.unet = self.module()

    @property
    def input_shape(self) -> Coordinate:
        return self._input_shape

    @property
    def eval_shape_increase(self) -> Coordinate:
        if self._eval_shape_increase is None:
            return super().eval_shape_increase
        return self._eval_shape_increase

    @property
    def num_in_channels(self) -> int:
        return self.fmaps_in

    @property
    def num_out_channels(self) -> int:
        return self.fmaps_out

    @property
    def stride(self) -> Coordinate:
        return Coordinate(self.geometry.stride(axis) for axis in range(self.dims))

    @property
    def receptive_halo(self) -> Coordinate:
        return Coordinate(self.geometry.halo(axis) for axis in range(self.dims))

    @property
    def padded_axes(self) -> tuple[bool, ...]:
        return (self.geometry.padded,) * self.dims

    def module(self) -> torch.nn.Module:
        """Build a network with new weights, as described by this architecture's config."""
        geometry = self.geometry
        unet = UNet(
            geometry, self.fmaps_in, self.fmaps_out, self.num_fmaps, self.fmap_inc_factor, self.constant_upsample
        )
        network: torch.nn.Module = unet
        if geometry.upsample_factors:
            padding = "same" if geometry.padded else "valid"
            layers: list[torch.nn.Module] = [unet]
            for factors in geometry.upsample_factors:
                # Always repeat voxels: the names and shapes of the parameters in checkpoints depend on it.
                layers.append(Upsample(factors, self.fmaps_out, self.fmaps_out, constant=True))
                layers.append(ConvPass(self.fmaps_out, self.fmaps_out, geometry.kernels_after, padding))
            network = torch.nn.Sequential(*layers)
        initialize(network)
        return network

    def scale(self, voxel_size: Coordinate) -> Coordinate:
        """Return the voxel size of the output, smaller than that of the input by all ``upsample_factors``.

        Raises:
            ConfigError: If that is not an integer number of world units, or the number of axes differs.
        """
        check_dims("voxel size", voxel_size, self.dims)
        factors = Coordinate(self.geometry.enlargement(axis) for axis in range(self.dims))
        if any(size % factor for size, factor in zip(voxel_size, factors, strict=True)):
            raise ConfigError(
                f"voxel size {tuple(voxel_size)} cannot be divided by the upsample factors {tuple(factors)} of "
                f"architecture {self.name!r}; use finer world units or other factors"
            )
        return Coordinate(size // factor for size, factor in zip(voxel_size, factors, strict=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return feature maps for the center of the input.

        Args:
            x: Axes batch, channel, space.

        Raises:
            ConfigError: If the input has a shape that the network cannot process.
        """
        shape = [int(size) for size in x.shape[2:]]
        check_dims("an input of shape", Coordinate(shape), self.dims)
        problem = self.geometry.find_problem(shape)
        if problem is not None:
            raise ConfigError(f"architecture {self.name!r} cannot use an input of shape {tuple(shape)}: {problem}")
        result: torch.Tensor = self.unet(x)
        return result


def _kernels(passes: Iterable[Iterable[Iterable[int]]] | None) -> list[list[Coordinate]] | None:
    return None if passes is None else [[Coordinate(kernel) for kernel in kernels] for kernels in passes]


@attrs.define
class CNNectomeUNetConfig(ArchitectureConfig):
    """A U-Net in 2D or 3D; the number of axes is that of ``input_shape``."""

    architecture_type: ClassVar[type[Architecture]] = CNNectomeUNet

    input_shape: Coordinate = field(
        "Spatial shape in voxels of the input during training, without batch and channels.", converter=as_coordinate
    )
    fmaps_out: int = field("Number of feature maps that the network passes to the prediction head.")
    fmaps_in: int = field("Number of channels of the raw data.")
    num_fmaps: int = field("Number of feature maps at the top level.")
    fmap_inc_factor: int = field("Factor by which the number of feature maps grows from each level to the next.")
    downsample_factors: list[Coordinate] = field(
        "Factors per axis by which each level is smaller than the one above; one entry per level.",
        converter=as_coordinates,
    )
    kernel_size_down: list[list[Coordinate]] | None = field(
        "Kernel sizes of the convolutions on the way down, one list per level and one for the lowest; "
        "two of size 3 each if left out.",
        default=None,
        converter=_kernels,
    )
    kernel_size_up: list[list[Coordinate]] | None = field(
        "Kernel sizes of the convolutions on the way up, one list per level from the top; "
        "two of size 3 each if left out.",
        default=None,
        converter=_kernels,
    )
    _eval_shape_increase: Coordinate | None = field(
        "Voxels by which the input grows per axis in prediction, which needs no memory for gradients.",
        default=None,
        converter=as_coordinate,
    )
    upsample_factors: list[Coordinate] | None = field(
        "Factors per axis of each enlargement after the U-Net, for an output of higher resolution than the input; each "
        "repeats voxels and is followed by two convolutions of size 3.",
        default=None,
        converter=as_coordinates,
    )
    constant_upsample: bool = field(
        "Whether to repeat voxels on the way up instead of learning to upsample; avoids checkerboard patterns. The "
        "layers after the U-Net (upsample_factors) always repeat voxels.",
        default=True,
    )
    padding: str = field(
        "'valid': convolutions read real data only and the output is smaller. 'same': edges are padded with zeros.",
        default="valid",
    )
    use_attention: bool = field("Whether to weight the skip connections by attention gates.", default=False)

    def find_mistake(self) -> str | None:
        return self._find_bad_number() or self._find_bad_structure() or self._find_bad_shape()

    def geometry(self) -> UNetGeometry:
        """Return the numbers that determine the sizes in the network."""
        default = [[Coordinate((3,) * self.input_shape.dims)] * 2]
        levels = len(self.downsample_factors)
        return UNetGeometry(
            downsample_factors=_plain(self.downsample_factors),
            kernels_down=tuple(_plain(kernels) for kernels in self.kernel_size_down or default * (levels + 1)),
            kernels_up=tuple(_plain(kernels) for kernels in self.kernel_size_up or default * levels),
            upsample_factors=_plain(self.upsample_factors or []),
            padded=self.padding == "same",
            attention=self.use_attention,
        )

    def _find_bad_number(self) -> str | None:
        problem = find_bad_count(self, ("fmaps_in", "fmaps_out", "num_fmaps", "fmap_inc_factor"))
        if problem is not None:
            return problem
        if self.padding not in ("valid", "same"):
            return f"padding must be 'valid' or 'same', got {self.padding!r}"
        return find_bad_axes(self.input_shape)

    def _find_bad_structure(self) -> str | None:
        levels = len(self.downsample_factors or [])
        if levels == 0:
            return "downsample_factors is empty, but a U-Net needs at least one level; for example [[2, 2, 2]]"
        down, up = self.kernel_size_down, self.kernel_size_up
        for name, passes, wanted in (("kernel_size_down", down, levels + 1), ("kernel_size_up", up, levels)):
            if passes is not None and len(passes) != wanted:
                return f"{name} needs {wanted} lists of kernel sizes for {levels} downsample_factors, got {len(passes)}"
            if passes is not None and not all(passes):
                return f"{name} has an empty list; each level needs at least one kernel"
        sizes = {
            "downsample_factors": self.downsample_factors,
            "upsample_factors": self.upsample_factors or [],
            "kernel_size_down": list(chain.from_iterable(down or [])),
            "kernel_size_up": list(chain.from_iterable(up or [])),
        }
        for name, values in sizes.items():
            for value in values:
                if value.dims != self.input_shape.dims or min(value) < 1:
                    dims = self.input_shape.dims
                    return f"{name} needs {dims} numbers of at least 1 for each entry, got {tuple(value)}"
        return None

    def _find_bad_shape(self) -> str | None:
        increase, geometry = self._eval_shape_increase, self.geometry()
        problem = find_bad_increase(increase, self.input_shape.dims)
        if problem is not None:
            return problem
        problem = geometry.find_problem(self.input_shape)
        if problem is not None:
            return f"input_shape {tuple(self.input_shape)} cannot be used: {problem}"
        if increase is not None:
            enlarged = self.input_shape + increase
            problem = geometry.find_problem(enlarged)
            if problem is not None:
                return f"input_shape + eval_shape_increase, {tuple(enlarged)}, cannot be used: {problem}"
        return None


def _plain(values: Sequence[Coordinate]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(number) for number in value) for value in values)
