"""Find stored runs, by name or by folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dacapo.errors import ConfigNotFoundError
from dacapo.experiments.config import config_class
from dacapo.options import Options
from dacapo.store.converter import from_plain
from dacapo.store.create_store import create_config_store, create_weights_store

if TYPE_CHECKING:
    from dacapo.experiments.run_config import RunConfig


@contextmanager
def stores_of(run: str | Path) -> Iterator[str]:
    """Use the stores that hold a run inside a ``with`` block; the value of the block is the run's name.

    Args:
        run: Name of a run in the stores of the options, or the folder of a run, ``<runs_base_dir>/<run>``, as a path or
            as text with a separator.

    Raises:
        ConfigNotFoundError: If the folder is not that of a run.
    """
    if isinstance(run, str) and not {os.sep, "/"} & set(run):
        yield run
        return
    folder = Path(run).expanduser().resolve()
    if not (folder / "checkpoints").is_dir():
        raise ConfigNotFoundError(
            f"{folder} is not the folder of a run: it has no 'checkpoints'; give the name of a stored run, or its "
            "folder <runs_base_dir>/<name>"
        )
    settings: dict[str, Any] = {"runs_base_dir": folder.parent}
    if (folder.parent / "configs" / "runs").is_dir():
        settings["type"] = "files"
    with Options.override(**settings):
        yield folder.name


def stored_config(name: str) -> RunConfig:
    """Return the config of a run from the stores in use, or else the one recorded with its checkpoints.

    Raises:
        ConfigNotFoundError: If the run has neither.
    """
    try:
        return create_config_store().retrieve_run_config(name)
    except ConfigNotFoundError:
        plain = create_weights_store().recorded_config(name)
        if plain is None:
            raise
    config: Any = from_plain(plain, config_class("RunConfig"), source=f"the checkpoints of run {name!r}")
    return attrs.evolve(config, name=name)  # type: ignore[no-any-return]
