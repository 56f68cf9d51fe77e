"""Any config, for tests of what holds for all of them."""

from __future__ import annotations

import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import attrs
from funlib.geometry import Coordinate, Roi
from hypothesis import reject
from hypothesis import strategies as st

from dacapo.experiments.config import Config, is_base, known_configs

# Other tests define configs too, some of them made to fail.
CONCRETE = sorted(
    name for name, cls in known_configs().items() if cls.__module__.startswith("dacapo.") and not is_base(cls)
)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8) | st.sampled_from(
    ["1e4", "null", "yes", "0x1", "~"]
)
WHOLE = st.integers(-1000, 1000)
PLAIN = st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False) | TEXT
COORDINATES = st.lists(WHOLE, min_size=1, max_size=3).map(Coordinate)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    Any: st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2)),
    bool: st.booleans(),
    int: st.integers(-(2**62), 2**62),
    float: st.floats(allow_nan=False),
    NoneType: st.none(),
    Path: st.sampled_from(["a.zarr", "/data/b.zarr", "~/c", "with space/d"]).map(Path),
    Coordinate: COORDINATES,
    Roi: st.integers(1, 3).flatmap(
        lambda dims: st.builds(
            Roi,
            st.lists(WHOLE, min_size=dims, max_size=dims).map(tuple),
            st.lists(st.integers(0, 100), min_size=dims, max_size=dims).map(tuple),
        )
    ),
}


def values(kind: Any, depth: int = 2) -> st.SearchStrategy[Any]:
    """Return values of the type of a config's field."""
    origin, args = get_origin(kind), get_args(kind)
    if kind in SIMPLE:
        return SIMPLE[kind]
    if origin in (typing.Union, UnionType):
        return st.one_of([values(arg, depth) for arg in args])
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin is list:
        return st.lists(values(args[0], depth), max_size=2)
    if origin is dict:
        return st.dictionaries(values(args[0], depth), values(args[1], depth), max_size=2)
    if origin is tuple and args[-1] is not Ellipsis:
        return st.tuples(*(values(arg, depth) for arg in args))
    if isinstance(kind, type) and issubclass(kind, Config):
        return configs(kind, depth - 1)
    raise AssertionError(f"no values for {kind}; add a strategy")


def configs(base: type[Config], depth: int = 2) -> st.SearchStrategy[Config]:
    """Return configs of a class, or of any that derives from it; at depth 0 only those without other configs inside."""
    names = sorted(name for name in known_configs(base) if name in CONCRETE)
    if depth <= 0:
        names = [name for name in names if not _holds_configs(known_configs()[name])] or names[:1]
    return st.sampled_from(names).flatmap(lambda name: instances(known_configs()[name], max(depth, 0)))


def _holds_configs(cls: type[Config]) -> bool:
    return any("Config" in str(field.type) for field in attrs.fields(attrs.resolve_types(cls)))


@st.composite
def instances(draw: st.DrawFn, cls: type[Config], depth: int = 2) -> Config:
    """Return instances of exactly one class."""
    fields = attrs.fields(attrs.resolve_types(cls))
    arguments = {field.alias: draw(values(field.type, depth)) for field in fields if field.init}
    try:
        return cls(**arguments)
    except (ValueError, TypeError):
        reject()


@attrs.define
class Example(Config):
    """One field of each type."""

    name: str
    size: int = 1
    ratio: float = 0.5
    either: int | float | None = None
    flag: bool = False
    shape: Coordinate = Coordinate((1, 2))
    region: Roi | None = None
    inner: Config | None = None
    more: list[Config] = attrs.field(factory=list)
    by_name: dict[str, Config] = attrs.field(factory=dict)
    pair: tuple[str, list[int]] = ("a", [1])
    path: Path = Path("x")
