"""The config that the checkpoints of a run belong to, which is kept beside them.

A run can only go on from its checkpoints with the config that made them: weights may well fit the network of another
one and mean something else. So that config is written down with the first checkpoint, and compared whenever one is
loaded into a run. Some fields may differ, which is said in a log line: those that do not make it another run (names,
how long to train, what has to go with the machine), and paths of files, since data may move. Fields that a newer
version has added count as if they had been at their defaults.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dacapo.errors import ConfigError
from dacapo.experiments.config import Change, Config, changes
from dacapo.store.converter import from_plain, to_plain
from dacapo.store.files import write_text
from dacapo.store.yaml_files import dump_yaml, read_yaml

logger = logging.getLogger(__name__)

_SHOWN = 8
_LONGEST = 60


def write_trained_config(path: Path, config: Config) -> None:
    """Write down the config that checkpoints belong to, whole or not at all.

    Raises:
        ConfigError: If it holds something that a file cannot.
        StorageError: If the file cannot be written.
    """
    plain = to_plain(config)
    # What cannot be read back is not written.
    from_plain(plain, type(config), source=f"run {getattr(config, 'name', '')!r}")
    write_text(path, dump_yaml(plain))


def check_trained_config(path: Path, config: Config) -> None:
    """Check that a run may use the checkpoints that a written config belongs to.

    Args:
        path: The file with the config that the checkpoints were trained with.
        config: The config of the run.

    Raises:
        ConfigError: If they differ in what alters training; the message lists where, and what to do. Also if the file
            holds no such config.
        StorageError: If the file cannot be read.
    """
    trained = from_plain(read_yaml(path), type(config), source=str(path))
    found = list(changes(trained, config))
    refused, allowed = ([_line(change) for change in found if change.alters_training is kind] for kind in (True, False))
    name = getattr(config, "name", "")
    if refused:
        more = f"; and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
        raise ConfigError(
            f"the config of run {name!r} was changed since its checkpoints were trained: {'; '.join(refused[:_SHOWN])}"
            f"{more}. Restore the config, or store the changed one under another name. To use these checkpoints with "
            f"the changed config all the same, delete {path}; to train anew under the same name, delete the folder "
            f"{path.parent}"
        )
    if allowed:
        logger.info("run %s goes on with a config that was changed: %s", name, "; ".join(allowed))


def _line(change: Change) -> str:
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
