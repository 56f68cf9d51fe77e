from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dacapo.errors import ConfigError, UnknownTypeError
from dacapo.experiments.config import Config, config_class, known_configs
from dacapo.store.converter import find_problems, from_plain, to_plain
from dacapo.store.yaml_files import dump_yaml, load_yaml, read_yaml
from tests.helpers.configs import CONCRETE, Example, instances


@pytest.mark.parametrize("name", CONCRETE)
@settings(
    max_examples=25,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,  # each example overwrites the file
    ],
)
@given(data=st.data())
def test_every_config_survives_a_yaml_file_and_json(name: str, tmp_path: Path, data: st.DataObject) -> None:
    config = data.draw(instances(known_configs()[name]))
    plain = to_plain(config)
    assert plain["__type__"] == name
    (tmp_path / "config.yaml").write_text(dump_yaml(plain), encoding="utf-8")
    for read in (read_yaml(tmp_path / "config.yaml"), json.loads(json.dumps(plain))):
        assert from_plain(read, Config) == config
        assert from_plain(read, type(config)) == config
        assert find_problems(read, type(config)) == []


def _read(**fields: Any) -> Example:
    return from_plain({"name": "n", **fields}, Example)


def test_plain_values_are_plain() -> None:
    config = Example("n", inner=Example("m"), region=Roi((0, 1), (2, 3)))
    plain = to_plain(config)
    assert json.loads(json.dumps(plain)) == plain
    assert list(plain) == ["__type__", *(field.name for field in attrs.fields(Example))]
    assert plain["region"] == [[0, 1], [2, 3]]
    assert plain["inner"]["__type__"] == "Example"


def test_types_are_those_of_the_fields() -> None:
    config = _read(size=2.0, ratio=1, either=1, flag=1, shape=(3.0, 4), region=((0, 0), (1, 2)), pair=["b", (2,)])
    assert config == Example("n", 2, 1.0, 1, True, Coordinate((3, 4)), Roi((0, 0), (1, 2)), pair=("b", [2]))
    assert [type(v) for v in (config.size, config.ratio, config.either, config.flag)] == [int, float, int, bool]
    assert isinstance(config.shape, Coordinate)


def test_a_region_may_be_unbounded() -> None:
    config = Example("n", region=Roi((None, 1), (None, 2)))
    assert from_plain(load_yaml(dump_yaml(to_plain(config))), Example) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": "2"}, "size: expected a whole number, got '2'"),
        ({"size": 1.5}, "whole number"),
        ({"size": float("inf")}, "whole number"),
        ({"size": True}, "whole number"),
        ({"ratio": "half"}, "ratio: expected a number, got 'half'"),
        ({"ratio": True}, "expected a number"),
        ({"either": "1"}, "expected a number"),
        ({"flag": "yes"}, "true or false"),
        ({"name": 5}, "name: expected a string, got 5"),
        ({"shape": [1.5, 2]}, "list of whole numbers"),
        ({"shape": "12"}, "list of whole numbers"),
        ({"shape": [None]}, "list of whole numbers"),
        ({"region": [[0, 0]]}, r"\[offset, shape\]"),
        ({"region": [[0, 0], [1]]}, "same length"),
        ({"region": [[0, "a"], [1, 1]]}, "whole numbers"),
        ({"path": 3}, "path: expected a path, got 3"),
        ({"inner": "Example"}, "expected the fields of a Config"),
        ({"inner": {"__type__": ["Example"]}}, "by name"),
        ({"inner": {"__type__": "Example"}}, "inner.name: this field is required, but missing"),
        (
            {"inner": {"__type__": "Example", "name": "m", "siez": 1}},
            "inner.siez: unknown field; an Example has 'size', did you mean that",
        ),
        ({"more": [{"__type__": "Example", "name": "m", "size": "x"}]}, r"more\[0\].size: .*'x'"),
        ({"by_name": {"a": {"__type__": "Example", "name": 1}}}, r"by_name\['a'\].name: .*got 1"),
        ({"nmae": "n"}, "nmae: unknown field; an Example has 'name', did you mean that"),
        ({"xyz": "n"}, "xyz: unknown field; an Example has name, size, ratio"),
        ({"more": {"a": {"__type__": "Example", "name": "m"}}}, "more: expected a list, got {"),
        ({"more": "Example"}, "more: expected a list, got 'Example'"),
        ({"by_name": ["a"]}, "by_name: expected names with values, got"),
        ({"by_name": {"a @ b": {"__type__": "Example"}}}, r"by_name\['a @ b'\].name: this field is required"),
        ({"pair": ["a", [1], 2]}, "pair: expected a list of 2 values, got"),
        ({"pair": "ab"}, "pair: expected a list, got 'ab'"),
        ({"pair": ["a", [1, "b @ c"]]}, r"pair\[1\]\[1\]: expected a whole number, got 'b @ c'"),
        ({1: 2}, "by name"),
    ],
)
def test_wrong_values_are_errors_that_tell_the_place(fields: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^file.yaml: Example cannot be read: .*{message}"):
        from_plain({"name": "n", **fields}, Example, source="file.yaml")


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"size: .*; ratio: "):
        _read(size="x", ratio="y")


@pytest.mark.parametrize("plain", [None, 3, "Example", [], [("name", "n")]])
def test_something_else_than_fields_is_an_error(plain: Any) -> None:
    with pytest.raises(ConfigError, match="expected the fields of an Example"):
        from_plain(plain, Example)


@pytest.mark.parametrize(
    "plain",
    [
        {"__type__": "NoSuchConfig"},
        {"__type__": "Example", "name": "n", "inner": {"__type__": "NoSuchConfig"}},
        {"__type__": "Example", "name": "n", "more": [{"__type__": "NoSuchConfig"}]},
    ],
)
def test_an_unknown_type_is_named_however_deep(plain: dict[str, Any]) -> None:
    with pytest.raises(UnknownTypeError, match=r"unknown Config type 'NoSuchConfig'; known are .*Example"):
        from_plain(plain, Config)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "__import__('os')", "Config; import os"])
def test_a_type_is_a_name_and_nothing_more(name: str) -> None:
    with pytest.raises(UnknownTypeError):
        from_plain({"__type__": name}, Config)


def test_a_config_of_another_kind_is_refused() -> None:
    task = {"__type__": "DummyTaskConfig", "name": "t", "embedding_dims": 1, "detection_threshold": 0.1}
    assert type(from_plain(task, config_class("TaskConfig"))).__name__ == "DummyTaskConfig"
    with pytest.raises(UnknownTypeError, match="unknown TrainerConfig type 'DummyTaskConfig'"):
        from_plain(task, config_class("TrainerConfig"))
