"""Sources of the initial weights of a run."""

from dacapo.utils.aliases import alias_modules

from .bioimage_start import BioimageStart as BioimageStart
from .bioimage_start import BioimageStartConfig as BioimageStartConfig
from .cosem_start import CosemStart as CosemStart
from .cosem_start import CosemStartConfig as CosemStartConfig
from .start import Start as Start
from .start import StartConfig as StartConfig
from .start import head_labels as head_labels
from .start import load_start as load_start

__all__ = [
    "BioimageStart",
    "BioimageStartConfig",
    "CosemStart",
    "CosemStartConfig",
    "Start",
    "StartConfig",
    "head_labels",
    "load_start",
]

alias_modules(__name__, {"cosem_start_config": "cosem_start", "start_config": "start"})
