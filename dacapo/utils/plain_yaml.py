"""Reading YAML of unknown origin."""

from __future__ import annotations

from typing import Any

import yaml

from dacapo.errors import ConfigError

# libyaml's classes, if PyYAML has them, are ten times as fast.
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MOST_LEVELS = 100
MOST_REPEATED = 100_000


def parse_yaml(text: str, source: str, loader: Any = SafeLoader) -> Any:
    """Return the values that YAML text holds.

    Text that would take all the stack or all the memory is refused before any value is built: values that are nested
    too deeply, and aliases of aliases, of which a few lines can stand for 10^9 values.

    Args:
        text: The YAML.
        source: Origin of the text, such as a file name, for error messages.
        loader: A subclass of ``SafeLoader``.

    Raises:
        ConfigError: If the text is not YAML, is nested in more than ``MOST_LEVELS`` levels, refers to itself, or its
            aliases repeat more than ``MOST_REPEATED`` values.
    """
    try:
        _check_size(text, source)
        return yaml.load(text, Loader=loader)  # noqa: S506  # a subclass of SafeLoader
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from error


def _check_size(text: str, source: str) -> None:
    """Count levels and repeated values from the events of the parser, which needs no recursion."""
    repeated = 0
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and the values before it
    values = 0
    for event in yaml.parse(text, Loader=SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            if any(anchor == outer for outer, _ in open_nodes):
                raise ConfigError(f"{source}: line {line} refers to a value that contains it; write values out")
            repeated += sizes.get(anchor, 0)
            values += sizes.get(anchor, 0)
            if repeated > MOST_REPEATED:
                raise ConfigError(
                    f"{source}: aliases up to line {line} repeat {repeated} values, more than {MOST_REPEATED}; write "
                    "values out"
                )
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, values))
            values += 1
            if len(open_nodes) > MOST_LEVELS:
                raise ConfigError(f"{source}: line {line} is nested in more than {MOST_LEVELS} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            closed, before = open_nodes.pop()
            if closed:
                sizes[closed] = values - before
