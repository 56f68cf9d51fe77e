from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from dacapo.errors import ConfigError
from dacapo.store.array_store import ArrayStore, LocalArrayIdentifier, LocalContainerIdentifier
from dacapo.store.local_array_store import LocalArrayStore
from dacapo.testing.array_store import ArrayStoreContract
from tests.helpers.golden_data import items

PARAMETERS = "ThresholdPostProcessorParameters(id=0, threshold=100)"
NAMES = items("config_store")["local_array_store"]["names"]


class TestLocalArrayStore(ArrayStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ArrayStore:
        return LocalArrayStore(tmp_path)


def _recorded(name: dict[str, Any]) -> LocalArrayIdentifier | LocalContainerIdentifier:
    if "dataset" in name:
        return LocalArrayIdentifier(Path(name["container"]), name["dataset"])
    return LocalContainerIdentifier(Path(name["container"]))


@pytest.mark.parametrize("call", NAMES)
def test_names_are_those_of_the_original(call: str) -> None:
    method, _, arguments = call.replace("str(parameters)", "parameters").removesuffix(")").partition("(")
    values: list[Any] = []
    named: dict[str, Any] = {}
    for argument in arguments.split(", "):
        key, _, value = argument.rpartition("=")
        plain = PARAMETERS if value == "parameters" else int(value) if value.isdigit() else value.strip("'")
        if key:
            named[key] = plain
        else:
            values.append(plain)
    if method == "validation_input_arrays" and len(values) == 2:
        named["index"] = values.pop()
    got = getattr(LocalArrayStore("runs"), method)(*values, **named)
    expected = NAMES[call]
    if isinstance(expected, list):
        assert list(got) == [_recorded(name) for name in expected]
    else:
        assert got == _recorded(expected)
        assert str(got) == expected["str"].replace("PosixUPath", type(got.container).__name__)


def test_a_container_names_its_datasets() -> None:
    container = LocalContainerIdentifier("a.zarr")  # type: ignore[arg-type]
    assert container.array_identifier("volumes/raw") == LocalArrayIdentifier(Path("a.zarr"), "volumes/raw")


def test_identifiers_cannot_change() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        LocalArrayIdentifier(Path("a.zarr"), "raw").dataset = "gt"  # type: ignore[misc]


def test_a_link_to_a_folder_elsewhere_is_not_followed(tmp_path: Path) -> None:
    store = LocalArrayStore(tmp_path / "runs")
    container = store.validation_container("run").container
    container.mkdir(parents=True)
    precious = tmp_path / "precious"
    (precious / "raw").mkdir(parents=True)
    (container / "link").symlink_to(precious)
    with pytest.raises(ConfigError, match="leads out"):
        store.remove(LocalArrayIdentifier(container, "link/raw"))
    store.remove(LocalArrayIdentifier(container, "link"))
    assert (precious / "raw").is_dir()
    assert not (container / "link").is_symlink()


@pytest.mark.parametrize(
    "where", ["../elsewhere/data.zarr", "run/../../elsewhere/data.zarr", "run", "run/../other/data.zarr"]
)
def test_only_containers_of_runs_are_touched(tmp_path: Path, where: str) -> None:
    for folder in ("elsewhere/data.zarr/raw", "runs/run/raw", "runs/other/data.zarr/raw"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(ConfigError, match="nothing is removed"):
        LocalArrayStore(tmp_path / "runs").remove(LocalArrayIdentifier(tmp_path / "runs" / where, "raw"))
    assert len(list(tmp_path.rglob("raw"))) == 3


@pytest.mark.parametrize("target", ["elsewhere", "runs/run/checkpoints", "runs/run"])
def test_a_container_that_is_a_link_is_not_touched(tmp_path: Path, target: str) -> None:
    store = LocalArrayStore(tmp_path / "runs")
    identifier = store.validation_prediction_array("run", 1, "data")
    (tmp_path / target / identifier.dataset).mkdir(parents=True)
    identifier.container.parent.mkdir(parents=True, exist_ok=True)
    identifier.container.symlink_to(tmp_path / target)
    with pytest.raises(ConfigError, match="is a link to"):
        store.remove(identifier)
    assert (tmp_path / target / identifier.dataset).is_dir()


@pytest.mark.parametrize("linked", ["runs", "runs/run"])
def test_folders_of_runs_may_be_links_to_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: str
) -> None:
    disk, link = tmp_path / "disk", tmp_path / linked
    disk.mkdir()
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(disk)
    monkeypatch.chdir(tmp_path)
    for basedir in (tmp_path / "runs", Path("runs"), Path("disk/../runs")):
        store = LocalArrayStore(basedir)
        for container in {store.validation_container("run").container, tmp_path / "runs/run/validation.zarr"}:
            (container / "raw").mkdir(parents=True)
            store.remove(LocalArrayIdentifier(container, "raw"))
            assert not (container / "raw").exists()
