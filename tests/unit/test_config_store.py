from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import attrs
import pytest
from funlib.geometry import Coordinate
from hypothesis import given
from hypothesis import strategies as st

import dacapo.errors
from dacapo.errors import ConfigError, DuplicateNameError, NotFoundError, StorageError, UnsafeFileError
from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.config import Config
from dacapo.store import config_store
from dacapo.store.config_store import ConfigStore
from dacapo.store.converter import to_plain
from dacapo.store.file_config_store import FileConfigStore
from dacapo.store.yaml_files import dump_yaml, load_yaml
from dacapo.testing.config_store import ConfigStoreContract, example
from tests.helpers.golden_data import GOLDEN, items

RECORDED = {name: item for name, item in items("config_store").items() if "collection" in item}


class TestFileConfigStore(ConfigStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ConfigStore:
        return FileConfigStore(tmp_path / "configs")

    @pytest.fixture
    def reopened(self, tmp_path: Path) -> ConfigStore:
        return FileConfigStore(tmp_path / "configs")


@pytest.fixture
def store(tmp_path: Path) -> FileConfigStore:
    return FileConfigStore(tmp_path)


def _retrieve(store: FileConfigStore, item: dict[str, Any]) -> Config:
    config: Config = getattr(store, f"retrieve_{item['collection'].removesuffix('s')}_config")(item["config_name"])
    return config


def _assert_as_recorded(value: Any, node: ast.expr) -> None:
    """Compare a config with its recorded repr; fields that the original does not have are let be."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "PosixUPath":
            assert value == Path(ast.literal_eval(node.args[0]))
            return
        assert type(value).__name__ == node.func.id
        for keyword in node.keywords:
            _assert_as_recorded(getattr(value, str(keyword.arg)), keyword.value)
    else:
        assert value == ast.literal_eval(node)


class TestFilesOfTheOriginal:
    STORE = FileConfigStore(GOLDEN / "config_store")

    @pytest.mark.parametrize("name", RECORDED)
    def test_each_loads_into_the_named_config(self, name: str) -> None:
        item = RECORDED[name]
        config = _retrieve(self.STORE, item)
        assert type(config).__name__ == item["type"]
        if item["str"]:
            _assert_as_recorded(config, ast.parse(item["str"], mode="eval").body)

    @pytest.mark.parametrize("name", [name for name in RECORDED if name.startswith("runs/")])
    def test_runs_have_the_recorded_parts(self, name: str) -> None:
        item = RECORDED[name]
        run: Any = _retrieve(self.STORE, item)
        for part, kind in item["types"].items():
            assert type(getattr(run, part)).__name__ == kind
        assert {key: getattr(run, key) for key in item["scalars"]} == item["scalars"]
        assert [type(augment).__name__ for augment in run.trainer_config.augments] == item["augment_types"]

    @pytest.mark.parametrize("name", RECORDED)
    def test_every_recorded_value_is_kept(self, name: str) -> None:
        recorded = load_yaml((GOLDEN / "config_store" / name).read_text())
        _assert_contains(to_plain(_retrieve(self.STORE, RECORDED[name])), recorded)

    @pytest.mark.parametrize("name", RECORDED)
    def test_storing_it_under_its_name_again_is_no_conflict(self, name: str, tmp_path: Path) -> None:
        item = RECORDED[name]
        target = tmp_path / name
        target.parent.mkdir()
        target.write_bytes((GOLDEN / "config_store" / name).read_bytes())
        store = FileConfigStore(tmp_path)
        getattr(store, f"store_{item['collection'].removesuffix('s')}_config")(_retrieve(store, item))
        assert target.read_bytes() == (GOLDEN / "config_store" / name).read_bytes()

    def test_names(self) -> None:
        assert self.STORE.retrieve_run_config_names() == ["affinities_run", "distance_run"]
        assert len(self.STORE.retrieve_array_config_names()) == 11

    def test_folders(self, store: FileConfigStore) -> None:
        folders = {name: getattr(store, name).relative_to(store.path).as_posix() for name in (*FOLDERS, "datasets")}
        assert folders == {name: name for name in folders}


FOLDERS = ("architectures", "arrays", "datasplits", "runs", "tasks", "trainers", "users")


def _assert_contains(ours: Any, recorded: Any) -> None:
    if isinstance(recorded, dict):
        for key, value in recorded.items():
            _assert_contains(ours[key], value)
    elif isinstance(recorded, list | tuple):
        assert len(ours) == len(recorded)
        for one, other in zip(ours, recorded, strict=True):
            _assert_contains(one, other)
    else:
        assert ours == recorded


def test_the_error_is_the_one_of_the_hierarchy() -> None:
    assert config_store.DuplicateNameError is dacapo.errors.DuplicateNameError


def test_a_file_is_readable_and_in_the_order_of_the_fields(store: FileConfigStore) -> None:
    store.store_run_config(example("run", "my_run"))
    text = (store.runs / "my_run.yaml").read_text()
    keys = [line.partition(":")[0] for line in text.splitlines() if not line.startswith(" ")]
    assert keys == ["__type__", *(field.name for field in attrs.fields(type(example("run"))))]
    assert "task_config:\n  __type__: DummyTaskConfig\n  name: example\n" in text
    assert "!!" not in text


def test_only_the_run_is_stored_with_a_run(store: FileConfigStore) -> None:
    store.store_run_config(example("run"))
    assert [path.relative_to(store.path).as_posix() for path in store.path.rglob("*.yaml")] == ["runs/example.yaml"]


def test_reading_creates_no_folders(store: FileConfigStore) -> None:
    assert store.retrieve_task_config_names() == []
    assert list(store.path.iterdir()) == []


@pytest.mark.parametrize("name", ["configs", "stats"])
def test_a_run_cannot_take_the_place_of_a_store(store: FileConfigStore, name: str) -> None:
    with pytest.raises(ConfigError, match="rename the run"):
        store.store_run_config(example("run", name))


def test_the_same_content_is_not_written_again(store: FileConfigStore) -> None:
    store.store_task_config(example("task"))
    path = store.tasks / "example.yaml"
    os.utime(path, (1, 1))
    store.store_task_config(example("task"))
    assert path.stat().st_mtime == 1


def test_many_differences_are_cut_short(store: FileConfigStore) -> None:
    from dacapo.experiments.datasplits.datasets.arrays import ConcatArrayConfig, DummyArrayConfig

    channels = [f"c{i}" for i in range(30)]
    first, second = (
        ConcatArrayConfig("example", channels, {c: DummyArrayConfig(c + suffix) for c in channels})
        for suffix in ("", "_2")
    )
    store.store_array_config(first)
    with pytest.raises(DuplicateNameError, match=r"c9.name is 'c9', not 'c9_2'; and 20 more"):
        store.store_array_config(second)


def test_parts_that_only_one_has_are_named(store: FileConfigStore) -> None:
    from dacapo.experiments.datasplits.datasets.arrays import DummyArrayConfig, SumArrayConfig

    store.store_array_config(DummyArrayConfig("example"))
    with pytest.raises(DuplicateNameError, match="source_array_configs is only in the given config"):
        store.store_array_config(SumArrayConfig("example", [DummyArrayConfig("a")]))


def test_datasets_can_be_stored_too(store: FileConfigStore) -> None:
    dataset = example("datasplit").train_config
    store.store_dataset_config(dataset)
    assert store.retrieve_dataset_config_names() == ["data"]
    assert store.retrieve_dataset_config("data") == dataset
    store.delete_dataset_config("data")
    assert store.retrieve_dataset_config_names() == []


def test_coordinates_come_back_as_such(store: FileConfigStore) -> None:
    unet = CNNectomeUNetConfig(
        "unet", input_shape=(28, 28, 28), fmaps_out=6, fmaps_in=1, num_fmaps=4, fmap_inc_factor=2,
        downsample_factors=[(2, 2, 2)],
    )  # fmt: skip
    store.store_architecture_config(unet)
    got: Any = store.retrieve_architecture_config("unet")
    assert got == unet
    assert isinstance(got.input_shape, Coordinate)
    assert isinstance(got.downsample_factors[0], Coordinate)


def test_delete_config_takes_a_folder(store: FileConfigStore) -> None:
    store.store_task_config(example("task"))
    with pytest.raises(NotFoundError, match="none is stored"):
        store.delete_config(store.trainers, "example")
    store.delete_config(store.tasks, "example")
    assert store.retrieve_task_config_names() == []


def test_unfinished_and_other_files_are_no_configs(store: FileConfigStore) -> None:
    store.store_task_config(example("task"))
    for name in (".x.yaml.123.partial", "notes.txt", "backup.yaml~"):
        (store.tasks / name).touch()
    (store.tasks / "folder.yaml").mkdir()
    assert store.retrieve_task_config_names() == ["example"]


def test_a_copied_file_must_be_renamed_inside(store: FileConfigStore) -> None:
    store.store_task_config(example("task"))
    (store.tasks / "copy.yaml").write_bytes((store.tasks / "example.yaml").read_bytes())
    with pytest.raises(ConfigError, match=r"copy.yaml holds a config named 'example'"):
        store.retrieve_task_config("copy")


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.mkdir ['owned']",
        "!!python/object/new:os.mkdir ['owned']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object:os.Mapping {}",
        "!!python/complex 1",
    ],
)
def test_files_that_would_run_code_are_refused(
    store: FileConfigStore, tag: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    store.tasks.mkdir()
    (store.tasks / "bad.yaml").write_text(f"__type__: DummyTaskConfig\nname: {tag}\n")
    with pytest.raises(UnsafeFileError, match=r"bad.yaml: tag !!python/.* in line 2"):
        store.retrieve_task_config("bad")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("a: [", ConfigError, "bad.yaml is not valid YAML"),
        ("!other x", ConfigError, "bad.yaml is not valid YAML"),
        ("", ConfigError, "expected the fields of a TaskConfig, got None"),
        ("__type__: Nothing\n", ConfigError, "bad.yaml: .*unknown TaskConfig type 'Nothing'; known are .*DummyTask"),
        ("__type__: DummyTaskConfig\nname: bad\n", ConfigError, "bad.yaml: .*embedding_dims: .*required"),
        (b"\xff\xfe\x00", StorageError, "bad.yaml"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(
    store: FileConfigStore, content: str | bytes, error: type[Exception], message: str
) -> None:
    store.tasks.mkdir()
    (store.tasks / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=message):
        store.retrieve_task_config("bad")


class TestYaml:
    def test_tuples_of_the_original(self) -> None:
        text = "a: !!python/tuple\n- !!python/tuple [1, 2]\n- [3]\n"
        assert load_yaml(text) == {"a": ((1, 2), [3])}

    @pytest.mark.parametrize(
        ("text", "value"),
        [("1e-4", 1e-4), ("-2E+3", -2e3), ("1e5", 1e5), ("'1e5'", "1e5"), ("e5", "e5"), ("1.5e-3", 0.0015)],
    )
    def test_numbers_without_a_point(self, text: str, value: object) -> None:
        assert load_yaml(text) == value

    def test_short_lists_stay_on_one_line(self) -> None:
        plain = {"name": "x", "shape": [1, 2, 3], "factors": [[2, 2], [3, 3]], "inner": {"a": 1}, "empty": []}
        assert dump_yaml(plain) == (
            "name: x\nshape: [1, 2, 3]\nfactors:\n- [2, 2]\n- [3, 3]\ninner:\n  a: 1\nempty: []\n"
        )

    def test_shared_values_are_written_out(self) -> None:
        shared = [1, 2]
        assert "&" not in dump_yaml({"a": shared, "b": shared})

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False)
            | st.text(st.characters(codec="utf-8")),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=10,
        )
    )
    def test_plain_values_come_back(self, plain: object) -> None:
        assert load_yaml(dump_yaml(plain)) == plain
