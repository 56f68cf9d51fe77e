"""The settings in which several runs differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from dacapo.store.converter import to_plain

if TYPE_CHECKING:
    from dacapo.experiments.run_config import RunConfig


@attrs.frozen
class Difference:
    """A setting that is not the same in all of several configs.

    Attributes:
        place: Path to the field, such as ``trainer_config.learning_rate``.
        values: Its value in each config, as text; None where the config has no such field.
    """

    place: str
    values: list[str | None]


def settings_of(config: RunConfig) -> dict[str, str]:
    """Return all settings of a config as text, by path, in the order of the fields."""
    return dict(_flat(to_plain(config), ""))


def config_differences(configs: Sequence[RunConfig]) -> list[Difference]:
    """Return the settings in which configs differ, apart from the name of the run, in the order of the fields."""
    settings = [settings_of(config) for config in configs]
    places = dict.fromkeys(place for one in settings for place in one if place != "name")
    found = [Difference(place, [one.get(place) for one in settings]) for place in places]
    return [difference for difference in found if len(set(difference.values)) > 1]


def _flat(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{place}.{name}" if place else str(name))
    elif isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{place}[{index}]")
    else:
        yield place, str(value)
