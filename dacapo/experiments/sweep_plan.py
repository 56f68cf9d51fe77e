"""The runs of a sweep: a base config, and for some of its fields the values to try."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from dacapo.errors import ConfigError
from dacapo.experiments.config import Config
from dacapo.experiments.run_config import RunConfig
from dacapo.store.converter import find_problems, from_plain, to_plain
from dacapo.store.create_store import create_config_store
from dacapo.store.yaml_files import read_yaml
from dacapo.utils.names import check_name

FIELDS = ("base", "grid", "repetitions", "name")
_SET_BY_SWEEP = {"name": "the sweep names its runs", "repetition": "give the number of 'repetitions' instead"}
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_SHORT = re.compile(r"[\w.+-]{1,40}")
_MOST_NUMBERS = 6


@attrs.frozen
class SweptRun:
    """A run of a sweep.

    Attributes:
        config: Its config, with its name.
        values: The values of the fields that the sweep varies, by path.
    """

    config: RunConfig
    values: dict[str, Any]


@attrs.frozen
class SweepPlan:
    """All runs of a sweep, in the order of the grid: the last field varies first, repetitions before it.

    Attributes:
        name: What the names of all runs begin with.
        runs: The runs.
    """

    name: str
    runs: list[SweptRun]


def plan_sweep(spec: Mapping[str, Any] | Path | str) -> SweepPlan:
    """Return the runs of a sweep.

    Args:
        spec: A mapping, or the path of a YAML or JSON file with one. ``base`` is the config of a run, the path of its
            file (relative to that of the sweep), or the name of a stored run. ``grid`` maps paths of fields, such as
            ``trainer_config.learning_rate`` or ``trainer_config.augments[0].scale``, to lists of values, of which all
            combinations are tried. ``repetitions`` is the number of runs for each combination, 1 by default, and
            ``name`` what their names begin with, by default the name of the base.

    Raises:
        ConfigError: If a field is unknown, or a value has the wrong type; the message names the field.
        ConfigNotFoundError: If no run of the name of the base is stored.
    """
    if isinstance(spec, Path | str):
        source, folder, spec = str(spec), Path(spec).expanduser().parent, read_yaml(Path(spec).expanduser())
    else:
        source, folder = "the sweep", Path()
    spec = _checked(spec, source)
    base = to_plain(_base_of(spec["base"], folder, source))
    grid, repetitions = _grid_of(spec.get("grid") or {}, source), _repetitions_of(spec.get("repetitions", 1), source)
    _check_values(base, grid, source)
    name = spec.get("name", base["name"])
    labels, texts = _labels(list(grid)), {path: _texts(values) for path, values in grid.items()}
    runs = []
    for chosen in itertools.product(*(range(len(values)) for values in grid.values())):
        values = {path: grid[path][index] for path, index in zip(grid, chosen, strict=True)}
        parts = [f"{labels[path]}={texts[path][index]}" for path, index in zip(grid, chosen, strict=True)]
        plain = _with_values(base, values)
        for repetition in range(repetitions):
            # The first repetition has no number, so that more can be added to a sweep later.
            numbered = [*parts, f"r{repetition}"] if repetition else parts
            full = check_name("_".join([str(name), *numbered]), f"{source}: the name of the run")
            plain |= {"name": full, "repetition": repetition}
            runs.append(SweptRun(from_plain(copy.deepcopy(plain), RunConfig, source=f"{source}, run {full!r}"), values))
    return SweepPlan(str(name), runs)


def _checked(spec: Any, source: str) -> Mapping[str, Any]:
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{source}: expected a mapping with {', '.join(FIELDS)}, got {spec!r}")
    unknown = [str(name) for name in spec if name not in FIELDS]
    if unknown:
        raise ConfigError(f"{source}: unknown field {', '.join(unknown)}; a sweep has {', '.join(FIELDS)}")
    if "base" not in spec:
        raise ConfigError(f"{source}: 'base' is missing; give the config of a run, its file, or a stored run's name")
    if not isinstance(spec.get("name", ""), str):
        raise ConfigError(f"{source}: name must be text, got {spec['name']!r}")
    return spec


def _base_of(base: Any, folder: Path, source: str) -> RunConfig:
    if isinstance(base, RunConfig):
        return base
    if isinstance(base, Mapping):
        return from_plain(dict(base), RunConfig, source=f"{source}, base")
    if not isinstance(base, Path | str):
        raise ConfigError(f"{source}: base must be the config of a run, its file, or a stored run's name, got {base!r}")
    file = folder / Path(base).expanduser()
    if isinstance(base, Path) or file.suffix in (".yaml", ".yml", ".json"):
        return from_plain(read_yaml(file), RunConfig, source=str(file))
    return create_config_store().retrieve_run_config(base)


def _grid_of(grid: Any, source: str) -> dict[str, list[Any]]:
    if not isinstance(grid, Mapping) or not all(isinstance(path, str) for path in grid):
        raise ConfigError(f"{source}: grid must map fields to lists of values, got {grid!r}")
    found = {}
    for path, values in grid.items():
        if path in _SET_BY_SWEEP:
            raise ConfigError(f"{source}: grid: {path} cannot be varied; {_SET_BY_SWEEP[path]}")
        if not isinstance(values, list | tuple) or not values:
            raise ConfigError(f"{source}: grid: {path} must be a list of values to try, got {values!r}")
        plain = [to_plain(value) if isinstance(value, Config) else value for value in values]
        if any(plain.index(value) < index for index, value in enumerate(plain)):
            raise ConfigError(f"{source}: grid: {path} has a value twice, in {values!r}; use 'repetitions' to repeat")
        found[path] = plain
    return found


def _repetitions_of(repetitions: Any, source: str) -> int:
    if isinstance(repetitions, bool) or not isinstance(repetitions, int) or repetitions < 1:
        raise ConfigError(f"{source}: repetitions must be a whole number from 1 on, got {repetitions!r}")
    return repetitions


def _check_values(base: dict[str, Any], grid: dict[str, list[Any]], source: str) -> None:
    """Check each value by itself, so that the message names its field.

    Raises:
        ConfigError: With all problems.
    """
    found = []
    for path, values in grid.items():
        for value in values:
            try:
                problems = find_problems(_with_values(base, {path: value}), RunConfig)
            except ConfigError as error:
                problems = [("", str(error))]
            for place, what in problems:
                where = "" if place in ("", path) else f"{place}: "
                found.append(f"grid: {path}: {where}{what}")
    if found:
        raise ConfigError(f"{source}: {'; '.join(dict.fromkeys(found))}")


def _with_values(base: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values with some of them replaced, whole parts before the fields inside of them."""
    plain = copy.deepcopy(base)
    for path in sorted(values, key=lambda path: len(list(_steps(path)))):
        _replace(plain, path, copy.deepcopy(values[path]))
    return plain


def _replace(plain: dict[str, Any], path: str, value: Any) -> None:
    """Replace the value at a path; the converter refuses fields that do not exist.

    Raises:
        ConfigError: If there is no place for it.
    """
    *outer, last = _steps(path)
    inside: Any = plain
    for step in outer:
        _check_step(inside, step)
        if isinstance(step, str) and inside.get(step) is None:
            inside[step] = {}
        inside = inside[step]
    _check_step(inside, last)
    inside[last] = value


def _check_step(inside: Any, step: str | int) -> None:
    if isinstance(step, int) and (not isinstance(inside, list) or step >= len(inside)):
        what = f"a list of {len(inside)}" if isinstance(inside, list) else "no list"
        raise ConfigError(f"[{step}] cannot be replaced in {what}")
    if isinstance(step, str) and not isinstance(inside, dict):
        raise ConfigError(
            f"{step!r} is inside of a list; write for example [0].{step}"
            if isinstance(inside, list)
            else f"{step!r} is inside of {inside!r}, which has no fields"
        )


def _steps(path: str) -> Iterator[str | int]:
    """Yield the fields and indices of a path.

    Raises:
        ConfigError: If it is no path.
    """
    place = 0
    while place < len(path) or not path:
        match = _STEP.match(path, place)
        if match is None:
            raise ConfigError(f"{path!r} is no path of a field; write for example trainer_config.augments[0].scale")
        yield match[1] if match[1] is not None else int(match[2])
        place = match.end()


def _labels(paths: Sequence[str]) -> dict[str, str]:
    """Return a short name of each path: its last field, and as many before it as tell it from the others."""
    split = {path: list(_steps(path)) for path in paths}
    labels = {}
    for path, steps in split.items():
        length = 1
        while isinstance(steps[-length], int) or any(
            other != path and their[-length:] == steps[-length:] for other, their in split.items()
        ):
            length += 1
        labels[path] = ".".join(map(str, steps[-length:]))
    return labels


def _texts(values: Sequence[Any]) -> list[str]:
    """Return a short text of each value for names: its number in the list if it has none, or another has the same."""
    texts = [_text(value) for value in values]
    return [f"v{i}" if text is None or texts.count(text) > 1 else text for i, text in enumerate(texts)]


def _text(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return _text(value.get("name", []))
    if isinstance(value, list | tuple):
        parts = [_text(item) for item in value if not isinstance(item, list | tuple | Mapping)]
        fits = 0 < len(parts) == len(value) <= _MOST_NUMBERS and None not in parts
        return "x".join(map(str, parts)) if fits else None
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if _SHORT.fullmatch(text) else None
