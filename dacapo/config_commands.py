"""The commands below ``dacapo config``: check, store and describe configs in files.

Imports of NumPy and torch are deferred to the functions that need them, to keep ``--help`` fast.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import click

from dacapo.errors import ConfigError
from dacapo.experiments.config import Config, config_class, usable_configs, verify_all

# The kinds of config a store keeps, as they appear in the names of its methods.
STORED = {
    "RunConfig": "run",
    "TaskConfig": "task",
    "ArchitectureConfig": "architecture",
    "TrainerConfig": "trainer",
    "DataSplitConfig": "datasplit",
    "ArrayConfig": "array",
}


def read_plain(path: Path) -> tuple[Any, type[Config]]:
    """Return the plain values of a config file, and the class to read them as.

    Args:
        path: YAML or JSON. ``__type__`` names the class; without it, the file is read as a run.

    Raises:
        StorageError: If the file cannot be read.
        ConfigError: If it is neither YAML nor JSON.
        UnknownTypeError: If no class has that name.
    """
    from dacapo.store.converter import TYPE_KEY
    from dacapo.store.yaml_files import read_yaml

    plain = read_yaml(path)
    name = plain.get(TYPE_KEY, "RunConfig") if isinstance(plain, dict) else "RunConfig"
    if not isinstance(name, str):
        raise ConfigError(f"{path}: {TYPE_KEY} must be the name of a class, got {name!r}")
    return plain, config_class(name)


def problems_of(path: Path) -> tuple[str, list[str]]:
    """Return the kind of config that a file holds, and one line per problem."""
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
    """Check the config in FILE, YAML or JSON, including all nested configs.

    Finds unknown and missing fields, wrong types, invalid values and files that do not exist. Prints one line per
    problem, with its place in the config, and exits with status 1 if it finds any.
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
    """Print the JSON Schema of files that hold a config of TYPE, by default a run.

    TYPE is a class, such as ZarrArrayConfig, a kind, such as ArrayConfig, or Config for all. Editors use the schema to
    complete and check fields as you type.
    """
    from dacapo.store.schema import json_schema

    cls = Config if type_name == "Config" else config_class(type_name)
    click.echo(json.dumps(json_schema(cls), indent=2, ensure_ascii=False))


@config.command("list")
@click.argument("type_name", metavar="[KIND]", default="Config")
def list_types(type_name: str) -> None:
    """List the known types of config, including those of plugins: those of one KIND, such as TaskConfig, or all."""
    classes = usable_configs(Config if type_name == "Config" else config_class(type_name))
    width = max(map(len, classes), default=0)
    for name, cls in classes.items():
        click.echo(f"{name:<{width}}  {(inspect.getdoc(cls) or '').partition(chr(10))[0]}")


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--drop-scores", is_flag=True, help="Delete the validation scores so far, if they do not fit any more.")
def replace(file: Path, yes: bool = False, drop_scores: bool = False) -> None:
    """Let the run named in FILE go on with the config in FILE, from the checkpoints that it has.

    Lists the differences and asks first. The old config is kept beside the checkpoints.
    """
    from dacapo.experiments.config_replacement import config_changes, replace_config
    from dacapo.experiments.run_config import RunConfig
    from dacapo.store.trained_config import in_words

    new = read_config(file)
    if not isinstance(new, RunConfig):
        raise ConfigError(f"{file} holds a {type(new).__name__}; expected the config of a run")
    found = config_changes(new)
    for change in found:
        click.echo(in_words(change))
    if found and not yes:
        click.confirm(f"Replace the config of run {new.name}?", abort=True)
    replace_config(new, drop_scores)
    click.echo(f"replaced the config of run {new.name}" if found else f"run {new.name} has this config already")


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
def store(file: Path) -> None:
    """Store the config in FILE under its name; a stored run can then be trained by that name."""
    from dacapo.store.create_store import create_config_store

    read = read_config(file)
    kind = next((word for base, word in STORED.items() if isinstance(read, config_class(base))), None)
    if kind is None:
        raise ConfigError(
            f"{file}: a {type(read).__name__} cannot be stored by itself, only inside other configs; "
            f"a store accepts configs of {', '.join(STORED)}"
        )
    getattr(create_config_store(), f"store_{kind}_config")(read)
    name = getattr(read, "name", "")
    click.echo(f"stored {kind} {name}" + (f"; train it with: dacapo train {name}" if kind == "run" else ""))
