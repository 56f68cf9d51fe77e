"""Network bodies."""

from dacapo.utils.aliases import alias_modules

from .architecture import Architecture as Architecture
from .architecture import ArchitectureConfig as ArchitectureConfig
from .cnnectome_unet import CNNectomeUNet as CNNectomeUNet
from .cnnectome_unet import CNNectomeUNetConfig as CNNectomeUNetConfig
from .dummy_architecture import DummyArchitecture as DummyArchitecture
from .dummy_architecture import DummyArchitectureConfig as DummyArchitectureConfig
from .residual_unet import ResidualUNet as ResidualUNet
from .residual_unet import ResidualUNetConfig as ResidualUNetConfig
from .wrapped_architecture import WrappedArchitecture as WrappedArchitecture
from .wrapped_architecture import WrappedArchitectureConfig as WrappedArchitectureConfig

__all__ = [
    "Architecture",
    "ArchitectureConfig",
    "CNNectomeUNet",
    "CNNectomeUNetConfig",
    "DummyArchitecture",
    "DummyArchitectureConfig",
    "ResidualUNet",
    "ResidualUNetConfig",
    "WrappedArchitecture",
    "WrappedArchitectureConfig",
]

alias_modules(
    __name__,
    {
        "architecture_config": "architecture",
        "cnnectome_unet_config": "cnnectome_unet",
        "dummy_architecture_config": "dummy_architecture",
    },
)
