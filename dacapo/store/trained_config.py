"""The config that the checkpoints of a run were trained with, kept beside them.

A run may only resume from checkpoints that were trained with its config: weights may fit the network of a different
config and still mean something else. Therefore every checkpoint holds its config, a file beside the checkpoints records
the one that counts, and loading a checkpoint compares it with that of the run. Some fields may differ, which is logged:
those that do not change the experiment (names, number of iterations, settings for the machine), and paths of files,
since data may move. A field added by a newer version counts as having had its default.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dacapo.errors import ConfigError
from dacapo.experiments.config import Config, ConfigChange, changes
from dacapo.store.converter import from_plain, to_plain
from dacapo.store.files import is_file, read_text, status, write_text
from dacapo.store.yaml_files import dump_yaml

logger = logging.getLogger(__name__)

_SHOWN = 8
_LONGEST = 60


def plain_config(config: Config) -> dict[str, Any]:
    """Return the config of a run as plain values, to keep with its checkpoints.

    Raises:
        ConfigError: If it holds a value that could not be read back.
    """
    plain = to_plain(config)
    from_plain(plain, type(config), source=f"run {getattr(config, 'name', '')!r}")
    return plain


def write_trained_config(path: Path, plain: dict[str, Any]) -> None:
    """Record the config that checkpoints were trained with, atomically; a file that holds it already is kept.

    Raises:
        StorageError: If the file cannot be written or read.
    """
    text = dump_yaml(plain)
    if not is_file(path) or read_text(path) != text:
        write_text(path, text)


def keep_replaced_config(path: Path, plain: dict[str, Any], iteration: int) -> None:
    """Keep a config that is about to be replaced beside the file of the one that counts.

    Args:
        path: The file of the one that counts.
        plain: The config that is replaced.
        iteration: The latest checkpoint that was trained with it.

    Raises:
        StorageError: If it cannot be written.
    """
    number = 1
    while status(path.with_name(f"{path.name}.{number}")) is not None:
        number += 1
    note = f"# The config of this run until iteration {iteration}, when it was replaced on purpose.\n"
    write_text(path.with_name(f"{path.name}.{number}"), note + dump_yaml(plain))


def check_trained_config(plain: Any, config: Config, path: Path) -> None:
    """Check that a run may use checkpoints that were trained with a given config.

    Args:
        plain: The config that the checkpoints were trained with.
        config: The config of the run.
        path: The file that records the config of the checkpoints.

    Raises:
        ConfigError: If a difference alters training; the message lists all of them, and what to do. Also if the config
            of the checkpoints cannot be read.
    """
    trained = from_plain(plain, type(config), source=str(path))
    found = list(changes(trained, config))
    refused, allowed = ([in_words(c) for c in found if c.alters_training is kind] for kind in (True, False))
    name = getattr(config, "name", "")
    if refused:
        more = f"; and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
        raise ConfigError(
            f"the config of run {name!r} was changed since its checkpoints were trained: {'; '.join(refused[:_SHOWN])}"
            f"{more}. Restore the config, or store the changed one under another name. To go on from these "
            f"checkpoints with the changed config on purpose, call dacapo.experiments.replace_config(config), or "
            f"'dacapo config replace FILE'; it keeps the old config, recorded in {path}, beside that file. To train "
            f"anew under the same name, delete the folder {path.parent}"
        )
    if allowed:
        logger.info("run %s resumes with a changed config: %s", name, "; ".join(allowed))


def in_words(change: ConfigChange) -> str:
    """Return a difference between two configs as part of a sentence."""
    return f"{change.place} was {_short(change.old)} and is {_short(change.new)}"


def _short(value: Any) -> str:
    """Return a short description of a value."""
    if isinstance(value, Config):
        return f"{type(value).__name__} {getattr(value, 'name', '')}".rstrip()
    if isinstance(value, (list, tuple)) and any(isinstance(item, Config) for item in value):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, Path):
        return str(value)
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
