"""Any network of another package as an architecture, given the import path of its class."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import attrs
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError, DacapoError, MissingDependencyError
from dacapo.experiments.architectures.architecture import (
    Architecture,
    ArchitectureConfig,
    as_coordinate,
    check_dims,
    compute_shape,
    is_count,
    lost_voxels,
)
from dacapo.experiments.architectures.measure import Growth, measure_growth, measure_reach
from dacapo.experiments.architectures.placement import Reach
from dacapo.experiments.config import field


class WrappedArchitecture(Architecture):
    """A `torch.nn.Module` of any package, measured instead of described.

    The number of channels, the shape and the resolution of the output are determined by tracing shapes. So is the
    `stride`: the smallest step by which the input can grow such that all feature maps grow in proportion. The
    `receptive_halo` is measured by the gradient on first access, on an input long enough to hold it.

    Two kinds of networks have limitations. With layers that normalize over the whole input (instance and group
    normalization), a prediction depends slightly on the extent of its block; no halo removes that. A network that takes
    inputs of a single shape, or works in windows larger than its input, is predicted in adjacent blocks of exactly that
    shape, which leaves seams if it pads; if it does take larger inputs, give a ``stride``, and the halo is measured.
    """

    def __init__(self, architecture_config: WrappedArchitectureConfig) -> None:
        """Build the network with new weights.

        Raises:
            MissingDependencyError: If its package is not installed.
            ConfigError: If the class is not a module, rejects the arguments, or does not run on the input shape.
        """
        super().__init__()
        config = architecture_config
        config.check()
        self.name = config.name
        self._config = config
        self.network = _build(config)
        self._num_out_channels, self._output_shape = self._trace(config.input_shape)
        if any(self.eval_shape_increase):
            self._trace(config.input_shape + self.eval_shape_increase)

    @property
    def input_shape(self) -> Coordinate:
        return self._config.input_shape

    @property
    def eval_shape_increase(self) -> Coordinate:
        increase = self._config.eval_shape_increase
        return super().eval_shape_increase if increase is None else increase

    @property
    def num_in_channels(self) -> int:
        return self._config.num_in_channels

    @property
    def num_out_channels(self) -> int:
        return self._num_out_channels

    @property
    def stride(self) -> Coordinate:
        """The configured stride, or the measured one, in input voxels."""
        if self._config.stride is not None:
            return self._config.stride
        # Blocks of a network without a step are adjacent.
        sizes = zip(self._growths, self._output_shape, strict=True)
        return Coordinate(growth.step or max(1, int(size / growth.ratio)) for growth, size in sizes)

    @property
    def has_fixed_shape(self) -> bool:
        """Whether the step by which the input can grow is unknown along any axis."""
        return any(growth.step is None for growth in self._growths)

    @property
    def receptive_halo(self) -> Coordinate:
        """The configured halo, or the measured one, in input voxels."""
        if self._config.halo is not None:
            return self._config.halo
        return Coordinate(reach.halo for reach in self._reaches)

    @property
    def padded_axes(self) -> tuple[bool, ...]:
        """For each axis, whether the network looks beyond its input; derived from the halo if one is configured.

        Along an axis without a known step, the network only reads inputs of that size.
        """
        if self._config.halo is None:
            return tuple(reach.is_padded for reach in self._reaches)
        steps = (growth.step for growth in self._growths)
        return tuple(padded and step is not None for padded, step in zip(super().padded_axes, steps, strict=True))

    def scale(self, input_voxel_size: Coordinate) -> Coordinate:
        """Return the voxel size of the output, smaller than that of the input by the measured enlargement.

        Raises:
            ConfigError: If the output is coarser than the input, its voxel size is not an integer number of world
                units, or the number of axes differs.
        """
        check_dims("voxel size", input_voxel_size, self.dims)
        sizes = [size / growth.ratio for size, growth in zip(input_voxel_size, self._growths, strict=True)]
        if any(growth.ratio < 1 for growth in self._growths):
            raise ConfigError(
                f"architecture {self.name!r} returns fewer voxels than it takes "
                f"({', '.join(str(growth.ratio) for growth in self._growths)} per voxel); add upsampling layers"
            )
        if any(size.denominator != 1 for size in sizes):
            raise ConfigError(
                f"voxel size {tuple(input_voxel_size)} cannot be divided by the enlargement "
                f"{tuple(str(growth.ratio) for growth in self._growths)} of architecture {self.name!r}; "
                "use finer world units"
            )
        return Coordinate(int(size) for size in sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature maps of the network.

        Args:
            x: Axes batch, channel, space.

        Raises:
            ConfigError: If the network does not return one tensor with these axes.
        """
        result = self.network(x)
        if not isinstance(result, torch.Tensor) or result.ndim != 2 + self.dims:
            got = (
                f"a tensor of shape {tuple(result.shape)}"
                if isinstance(result, torch.Tensor)
                else type(result).__name__
            )
            raise ConfigError(
                f"architecture {self.name!r}: {self._config.module} returned {got}, expected one tensor of the axes "
                f"batch, channel and {self.dims} of space; choose arguments that make it do so, in training too"
            )
        return result

    @cached_property
    def _growths(self) -> list[Growth]:
        measured = [measure_growth(self, self.num_in_channels, self.input_shape, axis) for axis in range(self.dims)]
        steps = self._config.stride or [growth.step for growth in measured]
        return [attrs.evolve(growth, step=step) for growth, step in zip(measured, steps, strict=True)]

    @cached_property
    def _reaches(self) -> list[Reach]:
        return measure_reach(self, self.num_in_channels, self.input_shape, self._growths)

    def _trace(self, shape: Coordinate) -> tuple[int, Coordinate]:
        try:
            channels, output = compute_shape(self, self.num_in_channels, shape)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"architecture {self.name!r}: {self._config.module} does not run on {self.num_in_channels} channels of "
                f"shape {tuple(shape)}: {_sentence(error)}"
            ) from error
        if min(output) < 1:
            raise ConfigError(
                f"architecture {self.name!r}: {self._config.module} leaves nothing of an input of shape {tuple(shape)}"
            )
        return channels, output


def _build(config: WrappedArchitectureConfig) -> torch.nn.Module:
    """Build the module of a config.

    Raises:
        ConfigError: If the class rejects the arguments.
    """
    cls = find_module(config.module)
    try:
        return cls(**config.arguments)
    except DacapoError:
        raise
    except ImportError as error:  # a package that is imported only when the class is used
        raise MissingDependencyError(f"architecture {config.name!r}: {config.module}: {_sentence(error)}") from error
    except Exception as error:
        raise ConfigError(
            f"architecture {config.name!r}: {config.module} cannot be built with these arguments: {_sentence(error)}"
        ) from error


def find_module(path: str) -> type[torch.nn.Module]:
    """Import a network class, and nothing else.

    Args:
        path: ``package.module:Class``, or with a dot instead of the colon.

    Raises:
        MissingDependencyError: If the package, or one of its dependencies, is not installed.
        ConfigError: If the class does not exist, or does not derive from `torch.nn.Module`.
    """
    location, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not all(part.isidentifier() for part in [*location.split("."), name]):
        raise ConfigError(f"module {path!r} is not an import path; expected package.module:Class")
    try:
        found = getattr(importlib.import_module(location), name, None)
    except ModuleNotFoundError as error:
        missing = error.name or location
        package = missing.partition(".")[0]
        if location.startswith(f"{package}.") and missing != package:
            raise ConfigError(f"module {path!r}: no module {missing} in the package {package}") from error
        raise MissingDependencyError(
            f"module {path!r} needs the package {package}, which is not installed; try: pip install {package}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        raise ConfigError(f"module {path!r} is not a torch.nn.Module{_hint(location, name, found)}")
    return found


def _hint(location: str, name: str, found: Any) -> str:
    if found is not None:
        return f" but {type(found).__name__} {getattr(found, '__name__', '')}".rstrip() + "; give a network class"
    contents = vars(importlib.import_module(location))
    networks = [n for n, v in contents.items() if isinstance(v, type) and issubclass(v, torch.nn.Module)]
    close = difflib.get_close_matches(name, networks, n=3)
    return f": {location} has no {name}" + (f"; did you mean {' or '.join(close)}?" if close else "")


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}" if str(error) else type(error).__name__


def _plain(value: Any) -> Any:
    """Convert tuples to lists, and refuse values that files cannot hold."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item) for key, item in value.items()}
    raise TypeError(f"arguments must be numbers, strings, true, false, null, lists and dictionaries, got {value!r}")


@attrs.define
class WrappedArchitectureConfig(ArchitectureConfig):
    """Any torch.nn.Module, given the import path of its class."""

    architecture_type: ClassVar[type[Architecture]] = WrappedArchitecture

    module: str = field("Import path of the class, as package.module:Class. The class is imported and called.")
    input_shape: Coordinate = field(
        "Spatial shape in voxels of the input during training, without batch and channels.", converter=as_coordinate
    )
    num_in_channels: int = field("Number of channels of the raw data.")
    arguments: dict[str, Any] = field(
        "Keyword arguments of the class, as plain values.", factory=dict, converter=_plain
    )
    eval_shape_increase: Coordinate | None = field(
        "Voxels by which the input grows per axis in prediction, which needs no memory for gradients.",
        default=None,
        converter=as_coordinate,
    )
    stride: Coordinate | None = field(
        "Step in input voxels by which blocks may move without changing the prediction; measured by default.",
        default=None,
        converter=as_coordinate,
    )
    halo: Coordinate | None = field(
        "Input voxels that matter on each side of an output voxel; measured by default.",
        default=None,
        converter=as_coordinate,
    )

    def verify(self) -> tuple[bool, str]:
        """Check that the class can be imported, built and run on the input shape, and that its output fits the input.

        Builds the network once and discards it.
        """
        try:
            with torch.random.fork_rng(devices=[]):
                lost_voxels(self.architecture_type(self))
        except DacapoError as error:
            return False, str(error)
        return super().verify()

    def find_mistake(self) -> str | None:
        """Return the first problem with the numbers, or None."""
        if not self.input_shape or min(self.input_shape) < 1:
            given = None if self.input_shape is None else tuple(self.input_shape)
            return f"input_shape needs numbers of at least 1, got {given}"
        if not is_count(self.num_in_channels):
            return f"num_in_channels must be an integer of at least 1, got {self.num_in_channels!r}"
        module: Any = self.module
        if not isinstance(module, str):
            return f"module must be an import path such as package.module:Class, got {module!r}"
        dims = self.input_shape.dims
        limits = {"eval_shape_increase": 0, "stride": 1, "halo": 0}
        for name, least in limits.items():
            value = getattr(self, name)
            if value is not None and (value.dims != dims or min(value) < least):
                return f"{name} needs {dims} numbers of at least {least}, as input_shape has, got {tuple(value)}"
        return None
