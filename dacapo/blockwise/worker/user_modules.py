"""Loading the modules of users, from a file or by import path, and calling their functions."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import daisy.v2 as daisy

from dacapo.compute_context import Step
from dacapo.errors import BlockwiseError, ConfigError, PathNotFoundError
from dacapo.store import files

STEP = "COMPUTE_STEP"
"""Name under which a module may declare the step of the compute context that gives its workers their resources."""

ProcessBlock = Callable[[daisy.Block], Any]


def open_module(worker_file: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> ProcessBlock | None:
    """Load a worker module and return its function for one block.

    Args:
        worker_file: A Python file, or the import path of a module.
        args: For the function of the module.
        kwargs: For the function of the module.

    Returns:
        The function, or None if the module has asked for blocks by itself and all are done.

    Raises:
        ConfigError: If the module defines no such function, or it returns something else.
    """
    module = load_module(worker_file)
    if hasattr(module, "process_block"):
        process_block = function_of(module, worker_file, "process_block")
        return lambda block: process_block(block, *args, **kwargs)
    name = "open_worker" if hasattr(module, "open_worker") else "start_worker"
    process = function_of(module, worker_file, name)(*args, **kwargs)
    if process is not None and not callable(process):
        raise ConfigError(f"{name} of {worker_file} returned {process!r}; expected a function of one block, or None")
    return process  # type: ignore[no-any-return]


def declared_step(module: ModuleType, source: str | Path, default: Step) -> Step:
    """Return the step of the compute context that a user's module declares, or a default.

    Raises:
        ConfigError: If it declares an unknown one.
    """
    return Step.of(getattr(module, STEP, default), f"{STEP} of {source}")


def load_module(source: str | Path) -> ModuleType:
    """Load a user's module from a Python file or by its import path.

    Raises:
        PathNotFoundError: If the file or module does not exist.
        BlockwiseError: If the module raises while it is loaded.
    """
    path = Path(source)
    exists = files.is_file(path)
    is_file = exists or path.suffix == ".py"
    if is_file and not exists:
        raise PathNotFoundError(f"{path} does not exist; give a Python file or the import path of a module")
    try:
        return _load_file(path) if is_file else importlib.import_module(str(source))
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{source}.".startswith(f"{error.name}."):
            raise PathNotFoundError(f"no file or module {str(source)!r} exists") from error
        raise BlockwiseError(f"{source} cannot be loaded: {type(error).__name__}: {error}") from error


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"dacapo_user_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file; its name should end in .py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and the like look for their module there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def function_of(module: ModuleType, source: str | Path, *names: str) -> Callable[..., Any]:
    """Return the first of the named functions that a module defines.

    Raises:
        ConfigError: If it defines none of them.
    """
    for name in names:
        function = getattr(module, name, None)
        function = getattr(function, "callback", function)  # the function behind a click command
        if callable(function):
            return function  # type: ignore[no-any-return]
    raise ConfigError(f"{source} defines no function {' or '.join(names)}")


def check_arguments(
    function: Callable[..., Any], source: str | Path, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Check that a user's function accepts the arguments, since otherwise every block would fail.

    Raises:
        ConfigError: If it does not.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # compiled code may have none
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = getattr(function, "__name__", "the function")
        raise ConfigError(
            f"{name} of {source} does not accept the given arguments: {error}; it takes {signature}"
        ) from error
