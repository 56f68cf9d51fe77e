"""The JSON Schema of configs agrees with what the converter reads."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dacapo.errors import ConfigError
from dacapo.experiments import config as config_module
from dacapo.experiments.config import Config, field, help_texts, known_configs
from dacapo.experiments.run_config import RunConfig
from dacapo.store.converter import find_problems, to_plain
from dacapo.store.schema import json_schema
from dacapo.store.yaml_files import read_yaml
from tests.helpers.configs import CONCRETE, Example, instances

GOLDEN = Path(__file__).parents[1] / "golden" / "config_store"
SCHEMA = json_schema(RunConfig)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@functools.cache
def _validator(cls: type[Config]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema(cls))


def golden(name: str) -> Any:
    """Return a stored config of the original, as JSON would hold it: lists for tuples."""
    return json.loads(json.dumps(read_yaml(GOLDEN / name)))


@pytest.mark.parametrize("cls", [RunConfig, Example, Config])
def test_schemas_are_schemas(cls: type[Config]) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(cls))
    json.dumps(json_schema(cls), allow_nan=False)


@pytest.mark.parametrize("name", ["affinities_run", "distance_run"])
def test_runs_of_the_original_are_valid(name: str) -> None:
    assert list(VALIDATOR.iter_errors(golden(f"runs/{name}.yaml"))) == []


@pytest.mark.parametrize("file", sorted(path.relative_to(GOLDEN).as_posix() for path in GOLDEN.glob("[!r]*/*.yaml")))
def test_parts_of_the_original_are_valid(file: str) -> None:
    plain = golden(file)
    cls = known_configs()[plain["__type__"]]
    assert list(_validator(cls).iter_errors(plain)) == []


def _set(*path: Any, value: Any) -> Any:
    def change(plain: Any) -> None:
        for step in path[:-1]:
            plain = plain[step]
        plain[path[-1]] = value

    return change


def _delete(*path: Any) -> Any:
    def change(plain: Any) -> None:
        for step in path[:-1]:
            plain = plain[step]
        del plain[path[-1]]

    return change


RAW = ("datasplit_config", "train_configs", 0, "raw_config")

MUTATIONS = {
    "wrong type": _set(*RAW, "dataset", value=3),
    "unknown field": _set(*RAW, "datset", value="raw"),
    "missing field": _delete(*RAW, "dataset"),
    "unknown class": _set(*RAW, "__type__", value="NoSuchConfig"),
    "class of another kind": _set("task_config", "__type__", value="CNNectomeUNetConfig"),
    "no class where there is a choice": _delete("task_config", "__type__"),
    "not a list": _set("datasplit_config", "train_configs", value=3),
    "part of a voxel": _set("architecture_config", "input_shape", value=[28, 28, 28.5]),
    "string for a number": _set("num_iterations", value="many"),
    "null where required": _set("trainer_config", value=None),
    "unknown field at the top": _set("iterations", value=3),
    "missing field at the top": _delete("name"),
    "roi of three parts": _set(
        *RAW, value={"__type__": "CropArrayConfig", "name": "a", "source_array_config": {}, "roi": [[0], [1], [2]]}
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mistakes_are_found_by_schema_and_converter_alike(name: str) -> None:
    plain = golden("runs/distance_run.yaml")
    assert VALIDATOR.is_valid(plain)
    assert find_problems(plain, RunConfig) == []
    MUTATIONS[name](plain)
    assert not VALIDATOR.is_valid(plain)
    assert find_problems(plain, RunConfig)


@pytest.mark.parametrize("name", CONCRETE)
@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_every_config_fits_its_schema(name: str, data: st.DataObject) -> None:
    cls = known_configs()[name]
    plain = json.loads(json.dumps(to_plain(data.draw(instances(cls)))))
    validator = _validator(cls)
    assert list(validator.iter_errors(plain)) == []
    assert not validator.is_valid(plain | {"no_such_field": 1})


def test_fields_are_explained() -> None:
    for name, cls in known_configs().items():
        if name in SCHEMA["$defs"]:
            described = SCHEMA["$defs"][name]
            texts = help_texts(cls)
            assert list(described["properties"]) == ["__type__", *texts]
            assert [described["properties"][field]["description"] for field in texts] == list(texts.values())
            assert described["description"]


def test_defaults_and_required_fields() -> None:
    run = SCHEMA["$defs"]["RunConfig"]
    assert run["properties"]["validation_interval"]["default"] == 1000
    assert run["properties"]["start_config"]["default"] is None
    assert run["required"] == [
        "task_config", "architecture_config", "trainer_config", "datasplit_config", "name", "repetition",
        "num_iterations",
    ]  # fmt: skip
    assert run["additionalProperties"] is False


def test_defaults_are_valid() -> None:
    example = json_schema(Example)
    for name, described in example["$defs"]["Example"]["properties"].items():
        if "default" in described:
            part = {"$defs": example["$defs"], **described}
            assert jsonschema.Draft202012Validator(part).is_valid(described["default"]), name


def test_a_base_offers_its_kinds_and_not_itself() -> None:
    schema = json_schema(known_configs()["StartConfig"])
    kinds = [option["$ref"].rpartition("/")[2] for option in schema["$defs"]["AnyStartConfig"]["anyOf"]]
    assert kinds == ["StartConfig", "BioimageStartConfig", "CosemStartConfig"]
    kinds = [option["$ref"].rpartition("/")[2] for option in SCHEMA["$defs"]["AnyTaskConfig"]["anyOf"]]
    assert "TaskConfig" not in kinds
    assert "AffinitiesTaskConfig" in kinds


def test_a_type_that_has_no_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "_registry", dict(config_module._registry))

    @attrs.define
    class OddConfig(Config):
        value: complex = field("A type that JSON does not have.")

    with pytest.raises(ConfigError, match=r"complex.*use plain types"):
        json_schema(OddConfig)
