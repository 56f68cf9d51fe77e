"""The YAML format of configs: plain values only, in the order of the fields.

Files of the original tag tuples with ``!!python/tuple``, which is accepted. Any other tag that would build a Python
object is refused. Numbers such as ``1e-4``, which are text in YAML 1.1, are read and written as numbers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dacapo.errors import ConfigError, UnsafeFileError
from dacapo.store.files import read_text
from dacapo.utils.plain_yaml import parse_yaml

if TYPE_CHECKING:
    from yaml import SafeDumper, SafeLoader
else:
    from dacapo.utils.plain_yaml import SafeLoader

    SafeDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_FLOAT_TAG = "tag:yaml.org,2002:float"
_FLOAT_WITHOUT_POINT = re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$")
_SCALARS = (str, int, float, bool, type(None))


class _Loader(SafeLoader):
    """Reads plain values, and tuples as the original tags them."""


class _Dumper(SafeDumper):
    """Writes plain values, short lists on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _construct_tuple(loader: SafeLoader, node: yaml.Node) -> tuple[Any, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigError(f"the tuple in line {node.start_mark.line + 1} is no list; write its items in brackets")
    return tuple(loader.construct_sequence(node, deep=True))


def _refuse(loader: SafeLoader, suffix: str, node: yaml.Node) -> None:
    raise UnsafeFileError(
        f"tag !!python/{suffix} in line {node.start_mark.line + 1} would run code when read, so it is refused; "
        "replace it with plain values"
    )


def _represent_sequence(dumper: SafeDumper, data: Any) -> yaml.Node:
    return dumper.represent_sequence(
        "tag:yaml.org,2002:seq", data, flow_style=all(isinstance(item, _SCALARS) for item in data)
    )


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _construct_tuple)
_Loader.add_multi_constructor("tag:yaml.org,2002:python/", _refuse)
_Dumper.add_representer(list, _represent_sequence)
_Dumper.add_representer(tuple, _represent_sequence)
# The writer needs the rule too, to quote text that looks like such a number.
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(_FLOAT_TAG, _FLOAT_WITHOUT_POINT, list("-+0123456789"))


def dump_yaml(plain: Any) -> str:
    """Return plain values as YAML text, the keys in the order given."""
    return str(
        yaml.dump(plain, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=120)
    )


def load_yaml(text: str, source: str = "this text") -> Any:
    """Return the plain values that YAML text holds.

    Args:
        text: The YAML.
        source: Origin of the text (a file name), for the error message.

    Raises:
        UnsafeFileError: If a tag asks for a Python object other than a tuple.
        ConfigError: If the text is not YAML, is nested too deeply, or its aliases repeat too many values.
    """
    try:
        return parse_yaml(text, source, _Loader)
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{source}: {error}") from None


def read_yaml(path: Path | str) -> Any:
    """Return the plain values that a YAML file holds.

    Raises:
        StorageError: If the file cannot be read.
        UnsafeFileError: If a tag asks for a Python object other than a tuple.
        ConfigError: If it is not YAML.
    """
    return load_yaml(read_text(path), str(path))
