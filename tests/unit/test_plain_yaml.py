"""YAML that would take all the stack or all the memory is refused."""

from __future__ import annotations

import pytest

from dacapo.errors import ConfigError
from dacapo.store.yaml_files import load_yaml
from dacapo.utils.plain_yaml import parse_yaml

DEEP = "[" * 100_000 + "]" * 100_000
DEEP_BLOCKS = "".join("  " * level + "a:\n" for level in range(200))


def aliases(levels: int) -> str:
    """Return lists of two references to the list before, which together stand for 2 ** levels values."""
    lines = ["a0: &a0 [1, 2]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, levels))]
    return "\n".join(lines)


@pytest.mark.parametrize("parse", [lambda text: parse_yaml(text, "a.yaml"), lambda text: load_yaml(text, "a.yaml")])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DEEP, r"a\.yaml: line 1 is nested in more than 100 levels"),
        ("{a: " * 100_000, r"a\.yaml: line 1 is nested in more than 100 levels"),
        (DEEP_BLOCKS, r"a\.yaml: line 101 is nested in more than 100 levels"),
        (aliases(60), r"a\.yaml: aliases up to line \d+ repeat \d+ values, more than 100000"),
        ("a: &a [*a]", r"a\.yaml: line 1 refers to a value that contains it"),
        ("a: [1", r"a\.yaml is not valid YAML"),
        ("a: *b", r"a\.yaml is not valid YAML"),
    ],
    ids=["flow", "mappings", "blocks", "aliases", "itself", "cut off", "unknown alias"],
)
def test_refused(parse, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        parse(text)


def test_ordinary_aliases_and_depth_are_read() -> None:
    text = "size: &size [8, 8, 8]\nraw: {voxel_size: *size}\ngt: {voxel_size: *size}\nname: &n x\nother: *n"
    expected = {
        "size": [8] * 3,
        "raw": {"voxel_size": [8] * 3},
        "gt": {"voxel_size": [8] * 3},
        "name": "x",
        "other": "x",
    }
    assert parse_yaml(text, "a.yaml") == expected
    assert parse_yaml("[" * 100 + "]" * 100, "a.yaml") is not None
    assert len(parse_yaml("[" + "1, " * 200_000 + "]", "a.yaml")) == 200_000
    assert parse_yaml("", "a.yaml") is None
    doubled = parse_yaml(aliases(10), "a.yaml")
    assert doubled["a9"][0] == doubled["a8"]
