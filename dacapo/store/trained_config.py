"""The config that the checkpoints of a run belong to, which is kept beside them.

A run can only go on from its checkpoints with the config that made them: weights may well fit the network of another
one and mean something else. So every checkpoint holds that config, a file beside all of them says which one counts, and
it is compared whenever a checkpoint is loaded into a run. Some fields may differ, which is said in a log line: those
that do not make it another run (names, how long to train, what has to go with the machine), and paths of files, since
data may move. Fields that a newer version has added count as if they had been at their defaults.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dacapo.errors import ConfigError
from dacapo.experiments.config import Config, ConfigChange, changes
from dacapo.store.converter import from_plain, to_plain
from dacapo.store.files import read_text, write_text
from dacapo.store.yaml_files import dump_yaml, read_yaml

logger = logging.getLogger(__name__)

_SHOWN = 8
_LONGEST = 60


def plain_config(config: Config) -> dict[str, Any]:
    """Return the config that checkpoints belong to as plain values.

    Raises:
        ConfigError: If it holds something that could not be read back.
    """
    plain = to_plain(config)
    from_plain(plain, type(config), source=f"run {getattr(config, 'name', '')!r}")
    return plain


def write_trained_config(path: Path, plain: dict[str, Any]) -> None:
    """Write down the config that checkpoints belong to, whole or not at all; a file that holds it is left alone.

    Raises:
        StorageError: If the file cannot be written or read.
    """
    text = dump_yaml(plain)
    if not path.is_file() or read_text(path) != text:
        write_text(path, text)


def read_trained_config(path: Path) -> Any:
    """Return what :func:`write_trained_config` wrote.

    Raises:
        StorageError: If the file cannot be read.
        ConfigError: If it is no YAML.
    """
    return read_yaml(path)


def check_trained_config(plain: Any, config: Config, path: Path) -> None:
    """Check that a run may use the checkpoints that a config belongs to.

    Args:
        plain: The config that the checkpoints were trained with.
        config: The config of the run.
        path: The file that the former is kept in.

    Raises:
        ConfigError: If they differ in what alters training; the message lists where, and what to do. Also if the former
            cannot be read.
    """
    trained = from_plain(plain, type(config), source=str(path))
    found = list(changes(trained, config))
    refused, allowed = ([_line(change) for change in found if change.alters_training is kind] for kind in (True, False))
    name = getattr(config, "name", "")
    if refused:
        more = f"; and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
        raise ConfigError(
            f"the config of run {name!r} was changed since its checkpoints were trained: {'; '.join(refused[:_SHOWN])}"
            f"{more}. Restore the config, or store the changed one under another name. To use these checkpoints with "
            f"the changed config all the same, make the same change in {path}; to train anew under the same name, "
            f"delete the folder {path.parent}"
        )
    if allowed:
        logger.info("run %s goes on with a config that was changed: %s", name, "; ".join(allowed))


def _line(change: ConfigChange) -> str:
    return f"{change.place} was {_short(change.old)} and is {_short(change.new)}"


def _short(value: Any) -> str:
    """Return a value in a few words."""
    if isinstance(value, Config):
        return f"{type(value).__name__} {getattr(value, 'name', '')}".rstrip()
    if isinstance(value, (list, tuple)) and any(isinstance(item, Config) for item in value):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, Path):
        return str(value)
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
