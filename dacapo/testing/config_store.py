"""The contract of a config store, as a test suite.

Subclass :class:`ConfigStoreContract` and give it an empty store, and a second one on the same data::

    class TestMyConfigStore(ConfigStoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyConfigStore(tmp_path)

        @pytest.fixture
        def reopened(self, tmp_path):
            return MyConfigStore(tmp_path)
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from funlib.geometry import Roi

from dacapo.errors import ConfigError, DuplicateNameError, NotFoundError
from dacapo.experiments.architectures import DummyArchitectureConfig
from dacapo.experiments.config import Config
from dacapo.experiments.datasplits import DummyDataSplitConfig
from dacapo.experiments.datasplits.datasets import DummyDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import ConcatArrayConfig, CropArrayConfig, DummyArrayConfig
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import DummyTaskConfig
from dacapo.experiments.trainers import DummyTrainerConfig
from dacapo.store.config_store import ConfigStore

KINDS = ["run", "task", "architecture", "trainer", "datasplit", "array"]


def example(kind: str, name: str = "example") -> Any:
    """Return a config of a kind."""
    if kind == "run":
        parts = {f"{part}_config": example(part) for part in ("task", "architecture", "trainer", "datasplit")}
        return RunConfig(name=name, repetition=0, num_iterations=10, **parts)
    if kind == "datasplit":
        return DummyDataSplitConfig(name, DummyDatasetConfig("data", raw_config=DummyArrayConfig("raw")))
    parts_and_arrays: dict[str, Config] = {
        "task": DummyTaskConfig(name, embedding_dims=3, detection_threshold=0.4),
        "architecture": DummyArchitectureConfig(name, num_in_channels=1, num_out_channels=2),
        "trainer": DummyTrainerConfig(name, batch_size=2, learning_rate=1e-4, mirror_augment=True),
        "array": DummyArrayConfig(name),
    }
    return parts_and_arrays[kind]


def changed(kind: str) -> tuple[Any, str]:
    """Return a config that differs from the example in one field, and the path of the field."""
    if kind == "array":
        return CropArrayConfig("example", source_array_config=DummyArrayConfig("raw"), roi=Roi((0,), (1,))), "__type__"
    changes: dict[str, tuple[str, Any]] = {
        "run": ("task_config", DummyTaskConfig("example", embedding_dims=4, detection_threshold=0.4)),
        "task": ("embedding_dims", 4),
        "architecture": ("num_out_channels", 5),
        "trainer": ("batch_size", 7),
        "datasplit": ("train_config", DummyDatasetConfig("other", raw_config=DummyArrayConfig("raw"))),
    }
    field, value = changes[kind]
    place = {"run": "task_config.embedding_dims", "datasplit": "train_config.name"}.get(kind, field)
    return attrs.evolve(example(kind), **{field: value}), place


def _call(store: ConfigStore, verb: str, kind: str, *args: Any, **kwargs: Any) -> Any:
    suffix = "_names" if verb == "names" else ""
    return getattr(store, f"{verb.replace('names', 'retrieve')}_{kind}_config{suffix}")(*args, **kwargs)


class ConfigStoreContract:
    """Laws of storing by name, for each kind of config."""

    @pytest.fixture(params=KINDS)
    def kind(self, request: pytest.FixtureRequest) -> str:
        """Return each kind of config in turn."""
        return str(request.param)

    @pytest.fixture
    def store(self) -> ConfigStore:
        """Return an empty store."""
        raise NotImplementedError

    @pytest.fixture
    def reopened(self) -> ConfigStore:
        """Return a second store on the same data, as another process would open it."""
        raise NotImplementedError

    def test_what_is_stored_comes_back(self, store: ConfigStore, reopened: ConfigStore, kind: str) -> None:
        _call(store, "store", kind, example(kind))
        for one in (store, reopened):
            assert _call(one, "retrieve", kind, "example") == example(kind)

    def test_names_are_sorted(self, store: ConfigStore, kind: str) -> None:
        assert _call(store, "names", kind) == []
        for name in ("b", "a 1", "c.d", "ä"):
            _call(store, "store", kind, example(kind, name))
        assert _call(store, "names", kind) == ["a 1", "b", "c.d", "ä"]

    def test_kinds_do_not_mix(self, store: ConfigStore, kind: str) -> None:
        _call(store, "store", kind, example(kind))
        for other in KINDS:
            assert _call(store, "names", other) == (["example"] if other == kind else [])

    def test_storing_the_same_twice_is_fine(self, store: ConfigStore, kind: str) -> None:
        for _ in range(2):
            _call(store, "store", kind, example(kind))
        assert _call(store, "names", kind) == ["example"]

    def test_another_content_under_the_name_is_refused(self, store: ConfigStore, kind: str) -> None:
        _call(store, "store", kind, example(kind))
        other, place = changed(kind)
        with pytest.raises(DuplicateNameError, match=rf"{kind} 'example' .*\b{place} is"):
            _call(store, "store", kind, other)
        assert _call(store, "retrieve", kind, "example") == example(kind)

    def test_fields_can_be_ignored_in_the_comparison(self, store: ConfigStore, kind: str) -> None:
        _call(store, "store", kind, example(kind))
        other, _ = changed(kind)
        differing = [f.name for f in attrs.fields(type(other)) if f.name != "name"]
        _call(store, "store", kind, other, ignore=["__type__", *differing])
        with pytest.raises(DuplicateNameError):
            _call(store, "store", kind, other, ignore=["name"])
        assert _call(store, "retrieve", kind, "example") == example(kind)

    def test_values_of_another_type_are_refused_before_they_are_written(self, store: ConfigStore, kind: str) -> None:
        field = attrs.fields(type(changed(kind)[0]))[-1].name
        wrong = attrs.evolve(changed(kind)[0], **{field: object()})
        with pytest.raises(ConfigError, match=field):
            _call(store, "store", kind, wrong)
        assert _call(store, "names", kind) == []

    def test_a_run_is_replaced_by_another_of_its_name(self, store: ConfigStore, reopened: ConfigStore) -> None:
        with pytest.raises(NotFoundError):
            store.replace_run_config(example("run"))
        store.store_run_config(example("run"))
        other, _ = changed("run")
        store.replace_run_config(other)
        assert reopened.retrieve_run_config("example") == other
        assert reopened.retrieve_run_config_names() == ["example"]

    def test_a_deleted_config_is_gone(self, store: ConfigStore, kind: str) -> None:
        _call(store, "store", kind, example(kind))
        _call(store, "store", kind, example(kind, "other"))
        _call(store, "delete", kind, "example")
        assert _call(store, "names", kind) == ["other"]
        with pytest.raises(NotFoundError):
            _call(store, "retrieve", kind, "example")
        with pytest.raises(NotFoundError):
            _call(store, "delete", kind, "example")

    def test_an_unknown_name_is_an_error_with_the_close_ones(self, store: ConfigStore, kind: str) -> None:
        with pytest.raises(NotFoundError, match=f"no {kind} 'exmaple'"):
            _call(store, "retrieve", kind, "exmaple")
        _call(store, "store", kind, example(kind))
        _call(store, "store", kind, example(kind, "unlike"))
        with pytest.raises(NotFoundError, match="did you mean 'example'"):
            _call(store, "retrieve", kind, "exmaple")

    def test_names_that_lead_elsewhere_are_refused(self, store: ConfigStore, kind: str) -> None:
        for name in ("", " ", ".", "..", "../x", "a/b", "/x", "a\\b", "a\nb", "a\0b", "n" * 300):
            for verb, what in (("store", example(kind, name)), ("retrieve", name), ("delete", name)):
                with pytest.raises(ConfigError, match=f"name of a {kind}"):
                    _call(store, verb, kind, what)

    def test_a_config_of_another_kind_is_refused(self, store: ConfigStore, kind: str) -> None:
        other = next(k for k in KINDS if k != kind)
        with pytest.raises(ConfigError, match=r"expected a .*Config"):
            _call(store, "store", kind, example(other))

    def test_runs_can_be_selected_by_their_parts(self, store: ConfigStore) -> None:
        parts = ("task", "datasplit", "architecture", "trainer")
        for run in ("aaaa", "abab", "bbba"):
            configs = {f"{part}_config": example(part, name) for part, name in zip(parts, run, strict=True)}
            store.store_run_config(attrs.evolve(example("run", run), **configs))
        select = store.retrieve_run_config_names
        assert select() == ["aaaa", "abab", "bbba"]
        assert select(task_names=["a"]) == ["aaaa", "abab"]
        assert select(["b", "c"]) == ["bbba"]
        assert select(datasplit_names=["b"]) == ["abab", "bbba"]
        assert select(architecture_names=["a"], trainer_names=["b"]) == ["abab"]
        assert select(trainer_names=["a", "b"]) == ["aaaa", "abab", "bbba"]
        assert select(trainer_names=["c"]) == []
        assert select(task_names=[]) == []
        with pytest.raises(ConfigError, match="list of names"):
            select(task_names="a")

    def test_keys_hold_any_character(self, store: ConfigStore, reopened: ConfigStore) -> None:
        channels = ["a.b", "$set", "c$", "%2E", "100%", ".", "ä b/c", "", "__type__"]
        config = ConcatArrayConfig("concat", channels, {channel: DummyArrayConfig("raw") for channel in channels})
        for _ in range(2):
            store.store_array_config(config)
        assert reopened.retrieve_array_config("concat") == config
        sources = {**config.source_array_configs, "a.b": DummyArrayConfig("other")}
        other = attrs.evolve(config, source_array_configs=sources)
        with pytest.raises(DuplicateNameError, match=r"source_array_configs\.a\.b\.name is 'raw', not 'other'"):
            store.store_array_config(other)

    def test_nan_equals_nan(self, store: ConfigStore) -> None:
        for _ in range(2):
            store.store_task_config(DummyTaskConfig("task", embedding_dims=1, detection_threshold=math.nan))
        got: Any = store.retrieve_task_config("task")
        assert math.isnan(got.detection_threshold)
