"""Import optional packages on first use, and name the command that installs a missing one."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from dacapo.errors import MissingDependencyError, MissingModuleError

EXTRAS = {
    "einops": "monai",
    "h5py": "hdf5",
    "matplotlib": "plot",
    "monai": "monai",
    "neuroglancer": "neuroglancer",
    "onnx": "export",
    "psycopg": "postgresql",
    "pymongo": "mongo",
    "sqlalchemy": "sql",
    "starlette": "dashboard",
    "tensorboard": "tensorboard",
    "uvicorn": "dashboard",
    "wandb": "wandb",
}
"""The extra of this package that installs each optional package."""


def install_line(name: str) -> str:
    """Return the command that installs an optional package.

    >>> install_line("matplotlib")
    "pip install 'dacapo[plot]'"
    >>> install_line("empanada")
    'pip install empanada'
    """
    package = name.partition(".")[0]
    return f"pip install 'dacapo[{EXTRAS[package]}]'" if package in EXTRAS else f"pip install {package}"


def optional_module(name: str, need: str) -> ModuleType:
    """Import an optional package.

    Args:
        name: Name of the module.
        need: The feature that needs it, as a sentence for the message: ``pictures need matplotlib``.

    Raises:
        MissingDependencyError: If it is not installed; the message names the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(f"{need}; install it with: {install_line(name)}") from error


class NoSuchModule:
    """Stand in for an optional module that is not installed; using it raises an error.

    ::

        try:
            import neuroglancer
        except ImportError:
            neuroglancer = NoSuchModule("neuroglancer")
    """

    def __init__(self, name: str) -> None:
        """Set the name under which the module would be imported."""
        self.__name = name

    def __getattr__(self, item: str) -> Any:
        """Raise an error, since the module cannot provide any attribute."""
        if item.startswith("_"):  # Python, debuggers and notebooks probe every object for such names
            raise AttributeError(f"the module is not installed and has no {item}")
        raise MissingModuleError(
            f"{item} is in the module {self.__name}, which is not installed; "
            f"install it with: {install_line(self.__name)}"
        )

    def __repr__(self) -> str:
        return f"NoSuchModule({self.__name!r})"
