"""Where workers run and on which device."""

from __future__ import annotations

import logging
import subprocess
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from dacapo.errors import BlockwiseError, ConfigError
from dacapo.options import DaCapoConfig, Options

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_TAIL = 30


@attrs.define
class ComputeContext(ABC):
    """Runs workers somewhere, and knows the device that the network runs on.

    A subclass is known to the options by its class name from the moment that it is defined.
    """

    _registry: ClassVar[dict[str, type[ComputeContext]]] = {}

    distribute_workers: bool | None = attrs.field(
        default=False, metadata={"help_text": "Run each worker as a process of its own instead of in this one."}
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # attrs builds a slotted class anew, which enters the second, final one.
        ComputeContext._registry[cls.__name__] = cls

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device for the network."""
        raise NotImplementedError

    def wrap_command(self, command: Sequence[str]) -> list[str]:
        """Return the command that starts ``command`` where this context runs things."""
        return list(command)

    def execute(self, command: Sequence[str]) -> None:
        """Run a command to its end.

        Its output goes to the log, line by line.

        Raises:
            BlockwiseError: If the command cannot be started or fails; the message ends with its last output.
        """
        wrapped = self.wrap_command(command)
        try:
            process = subprocess.Popen(
                wrapped, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
            )
        except OSError as error:
            raise BlockwiseError(f"cannot start {' '.join(wrapped)!r}: {error}") from error
        tail: deque[str] = deque(maxlen=_TAIL)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                logger.info(line.rstrip("\n"))
                tail.append(line)
        except BaseException:  # do not leave the command running behind an interrupt
            process.kill()
            raise
        finally:
            code = process.wait()
        if code != 0:
            raise BlockwiseError(
                f"{' '.join(wrapped)!r} ended with exit code {code}; its output ends:\n{''.join(tail)}"
            )


def create_compute_context(options: DaCapoConfig | None = None) -> ComputeContext:
    """Return the compute context that the options ask for.

    Args:
        options: Settings to use instead of those of the process.

    Raises:
        ConfigError: If the options name an unknown type of context, or a field that it does not have.
    """
    settings = dict((options or Options.instance()).compute_context)
    name, config = settings.pop("type"), settings.pop("config", None) or {}
    if settings or not isinstance(config, dict):
        raise ConfigError(
            "option compute_context must have the keys type and config, such as "
            f"{{type: LocalTorch, config: {{device: cpu}}}}; got {(options or Options.instance()).compute_context!r}"
        )
    cls = ComputeContext._registry.get(name)
    if cls is None:
        known = ", ".join(sorted(ComputeContext._registry))
        raise ConfigError(f"unknown compute_context type {name!r} in the options; known are {known}")
    fields = {field.name: field.alias for field in attrs.fields(cls)}
    arguments: dict[str, Any] = {str(fields.get(key, key)): value for key, value in config.items()}
    unknown = sorted(key for key in arguments if key not in fields.values())
    if unknown:
        raise ConfigError(
            f"compute_context {name} has no field {', '.join(unknown)}; it has {', '.join(fields.values())}"
        )
    return cls(**arguments)
