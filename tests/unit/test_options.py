from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import torch
import yaml

import dacapo
from dacapo.compute_context import ComputeContext, LocalTorch, create_compute_context
from dacapo.errors import BlockwiseError, ConfigError
from dacapo.experiments.trainers.prefetch import Prefetcher
from dacapo.options import ENVIRONMENT_VARIABLE, ENVIRONMENT_VARIABLES, DaCapoConfig, Options
from dacapo.store.array_store import LocalContainerIdentifier
from dacapo.store.create_store import create_array_store, create_config_store, create_stats_store, create_weights_store
from dacapo.store.file_config_store import FileConfigStore
from dacapo.store.file_stats_store import FileStatsStore
from tests.helpers.golden_data import items
from tests.helpers.processes import PATIENCE


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home and working directory, without options."""
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for variable in ENVIRONMENT_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(work)
    Options.reset()
    yield home
    Options.reset()


def _write(path: Path, **values: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values))
    return path


def test_defaults_are_those_of_the_original(home: Path) -> None:
    settings = Options.instance()
    for name, value in items("config_store")["options"]["defaults"].items():
        assert getattr(settings, name) == value
    assert settings.runs_base_dir == home / "dacapo"
    assert Options.config_file() is None


def test_options_cannot_be_built_directly() -> None:
    with pytest.raises(RuntimeError, match="instance"):
        Options()


def test_the_first_file_of_five_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (home / ".config/dacapo/dacapo.yaml", home / "dacapo.yaml", Path("dacapo.yaml")):
        file = _write(place, runs_base_dir=str(place.parent / "runs"))
        assert Options.config_file() == file
        assert Options.instance().runs_base_dir == place.parent / "runs"
    for variable in reversed(ENVIRONMENT_VARIABLES):
        named = _write(home / f"{variable}.yaml", runs_base_dir=variable)
        monkeypatch.setenv(variable, f"~/{variable}.yaml")
        assert Options.config_file() == named
        assert Options.instance().runs_base_dir == Path(variable)
    # Both are set now, to different files: the name that only this package has goes first.
    assert Options.instance().runs_base_dir == Path(ENVIRONMENT_VARIABLE)


def test_the_original_names_its_file_in_a_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIONS_FILE", str(_write(home / "mine.yaml", runs_base_dir="mine")))
    assert Options.instance().runs_base_dir == Path("mine")
    assert create_weights_store().basedir == Path("mine")  # type: ignore[attr-defined]


def test_the_instance_is_the_same_until_something_changes(home: Path) -> None:
    first = Options.instance(runs_base_dir="here")
    assert Options.instance() is first
    assert Options.instance(runs_base_dir="there").runs_base_dir == Path("there")
    assert Options.instance().runs_base_dir == Path("there")


def test_another_file_content_or_folder_takes_effect(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _write(Path("dacapo.yaml"), runs_base_dir="one", chunk_cache_bytes=1)
    assert Options.instance().runs_base_dir == Path("one")
    _write(file, runs_base_dir="two", chunk_cache_bytes=1)  # as long as before, and right after it
    assert create_config_store().path == Path("two/configs")  # type: ignore[attr-defined]
    _write(home / "elsewhere/dacapo.yaml", runs_base_dir="three")
    monkeypatch.chdir(home / "elsewhere")
    assert Options.instance().runs_base_dir == Path("three")
    Path("dacapo.yaml").unlink()
    assert Options.instance().runs_base_dir == home / "dacapo"
    monkeypatch.setenv("HOME", str(home / "elsewhere"))
    assert Options.instance().runs_base_dir == home / "elsewhere/dacapo"


def test_what_was_given_stays_when_the_file_changes(home: Path) -> None:
    file = _write(Path("dacapo.yaml"), runs_base_dir="file", chunk_cache_bytes=1)
    Options.instance(runs_base_dir="given")
    _write(file, runs_base_dir="file", chunk_cache_bytes=2)
    assert (Options.instance().runs_base_dir, Options.instance().chunk_cache_bytes) == (Path("given"), 2)
    with Options.override(chunk_cache_bytes=3):
        assert (Options.instance().runs_base_dir, Options.instance().chunk_cache_bytes) == (Path("given"), 3)
    assert (Options.instance().runs_base_dir, Options.instance().chunk_cache_bytes) == (Path("given"), 2)
    Options.reset()
    assert Options.instance().runs_base_dir == Path("file")


def test_options_are_kept_while_an_operation_lasts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _write(Path("dacapo.yaml"), runs_base_dir="before")
    with Options.kept():
        _write(file, runs_base_dir="after")
        with Options.kept():
            monkeypatch.chdir(home)
            assert Options.instance().runs_base_dir == Path("before")
        assert Options.instance().runs_base_dir == Path("before")
        with Options.override(runs_base_dir="for now"):
            assert Options.instance().runs_base_dir == Path("for now")
        assert Options.instance().runs_base_dir == Path("before")
        given = Options.instance(runs_base_dir="given")
        assert Options.instance() is given
    Options.reset()
    assert Options.instance().runs_base_dir == home / "dacapo"


def test_overridden_options_hold_inside_the_block_and_end_with_it(home: Path) -> None:
    before = Options.instance()
    with Options.override(runs_base_dir="outer", chunk_cache_bytes=1) as outer:
        assert (outer.runs_base_dir, outer.chunk_cache_bytes) == (Path("outer"), 1)
        with Options.override(runs_base_dir="inner"):
            assert (Options.instance().runs_base_dir, Options.instance().chunk_cache_bytes) == (Path("inner"), 1)
            Options.instance(chunk_cache_bytes=7, mongo_db_name="for the process")
            assert (Options.instance().chunk_cache_bytes, Options.instance().mongo_db_name) == (1, "for the process")
        with pytest.raises(ZeroDivisionError), Options.override(runs_base_dir="inner"):
            raise ZeroDivisionError
        assert Options.instance().runs_base_dir == Path("outer")
    assert (Options.instance().runs_base_dir, Options.instance().chunk_cache_bytes) == (before.runs_base_dir, 7)
    with pytest.raises(ConfigError, match="override: unknown option nonsense"), Options.override(nonsense=1):
        pass
    with pytest.raises(ConfigError, match="number of bytes"), Options.override(chunk_cache_bytes=-1):
        pass
    assert Options.instance().chunk_cache_bytes == 7


def test_overridden_options_stay_in_their_thread(home: Path) -> None:
    both_inside = threading.Barrier(2)
    found = {}

    def work(name: str) -> None:
        with Options.override(runs_base_dir=name), Options.kept():
            both_inside.wait(PATIENCE)
            found[name] = create_weights_store().basedir  # type: ignore[attr-defined]
            both_inside.wait(PATIENCE)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "other")]
    for thread in threads:
        thread.start()
    assert Options.instance().runs_base_dir == home / "dacapo"
    for thread in threads:
        thread.join()
    assert found == {name: Path(name) for name in ("one", "other")}


def test_a_prefetched_item_is_made_with_the_overridden_options(home: Path) -> None:
    with Options.override(chunk_cache_bytes=5):
        fetcher = Prefetcher(
            iter([0]), lambda _: Options.instance().chunk_cache_bytes, torch.device("cpu"), lambda _: iter(())
        )
        assert list(fetcher) == [5]


def test_the_version_is_that_of_the_project(home: Path) -> None:
    project = tomllib.loads((Path(dacapo.__file__).parents[1] / "pyproject.toml").read_text())
    assert dacapo.__version__ == project["project"]["version"] == importlib.metadata.version("dacapo")


def test_arguments_go_before_the_file(home: Path) -> None:
    _write(Path("dacapo.yaml"), runs_base_dir="file", mongo_db_name="name")
    settings = Options.instance(runs_base_dir="~/argument")
    assert settings.runs_base_dir == home / "argument"
    assert settings.mongo_db_name == "name"


def test_an_empty_file_means_defaults(home: Path) -> None:
    Path("dacapo.yaml").write_text("# nothing\n")
    assert Options.instance().type == "files"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("run_base_dir: here", "dacapo.yaml: unknown option run_base_dir; known are .*runs_base_dir"),
        ("- a list", "must hold settings"),
        ("a: [", "dacapo.yaml cannot be read"),
        ("runs_base_dir: 5", "dacapo.yaml: option runs_base_dir must be a path, got 5"),
        ("runs_base_dir: ''", "runs_base_dir must be a path"),
        ("compute_context: LocalTorch", "compute_context must be a mapping"),
        ("type: 3", "option type must be a string"),
        ("type: !!python/object/apply:os.getcwd []", "dacapo.yaml cannot be read"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_it(home: Path, content: str, message: str) -> None:
    Path("dacapo.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        Options.instance()


def test_a_wrong_argument_is_an_error(home: Path) -> None:
    with pytest.raises(ConfigError, match="unknown option base; known are"):
        Options.instance(base="here")


def test_a_named_file_must_exist(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in reversed(ENVIRONMENT_VARIABLES):
        monkeypatch.setenv(variable, "missing.yaml")
        with pytest.raises(ConfigError, match=rf"\${variable} names missing\.yaml"):
            Options.instance()


def test_import_reads_nothing_and_prints_nothing(home: Path) -> None:
    # The original read the file of the working directory on import, and printed it.
    Path("dacapo.yaml").write_text("no: [yaml")
    got = subprocess.run(
        [sys.executable, "-c", "import dacapo, dacapo.options, dacapo.store.local_array_store"],
        capture_output=True,
        check=True,
    )
    assert (got.stdout, got.stderr) == (b"", b"")


def test_serialized_settings_build_the_same(home: Path) -> None:
    settings = DaCapoConfig(runs_base_dir="~/x", compute_context={"type": "LocalTorch", "config": {"device": "cpu"}})  # type: ignore[arg-type]
    plain = yaml.safe_load(yaml.safe_dump(settings.serialize()))
    assert DaCapoConfig(**plain) == settings


def test_every_setting_has_a_help_text() -> None:
    assert all(field.metadata["help_text"] for field in attrs.fields(DaCapoConfig))


class TestStores:
    def test_places(self, options: DaCapoConfig) -> None:
        base = options.runs_base_dir
        configs, stats = create_config_store(), create_stats_store()
        assert isinstance(configs, FileConfigStore)
        assert configs.path == base / "configs"
        assert isinstance(stats, FileStatsStore)
        assert stats.path == base / "stats"
        assert create_array_store().snapshot_container("run") == LocalContainerIdentifier(base / "run/snapshot.zarr")
        assert create_weights_store().basedir == base  # type: ignore[attr-defined]

    def test_settings_can_be_passed(self, options: DaCapoConfig, tmp_path: Path) -> None:
        other = DaCapoConfig(runs_base_dir=tmp_path / "other")
        assert create_config_store(other).runs == tmp_path / "other/configs/runs"
        assert create_array_store(other).validation_container("run").container.is_relative_to(tmp_path / "other")

    @pytest.mark.parametrize("create", [create_config_store, create_stats_store])
    def test_other_kinds(self, create: object) -> None:
        assert callable(create)
        with pytest.raises(ConfigError, match="mongo_db_host and mongo_db_name, got None and 'name'"):
            create(DaCapoConfig(type="mongo", mongo_db_name="name"))
        with pytest.raises(ConfigError, match="'cloud'"):
            create(DaCapoConfig(type="cloud"))


def _context(**settings: object) -> ComputeContext:
    return create_compute_context(DaCapoConfig(compute_context=settings))


class TestComputeContext:
    def test_the_default(self, options: DaCapoConfig) -> None:
        context = create_compute_context()
        assert context == LocalTorch(distribute_workers=False, device=None, oom_limit=4.2)

    @pytest.mark.parametrize("key", ["device", "_device"])
    def test_fields_come_from_the_options(self, key: str) -> None:
        context = _context(type="LocalTorch", config={key: "meta", "distribute_workers": True})
        assert context.device.type == "meta"
        assert context.distribute_workers is True

    def test_the_config_can_be_left_out(self) -> None:
        assert _context(type="LocalTorch") == LocalTorch()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"type": "Cloud"}, "unknown compute_context type 'Cloud' .*LocalTorch"),
            ({"type": "LocalTorch", "config": {"gpus": 1}}, "no field gpus; it has .*device"),
            ({"type": "LocalTorch", "device": "cpu"}, "keys type and config"),
            ({"type": "LocalTorch", "config": "cpu"}, "keys type and config"),
        ],
    )
    def test_wrong_options_are_errors(self, settings: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            _context(**settings)

    def test_a_class_is_known_from_its_definition_on(self) -> None:
        @attrs.define
        class MyContext(LocalTorch):
            queue: str = "short"

            def wrap_command(self, command: object) -> list[str]:
                return ["echo", self.queue, *command]  # type: ignore[misc]

        context = _context(type="MyContext", config={"queue": "long"})
        assert isinstance(context, MyContext)
        assert context.wrap_command(["work"]) == ["echo", "long", "work"]
        context.execute(["work"])

    def test_without_a_gpu_the_device_is_the_cpu(self) -> None:
        import torch

        expected = "cuda" if torch.cuda.is_available() else "cpu"
        assert LocalTorch(oom_limit=None).device.type == expected
        assert LocalTorch(oom_limit=1e9).device.type == "cpu"

    def test_a_command_runs_to_its_end(self, tmp_path: Path) -> None:
        LocalTorch().execute([sys.executable, "-c", f"open({str(tmp_path / 'done')!r}, 'w')"])
        assert (tmp_path / "done").exists()

    def test_a_failing_command_is_an_error_with_its_last_output(self) -> None:
        script = "import sys\nfor i in range(99): print('line', i)\nsys.exit('it broke')"
        with pytest.raises(BlockwiseError, match=r"exit code 1(?s:.*)line 98\n(?s:.*)it broke") as caught:
            LocalTorch().execute([sys.executable, "-u", "-c", script])
        assert "line 10\n" not in str(caught.value)

    def test_a_missing_command_is_an_error(self) -> None:
        with pytest.raises(BlockwiseError, match="cannot start 'no_such_command"):
            LocalTorch().execute(["no_such_command", "x"])
