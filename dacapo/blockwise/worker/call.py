"""Finding the function of a worker module to call, and checking its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dacapo.blockwise.worker.spawned import SpawnedWorker
from dacapo.blockwise.worker.user_modules import check_arguments, declared_step, function_of, load_module
from dacapo.compute_context import Step
from dacapo.errors import ConfigError

SPAWN = "spawn_worker"


@attrs.frozen
class WorkerCall:
    """A worker module and its arguments.

    Attributes:
        worker_file: A Python file, or the import path of a module.
        args: For its function.
        kwargs: For its function.
        spawns: Whether the function is ``spawn_worker``, whose result starts a worker.
        own_loop: Whether workers may ask for blocks by themselves.
        needs_process: Whether they do, so that none can run in the scheduling process.
        step: Step of the compute context, which gives the workers their resources.
    """

    worker_file: str
    args: list[Any]
    kwargs: dict[str, Any]
    spawns: bool
    own_loop: bool
    needs_process: bool
    step: Step

    @classmethod
    def of(cls, worker_file: str | Path, args: Sequence[Any], kwargs: Mapping[str, Any]) -> WorkerCall:
        """Find the function of a worker module that accepts the arguments.

        Raises:
            PathNotFoundError: If the file or module does not exist.
            BlockwiseError: If the module raises while it is loaded.
            ConfigError: If it defines none of the functions, or none accepts the arguments.
        """
        module = load_module(worker_file)
        names = ("process_block", "open_worker", "start_worker", SPAWN)
        defined = [name for name in names if hasattr(module, name)]
        function = function_of(module, worker_file, *(defined or ["process_block", "start_worker"]))
        step = declared_step(module, worker_file, Step.BLOCKWISE)
        spawn = getattr(module, SPAWN, None)
        own_loop = not (hasattr(module, "process_block") or hasattr(module, "open_worker"))
        needs_process = callable(spawn) and own_loop
        block = [None] if hasattr(module, "process_block") else []
        try:
            check_arguments(function, worker_file, [*block, *args], kwargs)
        except ConfigError:
            if not callable(spawn) or not _accepts(spawn, worker_file, args, kwargs):
                raise
            function = spawn
        if function is not spawn:
            return cls(str(worker_file), list(args), dict(kwargs), False, own_loop, needs_process, step)
        start = spawn(*args, **kwargs)
        if isinstance(start, SpawnedWorker):  # from a worker module of this package: call its other function directly
            return cls.of(start.job.worker_file, start.job.args, start.job.kwargs)
        if not callable(start):
            raise ConfigError(f"{SPAWN} of {worker_file} returned {start!r}; expected a function without arguments")
        return cls(str(worker_file), list(args), dict(kwargs), True, True, True, step)

    def start(self) -> None:
        """Start a worker through ``spawn_worker`` and wait until it ends."""
        function_of(load_module(self.worker_file), self.worker_file, SPAWN)(*self.args, **self.kwargs)()


def _accepts(function: Any, source: str | Path, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    try:
        check_arguments(function, source, args, kwargs)
    except ConfigError:
        return False
    return True
