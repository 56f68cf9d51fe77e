"""Network bodies."""

from dacapo.utils.aliases import alias_modules

from .architecture import Architecture as Architecture
from .architecture import ArchitectureConfig as ArchitectureConfig
from .dummy_architecture import DummyArchitecture as DummyArchitecture
from .dummy_architecture import DummyArchitectureConfig as DummyArchitectureConfig

__all__ = [
    "Architecture",
    "ArchitectureConfig",
    "DummyArchitecture",
    "DummyArchitectureConfig",
]

alias_modules(
    __name__,
    {
        "architecture_config": "architecture",
        "dummy_architecture_config": "dummy_architecture",
    },
)
