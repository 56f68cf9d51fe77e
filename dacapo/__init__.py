"""Segment very large microscopy volumes with deep networks.

Heavy modules are imported on first use: names are looked up in their modules on first access.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from dacapo import experiments as experiments
    from dacapo import utils as utils
    from dacapo.apply import apply as apply
    from dacapo.blockwise import run_blockwise as run_blockwise
    from dacapo.blockwise import segment_blockwise as segment_blockwise
    from dacapo.experiments.datasplits.datasets.arrays import open_array as open_array
    from dacapo.export import export_model as export_model
    from dacapo.loaded_model import LoadedModel as LoadedModel
    from dacapo.loaded_model import load_model as load_model
    from dacapo.options import Options as Options
    from dacapo.predict import predict as predict
    from dacapo.report import report as report
    from dacapo.segment import segment as segment
    from dacapo.show_slices import show_slices as show_slices
    from dacapo.sweep import sweep as sweep
    from dacapo.train import train as train
    from dacapo.validate import validate as validate

# Functions that share the name of their module.
_FUNCTIONS = ("apply", "predict", "report", "segment", "show_slices", "sweep", "train", "validate")
_MODULES = ("experiments", "utils")
# Other public names, and their modules.
_HOMES = {
    "LoadedModel": "dacapo.loaded_model",
    "Options": "dacapo.options",
    "export_model": "dacapo.export",
    "load_model": "dacapo.loaded_model",
    "open_array": "dacapo.experiments.datasplits.datasets.arrays",
    "run_blockwise": "dacapo.blockwise",
    "segment_blockwise": "dacapo.blockwise",
}

__all__ = sorted([*_FUNCTIONS, *_MODULES, *_HOMES])


class _Package(ModuleType):
    """Keeps ``dacapo.train`` and the like functions, even if the modules of the same name are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FUNCTIONS and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"dacapo.{name}"), name)
    if name in _MODULES:
        return importlib.import_module(f"dacapo.{name}")
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version(__name__)
    raise AttributeError(f"module 'dacapo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
