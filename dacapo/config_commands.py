"""The commands below ``dacapo config``: check, store and describe configs in files.

What loads NumPy or torch is imported by the function that needs it, so that ``--help`` is quick.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import click

from dacapo.errors import ConfigError
from dacapo.experiments.config import Config, config_class, usable_configs, verify_all

# What a store keeps, and what the methods for it are called after.
STORED = {
    "RunConfig": "run",
    "TaskConfig": "task",
    "ArchitectureConfig": "architecture",
    "TrainerConfig": "trainer",
    "DataSplitConfig": "datasplit",
    "ArrayConfig": "array",
}


def read_plain(path: Path) -> tuple[Any, type[Config]]:
    """Return the plain values of a config file, and the class they are read as.

    Args:
        path: YAML or JSON. ``__type__`` names the class; without it, the file is taken for a run.

    Raises:
        StorageError: If the file cannot be read.
        ConfigError: If it is neither YAML nor JSON.
        UnknownTypeError: If there is no class of that name.
    """
    from dacapo.store.converter import TYPE_KEY
    from dacapo.store.yaml_files import read_yaml

    plain = read_yaml(path)
    name = plain.get(TYPE_KEY, "RunConfig") if isinstance(plain, dict) else "RunConfig"
    if not isinstance(name, str):
        raise ConfigError(f"{path}: {TYPE_KEY} must be the name of a class, got {name!r}")
    return plain, config_class(name)


def problems_of(path: Path) -> tuple[str, list[str]]:
    """Return the kind of config that a file holds, and a line for everything that is wrong with it."""
    from dacapo.store.converter import find_problems, from_plain

    plain, cls = read_plain(path)
    problems = find_problems(plain, cls) or verify_all(from_plain(plain, cls))
    return cls.__name__, [f"{place}: {what}" if place else what for place, what in problems]


def read_config(path: Path) -> Config:
    """Return the config that a file holds.

    Raises:
        ConfigError: If it cannot be built.
    """
    from dacapo.store.converter import from_plain

    plain, cls = read_plain(path)
    return from_plain(plain, cls, source=str(path))


@click.group()
def config() -> None:
    """Check, store and describe configs in files."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
def validate(file: Path) -> None:
    """Check the config in FILE, YAML or JSON, with all configs inside.

    Looks for unknown fields, missing ones, wrong types, values that cannot work and files that are not there. Prints
    one line for each problem, with the place in the config, and then exits with status 1.
    """
    kind, problems = problems_of(file)
    for problem in problems:
        click.echo(f"{file}: {' '.join(problem.split())}")
    if problems:
        raise SystemExit(1)
    click.echo(f"{file}: a valid {kind}")


@config.command()
@click.argument("type_name", metavar="[TYPE]", default="RunConfig")
def schema(type_name: str) -> None:
    """Print the JSON Schema of files that hold a config of TYPE, a run by default.

    TYPE is a class, such as ZarrArrayConfig, a kind, such as ArrayConfig, or Config for all. Editors that know the
    schema complete and check fields while a file is written.
    """
    from dacapo.store.schema import json_schema

    cls = Config if type_name == "Config" else config_class(type_name)
    click.echo(json.dumps(json_schema(cls), indent=2, ensure_ascii=False))


@config.command("list")
@click.argument("type_name", metavar="[KIND]", default="Config")
def list_types(type_name: str) -> None:
    """List the types of config that are known, those of plugins too; of one KIND such as TaskConfig, or all."""
    classes = usable_configs(Config if type_name == "Config" else config_class(type_name))
    width = max(map(len, classes), default=0)
    for name, cls in classes.items():
        click.echo(f"{name:<{width}}  {(inspect.getdoc(cls) or '').partition(chr(10))[0]}")


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
def store(file: Path) -> None:
    """Put the config in FILE into the store, under its name: a run can then be trained by that name."""
    from dacapo.store.create_store import create_config_store

    read = read_config(file)
    kind = next((word for base, word in STORED.items() if isinstance(read, config_class(base))), None)
    if kind is None:
        raise ConfigError(
            f"{file}: a {type(read).__name__} is not stored by itself, only inside other configs; "
            f"stored are those of {', '.join(STORED)}"
        )
    getattr(create_config_store(), f"store_{kind}_config")(read)
    name = getattr(read, "name", "")
    click.echo(f"stored {kind} {name}" + (f"; train it with: dacapo train {name}" if kind == "run" else ""))
