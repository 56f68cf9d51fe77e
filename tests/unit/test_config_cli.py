"""``dacapo config``: check, store and describe configs in files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest
from click.testing import CliRunner, Result

from dacapo.cli import cli
from dacapo.errors import DuplicateNameError
from dacapo.experiments import config as config_module
from dacapo.experiments.config import Config, configs_inside, is_base, usable_configs, verify_all
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, ZarrArrayConfig
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.starts import StartConfig
from dacapo.experiments.tasks import PretrainedTaskConfig, TaskConfig
from dacapo.options import DaCapoConfig
from dacapo.store.converter import to_plain
from dacapo.store.create_store import create_config_store
from dacapo.store.yaml_files import dump_yaml
from tests.helpers.runs import affinities_run_config, dummy_run_config

RAW = "datasplit_config.train_configs[0].raw_config.source_array_config"


def run_cli(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, Any]:
    """The plain values of a run whose data is there."""
    return to_plain(affinities_run_config(tmp_path / "data"))


def write(folder: Path, plain: Any, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(json.dumps(plain) if name.endswith("json") else dump_yaml(plain))
    return path


@pytest.mark.parametrize("name", ["run.yaml", "run.json"])
def test_a_valid_run(tmp_path: Path, plain: dict[str, Any], name: str) -> None:
    path = write(tmp_path, plain, name)
    result = run_cli("config", "validate", path)
    assert (result.exit_code, result.output) == (0, f"{path}: a valid RunConfig\n")


def test_data_is_opened_once(tmp_path: Path, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    init = ZarrArray.__init__

    def note(array: ZarrArray, config: ZarrArrayConfig) -> None:
        opened.append(f"{config.file_name}/{config.dataset}")
        init(array, config)

    monkeypatch.setattr(ZarrArray, "__init__", note)
    assert run_cli("config", "validate", write(tmp_path, plain)).exit_code == 0
    assert len(opened) == len(set(opened)) == 4


def test_a_run_needs_no_type_and_parts_do(tmp_path: Path, plain: dict[str, Any]) -> None:
    del plain["__type__"]
    assert run_cli("config", "validate", write(tmp_path, plain)).exit_code == 0
    path = write(tmp_path, plain["task_config"], "task.yaml")
    assert run_cli("config", "validate", path).output == f"{path}: a valid AffinitiesTaskConfig\n"
    del plain["task_config"]["__type__"]
    result = run_cli("config", "validate", write(tmp_path, plain["task_config"]))
    assert result.exit_code == 1
    assert "neighborhood: unknown field; a RunConfig has" in result.output


def _raw(plain: dict[str, Any]) -> Any:
    return plain["datasplit_config"]["train_configs"][0]["raw_config"]["source_array_config"]


def _base_task(plain: dict[str, Any]) -> None:
    plain["task_config"] = {"__type__": "TaskConfig", "name": "t"}


def _two(plain: dict[str, Any]) -> None:
    plain["datasplit_config"]["validate_configs"] *= 2


MISTAKES: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "unknown field": (
        lambda p: _raw(p).update(datset="raw"),
        [f"{RAW}.datset: unknown field; a ZarrArrayConfig has 'dataset', did you mean that?"],
    ),
    "wrong type": (lambda p: _raw(p).update(dataset=3), [f"{RAW}.dataset: expected a string, got 3"]),
    "missing field": (lambda p: _raw(p).pop("dataset"), [f"{RAW}.dataset: this field is required, but missing"]),
    "unknown class": (
        lambda p: _raw(p).update(__type__="ZarArrayConfig"),
        [f"{RAW}: unknown ArrayConfig type 'ZarArrayConfig'; known are "],
    ),
    "missing file": (
        lambda p: _raw(p).update(file_name="none.zarr"),
        [f"{RAW}.file_name: container none.zarr does not exist"],
    ),
    "missing dataset": (lambda p: _raw(p).update(dataset="rw"), [f"{RAW}.dataset: dataset 'rw' does not exist in"]),
    "bad value": (lambda p: p["trainer_config"].update(batch_size=0), ["trainer_config: batch_size is 0, but"]),
    "own value": (lambda p: p.update(num_iterations=0), ["num_iterations must be at least 1, got 0"]),
    "bad shape": (
        lambda p: p["architecture_config"].update(input_shape=[5, 5, 5]),
        ["architecture_config: architecture 'unet_3d': input_shape (5, 5, 5) cannot be used"],
    ),
    "base class": (_base_task, ["task_config: TaskConfig is a base class and cannot be used itself"]),
    "name twice": (_two, ["datasplit_config.validate_configs[1].name: 'validate' is the name of"]),
    "several": (
        lambda p: (_raw(p).update(file_name="none.zarr"), p["trainer_config"].update(batch_size=0), p.update(
            validation_interval=0)),
        ["trainer_config: batch_size", f"{RAW}.file_name: container", "validation_interval must be"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_each_with_their_place(tmp_path: Path, plain: dict[str, Any], name: str) -> None:
    change, expected = MISTAKES[name]
    change(plain)
    path = write(tmp_path, plain)
    result = run_cli("config", "validate", path)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert len(lines) == len(expected), result.output
    for line, beginning in zip(lines, expected, strict=True):
        assert line.startswith(f"{path}: {beginning}")


def test_verify_of_a_run_names_the_place(tmp_path: Path) -> None:
    config = affinities_run_config(tmp_path)
    assert config.verify()[0]
    raw = config.datasplit_config.train_configs[0].raw_config
    raw.source_array_config = attrs.evolve(raw.source_array_config, dataset="none")
    works, why = config.verify()
    assert not works
    assert why.startswith(f"{RAW}.dataset: ")
    assert config.datasplit_config.verify()[1] == why.removeprefix("datasplit_config.")
    assert [place for place, _ in verify_all(config)] == [f"{RAW}.dataset"]


def test_a_sentence_that_begins_with_a_field_continues_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "_registry", dict(config_module._registry))

    @attrs.define
    class InnerConfig(Config):
        size: int = 0

        def verify(self) -> tuple[bool, str]:
            return False, "size: too small" if self.size else "sizes: are too small"

    @attrs.define
    class OuterConfig(Config):
        by_name: dict[str, list[Config]] = attrs.field(factory=dict)

    assert OuterConfig({"a": [InnerConfig(1)]}).verify() == (False, "by_name['a'][0].size: too small")
    assert OuterConfig({"a": [InnerConfig(0)]}).verify() == (False, "by_name['a'][0]: sizes: are too small")
    outer = OuterConfig({"a": [], "b": [InnerConfig(1), InnerConfig(2)]})
    assert [place for place, _ in configs_inside(outer)] == ["by_name['b'][0]", "by_name['b'][1]"]
    assert [place for place, _ in verify_all(outer, "x")] == ["x.by_name['b'][0].size", "x.by_name['b'][1].size"]


def test_what_an_inner_config_says_is_not_repeated(tmp_path: Path) -> None:
    task = PretrainedTaskConfig("p", affinities_run_config(tmp_path).task_config, tmp_path / "none.pt")
    assert [place for place, _ in verify_all(task)] == ["weights"]
    task.sub_task_config.neighborhood = []
    assert task.verify()[1].startswith("sub_task_config: ")
    assert [place for place, _ in verify_all(task)] == ["sub_task_config"]


def test_bases_are_told_from_what_can_be_used() -> None:
    assert is_base(TaskConfig)
    assert is_base(Config)
    assert not is_base(StartConfig)
    assert not is_base(RunConfig)
    usable = usable_configs()
    assert {"ArrayConfig", "AugmentConfig", "TrainerConfig"}.isdisjoint(usable)
    assert {"RunConfig", "StartConfig", "ZarrArrayConfig", "WrappedArchitectureConfig"} <= set(usable)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "is not valid YAML"),
        ("__type__: NoSuchConfig", "unknown Config type 'NoSuchConfig'"),
        ("__type__: [1]", "must be the name of a class"),
        ("a: !!python/object/apply:os.getcwd []", "would run code when read"),
    ],
)
def test_files_that_hold_no_config(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    for command in ("validate", "store"):
        result = run_cli("config", command, tmp_path / "bad.yaml")
        assert result.exit_code == 1
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_something_else_than_fields(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("[1, 2]")
    result = run_cli("config", "validate", tmp_path / "bad.yaml")
    assert result.exit_code == 1
    assert "expected the fields of a RunConfig, got [1, 2]" in result.output


def test_a_missing_file(tmp_path: Path) -> None:
    result = run_cli("config", "validate", tmp_path / "none.yaml")
    assert result.exit_code == 1
    assert "none.yaml" in result.stderr


def test_schema_of_a_run_checks_the_same_file(plain: dict[str, Any]) -> None:
    result = run_cli("config", "schema")
    assert result.exit_code == 0
    validator = jsonschema.Draft202012Validator(json.loads(result.output))
    assert validator.is_valid(plain)
    _raw(plain)["dataset"] = 3
    assert not validator.is_valid(plain)


@pytest.mark.parametrize("name", ["ZarrArrayConfig", "TaskConfig", "Config"])
def test_schema_of_a_type_or_a_kind(name: str) -> None:
    assert json.loads(run_cli("config", "schema", name).output)["title"] == name


def test_schema_of_an_unknown_type() -> None:
    result = run_cli("config", "schema", "Zarr")
    assert result.exit_code == 1
    assert "unknown Config type 'Zarr'" in result.stderr


def test_types_are_listed_with_an_explanation() -> None:
    every = run_cli("config", "list").output
    tasks = run_cli("config", "list", "TaskConfig").output.splitlines()
    assert "ZarrArrayConfig " in every
    assert len(tasks) > 5
    assert all(line.split()[0].endswith("TaskConfig") and len(line.split()) > 2 for line in tasks)
    assert "\nTaskConfig " not in every


def test_a_stored_run_can_be_retrieved(options: DaCapoConfig, tmp_path: Path, plain: dict[str, Any]) -> None:
    result = run_cli("config", "store", write(tmp_path, plain))
    assert (result.exit_code, result.output) == (0, "stored run affinities; train it with: dacapo train affinities\n")
    assert to_plain(create_config_store().retrieve_run_config("affinities")) == plain
    assert run_cli("config", "store", write(tmp_path, plain)).exit_code == 0


def test_a_run_from_a_file_trains(options: DaCapoConfig, tmp_path: Path) -> None:
    config = dummy_run_config(num_iterations=3)
    assert run_cli("config", "store", write(tmp_path, to_plain(config))).exit_code == 0
    assert "trained 3 of 3 iterations" in run_cli("train", "dummy").output


@pytest.mark.parametrize("part", ["task", "architecture", "trainer", "datasplit"])
def test_parts_are_stored_by_their_kind(
    options: DaCapoConfig, tmp_path: Path, plain: dict[str, Any], part: str
) -> None:
    path = write(tmp_path, plain[f"{part}_config"])
    assert run_cli("config", "store", path).exit_code == 0
    names = getattr(create_config_store(), f"retrieve_{part}_config_names")()
    assert names == [plain[f"{part}_config"]["name"]]


def test_a_name_that_is_taken_tells_the_places_that_differ(
    options: DaCapoConfig, tmp_path: Path, plain: dict[str, Any]
) -> None:
    assert run_cli("config", "store", write(tmp_path, plain)).exit_code == 0
    _raw(plain)["dataset"] = "other"
    result = run_cli("config", "store", write(tmp_path, plain))
    assert result.exit_code == 1
    assert f"{RAW}.dataset is 'raw', not 'other'" in result.stderr
    debug = CliRunner().invoke(cli, ["--log-level", "DEBUG", "config", "store", str(write(tmp_path, plain))])
    assert isinstance(debug.exception, DuplicateNameError)


def test_what_is_no_entry_of_a_store(options: DaCapoConfig, tmp_path: Path) -> None:
    path = write(tmp_path, to_plain(StartConfig("run", "latest")))
    result = run_cli("config", "store", path)
    assert result.exit_code == 1
    assert "a StartConfig cannot be stored by itself" in result.stderr
