"""Runs move between machines and stores as archives, bit for bit; archives from strangers do no harm."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from dacapo.cli import cli
from dacapo.errors import (
    ConfigError,
    ConfigNotFoundError,
    DacapoError,
    DamagedFileError,
    DuplicateNameError,
    OutputExistsError,
    RunInUseError,
    StorageError,
    UnsafeFileError,
)
from dacapo.experiments.run import Run
from dacapo.options import Options
from dacapo.runs import delete_run, export_run, import_run, list_runs, show_run
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.store.files import link_or_copy
from dacapo.store.local_weights_store import LocalWeightsStore
from dacapo.store.run_folder import INCOMING
from dacapo.store.training_lock import training_lock
from dacapo.train import train
from tests.helpers.processes import killed
from tests.helpers.stores import KINDS, move_to, settings_of, train_three

ENDINGS = ("tar.gz", "zip")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("trained")
    train_three(base)
    with Options.override(runs_base_dir=base / "runs"):
        for ending in ENDINGS:
            export_run("cells_a", base / f"cells.{ending}")
    return base


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """An empty folder of runs, that of the options in use."""
    with Options.override(runs_base_dir=tmp_path / "here"):
        yield tmp_path / "here"


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a run by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def nothing_is_left(base: Path, name: str = "cells_a") -> bool:
    stats = create_stats_store()
    return (
        name not in create_config_store().retrieve_run_config_names()
        and not (base / name).exists()
        and stats.retrieve_training_stats(name).trained_until() == 0
        and not stats.retrieve_validation_iteration_scores(name)
    )


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_arrives_bit_for_bit_in_stores_of_any_kind(
    trained: Path, here: Path, tmp_path: Path, kind: str, ending: str
) -> None:
    with settings_of(kind, tmp_path) as settings, Options.override(**settings):
        done = import_run(trained / f"cells.{ending}")
        assert (done.name, done.iterations, done.validations, done.checkpoints) == ("cells_a", 4, 2, [2, 4])
        assert contents(here / "cells_a") == contents(trained / "runs" / "cells_a")
        best = [here / "cells_a" / "checkpoints" / path for path in ("iterations/2", "validate/voi")]
        kept = [path for path in best if path.exists()]
        assert len({path.stat().st_ino for path in kept}) <= len(kept)
        stats, config = create_stats_store(), create_config_store().retrieve_run_config("cells_a")
        losses = stats.retrieve_training_stats("cells_a")
        scores = repr(stats.retrieve_validation_iteration_scores("cells_a"))
        again = tmp_path / f"again.{ending}"  # from this kind of store
        export_run("cells_a", again)
        assert (here / "stats").exists() == (kind == "files")
    with Options.override(runs_base_dir=trained / "runs"):
        assert create_config_store().retrieve_run_config("cells_a") == config
        assert create_stats_store().retrieve_training_stats("cells_a") == losses
        assert repr(create_stats_store().retrieve_validation_iteration_scores("cells_a")) == scores
    with Options.override(runs_base_dir=tmp_path / "third"):
        assert import_run(again).iterations == 4
        assert contents(tmp_path / "third" / "cells_a") == contents(trained / "runs" / "cells_a")


def test_training_goes_on_as_it_would_have(trained: Path, tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    shutil.copytree(trained / "runs", tmp_path / "there")
    for place, name in (("there", None), ("here", None), ("here", "renamed")):
        with Options.override(runs_base_dir=tmp_path / place):
            if place == "here":
                import_run(trained / "cells.zip", name)
            run = train(name or "cells_a", num_iterations=6)
            model = create_weights_store().retrieve_weights(run.name, 6)
            losses = [one.loss for one in create_stats_store().retrieve_training_stats(run.name).iteration_stats]
            found[f"{place} {name}"] = losses, model
    (losses, weights), *others = found.values()
    assert len(losses) == 6
    for other_losses, other in others:
        assert other_losses == losses
        assert all(torch.equal(value, other.model[key]) for key, value in weights.model.items())
        torch.testing.assert_close(other.optimizer, weights.optimizer, rtol=0, atol=0)


def test_a_run_under_another_name_can_be_opened_and_keeps_its_seed(trained: Path, here: Path) -> None:
    done = import_run(trained / "cells.tar.gz", name="other")
    assert (done.name, done.original_name) == ("other", "cells_a")
    assert Run.open("other").trainer.seed == show_run("other").sessions[0]["seeds"]["run"]
    assert [one.name for one in list_runs()] == ["other"]
    assert LocalWeightsStore(here).recorded_config("other")["name"] == "other"  # type: ignore[index]
    for name in ("..", "a/b", "", "configs"):
        with pytest.raises(ConfigError):
            import_run(trained / "cells.zip", name=name)


def test_the_best_checkpoint_and_its_original_are_one_file(trained: Path, here: Path) -> None:
    checkpoints = trained / "runs" / "cells_a" / "checkpoints"
    shared = [path for path in checkpoints.rglob("*") if path.is_file() and path.stat().st_nlink > 1]
    assert len(shared) > 1
    import_run(trained / "cells.zip")
    for path in shared:
        copy = here / "cells_a" / path.relative_to(trained / "runs" / "cells_a")
        assert copy.stat().st_nlink == path.stat().st_nlink
    with zipfile.ZipFile(trained / "cells.zip") as archive:
        assert len({path.stat().st_ino for path in shared}) == sum(
            f"run/{path.relative_to(checkpoints.parent)}" in archive.namelist() for path in shared
        )


def test_what_is_stored_already_stays(trained: Path, here: Path, tmp_path: Path) -> None:
    import_run(trained / "cells.zip")
    before = contents(here)
    with pytest.raises(DuplicateNameError, match=r"a run 'cells_a' is stored already; import it under another name"):
        import_run(trained / "cells.zip")
    create_config_store().delete_run_config("cells_a")
    with pytest.raises(
        DuplicateNameError, match=r"sessions, validation.zarr, checkpoints, statistics, scores of a run"
    ):
        import_run(trained / "cells.zip")
    before.pop("configs/runs/cells_a.yaml")
    assert contents(here) == before
    with training_lock("new"), pytest.raises(RunInUseError):
        import_run(trained / "cells.zip", name="new")
    with pytest.raises(ConfigError, match=r"end its name in \.tar\.gz"):
        import_run(tmp_path / "cells.rar")
    with pytest.raises(StorageError, match=r"cannot read .*none\.zip"):
        import_run(tmp_path / "none.zip")


def test_an_export_is_complete_or_not_there(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    folder = tmp_path / "runs" / "cells_a"
    with Options.override(runs_base_dir=tmp_path / "runs"):
        with pytest.raises(ConfigNotFoundError):
            export_run("cells", tmp_path / "a.zip")
        with pytest.raises(ConfigError, match="cannot tell the kind of archive"):
            export_run("cells_a", tmp_path / "a.7z")
        with training_lock("cells_a"), pytest.raises(RunInUseError):
            export_run("cells_a", tmp_path / "a.zip")
        small = export_run("cells_a", tmp_path / "a.zip", arrays=False)
        with pytest.raises(OutputExistsError, match=r"a\.zip exists"):
            export_run("cells_a", tmp_path / "a.zip")
        assert export_run("cells_a", tmp_path / "a.zip", overwrite=True).files > small.files
        (folder / "checkpoints" / "iterations" / ".4.aa.partial").write_text("rest")
        (folder / "notes.txt").write_text("mine")
        export_run("cells_a", tmp_path / "b.tgz")
        names = [info.name for info, _ in members(tmp_path / "b.tgz")]
        assert names[0] == "manifest.json"
        assert not any("partial" in name or "notes" in name for name in names)
        (folder / "checkpoints" / "passwords").symlink_to("/etc/passwd")
        with pytest.raises(
            UnsafeFileError, match=r"passwords is a link to /etc/passwd, which is no file in the folder"
        ):
            export_run("cells_a", tmp_path / "c.zip")
        (folder / "checkpoints" / "passwords").unlink()
        os.mkfifo(folder / "checkpoints" / "pipe")
        with pytest.raises(UnsafeFileError, match="is a device or the like"):
            export_run("cells_a", tmp_path / "c.zip")
        (folder / "checkpoints" / "pipe").unlink()
        (folder / "checkpoints" / "linked").symlink_to("iterations/4")  # as the original keeps the best
        export_run("cells_a", tmp_path / "d.zip")
        digest = "dacapo.runs.exporting._digest"
        for ending in ENDINGS:
            with monkeypatch.context() as patched:
                patched.setattr(digest, lambda file: hashlib.sha256(b"earlier").hexdigest())
                with pytest.raises(StorageError, match="changed while it was read"):
                    export_run("cells_a", tmp_path / f"c.{ending}")
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith((".c", "c"))]
    with Options.override(runs_base_dir=tmp_path / "here"):
        import_run(tmp_path / "d.zip")
        linked = tmp_path / "here" / "cells_a" / "checkpoints" / "linked"
        assert linked.is_file()
        assert not linked.is_symlink()
        assert import_run(tmp_path / "a.zip", name="small").checkpoints == [2, 4]


# Hostile archives: each is the good one with a change.

Member = tuple[tarfile.TarInfo, bytes]


def members(path: Path) -> list[Member]:
    with tarfile.open(path) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def packed(path: Path, files: list[Member], **kwargs: Any) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1, **kwargs) as tar:
        for info, content in files:
            tar.addfile(info, io.BytesIO(content))
    return path


def member(name: str, content: bytes = b"", **fields: Any) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def with_manifest(files: list[Member], change: Callable[[dict[str, Any]], None]) -> list[Member]:
    plain = json.loads(files[0][1])
    change(plain)
    return [member("manifest.json", json.dumps(plain).encode()), *files[1:]]


def entry_of(plain: dict[str, Any], path: str) -> dict[str, Any]:
    return next(one for one in plain["entries"] if one["path"] == path)


LINKS = {
    "symlink": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hard link": {"type": tarfile.LNKTYPE, "linkname": "../../secret"},
    "device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
    "pipe": {"type": tarfile.FIFOTYPE},
    "folder": {"type": tarfile.DIRTYPE},
}
PATHS = [
    "../evil", "/tmp/evil", "run/../../evil", "run/checkpoints/../../../evil", "run/checkpoints/a\\..\\b",
    "run/checkpoints/a\nb", "run/checkpoints//a", "run/checkpoints/./a", "run/checkpoints", "run/training.lock",
    "run/.import.partial/a", "configs/runs/a.yaml", "stats/a", "", ".", "C:/evil", "run/checkpoints/" + "a" * 300,
    "run/checkpoints/" + "a/" * 3000 + "b", "run/wandb/a", "run/checkpoints/a\x00b",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_a_path_that_leads_out_of_the_run_is_refused(trained: Path, here: Path, tmp_path: Path, path: str) -> None:
    content = b"evil"
    listed = {"path": path, "size": 4, "sha256": hashlib.sha256(content).hexdigest()}
    good = members(trained / "cells.tar.gz")
    named = with_manifest(good, lambda plain: plain["entries"].append(listed))
    with pytest.raises(UnsafeFileError, match="names the file"):
        import_run(packed(tmp_path / "named.tar.gz", named))
    with pytest.raises(DacapoError):
        import_run(packed(tmp_path / "planted.tar.gz", [*good, member(path, content)]))
    with zipfile.ZipFile(tmp_path / "planted.zip", "w") as archive:
        for info, data in [*good, member(path, content)]:
            archive.writestr(zipfile.ZipInfo(info.name), data)
    with pytest.raises(DacapoError):
        import_run(tmp_path / "planted.zip")
    assert nothing_is_left(here)
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize("what", LINKS)
def test_links_devices_and_folders_are_refused(trained: Path, here: Path, tmp_path: Path, what: str) -> None:
    good = members(trained / "cells.tar.gz")
    for place in ("run/checkpoints/iterations/2", "run/checkpoints/more"):
        kept = [one for one in good if one[0].name != place]
        with pytest.raises(UnsafeFileError, match="holds a link, device or folder"):
            import_run(packed(tmp_path / "bad.tar.gz", [*kept[:2], member(place, **LINKS[what]), *kept[2:]]))
        assert nothing_is_left(here)
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for info, data in good:
            entry = zipfile.ZipInfo(info.name)
            entry.external_attr = (0o120777 if info.name == "run/checkpoints/iterations/2" else 0o100644) << 16
            archive.writestr(entry, data)
    with pytest.raises(UnsafeFileError, match="holds a link, device or folder"):
        import_run(tmp_path / "bad.zip")
    assert nothing_is_left(here)


MANIFESTS: list[tuple[Callable[[dict[str, Any]], Any], type[DacapoError], str]] = [
    (lambda plain: entry_of(plain, "config.json").update(size=10**15), UnsafeFileError, "more than it can hold"),
    (lambda plain: entry_of(plain, "config.json").update(size=10**400), DamagedFileError, "not the size of a file"),
    (lambda plain: entry_of(plain, "config.json").update(size=5), UnsafeFileError, "which its manifest.json does not"),
    (lambda plain: entry_of(plain, "config.json").update(size=-1), DamagedFileError, "not the size of a file"),
    (lambda plain: entry_of(plain, "config.json").update(size=True), DamagedFileError, "not the size of a file"),
    (
        lambda plain: entry_of(plain, "config.json").update(sha256="0" * 64),
        DamagedFileError,
        "does not fit its checksum",
    ),
    (lambda plain: entry_of(plain, "config.json").update(sha256="x"), DamagedFileError, "not a SHA-256 checksum"),
    (lambda plain: entry_of(plain, "config.json").update(path=3), DamagedFileError, "is not one of a run"),
    (lambda plain: plain["entries"].append(plain["entries"][0]), DamagedFileError, "names a file twice"),
    (lambda plain: plain["entries"].pop(0), DamagedFileError, "lacks config.json"),
    (lambda plain: plain.update(entries=None), DamagedFileError, "is not one of a run"),
    (lambda plain: plain.update(format=2), StorageError, "update dacapo"),
    (lambda plain: plain.update(name="../evil"), ConfigError, "cannot be a file name"),
    (lambda plain: plain.update(name="stats"), ConfigError, "folder of dacapo"),
    (lambda plain: plain.update(name="a\ud800"), DamagedFileError, "is not one of a run"),
    (lambda plain: plain["entries"][-1].update(same_as="config.json"), DamagedFileError, "which it is not"),
    (lambda plain: plain["entries"][-1].update(same_as="/etc/passwd"), DamagedFileError, "which it is not"),
]


@pytest.mark.parametrize("number", range(len(MANIFESTS)))
def test_a_false_manifest_is_refused(trained: Path, here: Path, tmp_path: Path, number: int) -> None:
    change, error, message = MANIFESTS[number]
    files = with_manifest(members(trained / "cells.tar.gz"), change)
    with pytest.raises(error, match=message):
        import_run(packed(tmp_path / "bad.tar.gz", files))
    assert nothing_is_left(here)
    assert not list(here.glob("*/.import*"))


def test_doubled_missing_and_additional_files_are_refused(trained: Path, here: Path, tmp_path: Path) -> None:
    good = members(trained / "cells.tar.gz")
    for files, error in (
        ([*good, good[3]], UnsafeFileError),
        ([*good, member("run/checkpoints/more", b"x")], UnsafeFileError),
        (good[:-1], DamagedFileError),
        (good[1:], DamagedFileError),
        ([], DamagedFileError),
        ([member("manifest.json", b"[" * 10**5)], DamagedFileError),
        ([member("manifest.json", b"\xff\xfe")], DamagedFileError),
    ):
        with pytest.raises(error):
            import_run(packed(tmp_path / "bad.tar.gz", files))
        assert nothing_is_left(here)


def test_headers_take_no_memory(trained: Path, here: Path, tmp_path: Path) -> None:
    """A megabyte of archive can hold a name of a gigabyte."""
    good = members(trained / "cells.tar.gz")
    good[2][0].pax_headers = {"comment": "x" * 100_000_000}
    packed(tmp_path / "bad.tar.gz", good, format=tarfile.PAX_FORMAT)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedFileError, match="headers are too long"):
            import_run(tmp_path / "bad.tar.gz")
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
    chain = b"".join(tarfile.TarInfo("g").create_pax_global_header({"comment": str(i)}) for i in range(3000))
    with gzip.open(tmp_path / "bad.tar.gz", "wb", compresslevel=1) as file:
        file.write(chain)
    with pytest.raises(DamagedFileError):
        import_run(tmp_path / "bad.tar.gz")
    huge = tarfile.TarInfo("run/checkpoints/iterations/2")
    huge.size = 10**12
    with gzip.open(tmp_path / "bad.tar.gz", "wb", compresslevel=1) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for info, content in good[:2]:
                tar.addfile(info, io.BytesIO(content))
        file.write(huge.tobuf())
    with pytest.raises(DacapoError):
        import_run(tmp_path / "bad.tar.gz")
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(tmp_path / "bad.zip", "w", compression=method) as archive:
            for info, content in members(trained / "cells.tar.gz"):
                archive.writestr(info.name, content)
        with pytest.raises(UnsafeFileError, match="unusually compressed"):
            import_run(tmp_path / "bad.zip")
    assert nothing_is_left(here)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_that_is_cut_off_or_damaged_leaves_nothing(
    trained: Path, here: Path, tmp_path: Path, ending: str
) -> None:
    content, path = (trained / f"cells.{ending}").read_bytes(), tmp_path / f"bad.{ending}"
    choose = random.Random(1)
    for end in [0, 1, 20, len(content) - 1, len(content) - 30, *(choose.randrange(len(content)) for _ in range(12))]:
        path.write_bytes(content[:end])
        with pytest.raises(DacapoError):
            import_run(path)
        assert nothing_is_left(here)
    whole = contents(trained / "runs" / "cells_a")
    for _ in range(30):
        damaged = bytearray(content)
        damaged[choose.randrange(len(content))] ^= 1 << choose.randrange(8)
        path.write_bytes(damaged)
        try:
            import_run(path)
        except DacapoError:
            assert nothing_is_left(here)
        else:  # a time, or other things that do not count
            assert contents(here / "cells_a") == whole
            delete_run("cells_a")


def test_a_disk_that_is_too_small_is_noticed_first(trained: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(trained)._replace(free=1000)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(StorageError, match="free some space, or use another disk"):
            import_run(trained / "cells.zip")
    assert nothing_is_left(here)


def test_a_config_that_cannot_be_read_leaves_nothing(trained: Path, here: Path, tmp_path: Path) -> None:
    good = members(trained / "cells.tar.gz")
    config = good[1][1].replace(b"AffinitiesTaskConfig", b"AffinitiesTaskConfix")
    assert len(config) == len(good[1][1])
    listed = {"sha256": hashlib.sha256(config).hexdigest()}
    files = with_manifest(good, lambda plain: entry_of(plain, "config.json").update(listed))
    files[1] = member("config.json", config)
    with pytest.raises(ConfigError, match="AffinitiesTaskConfix"):
        import_run(packed(tmp_path / "bad.tar.gz", files))
    assert nothing_is_left(here)


@pytest.mark.destructive
@pytest.mark.parametrize("step", [(os, "fsync"), (Path, "rename"), (os, "replace"), (shutil, "rmtree")], ids=str)
def test_a_killed_import_can_be_repeated(trained: Path, here: Path, step: tuple[Any, str]) -> None:
    owner, name = step
    real, whole = getattr(owner, name), contents(trained / "runs" / "cells_a")
    for moment in (*range(1, 7), 9, 12, 15, 100):
        count = 0

        def counted(*args: Any, moment: int = moment, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            return os._exit(9) if count == moment else real(*args, **kwargs)

        def work(counted: Any = counted) -> None:
            setattr(owner, name, counted)
            import_run(trained / "cells.zip")

        was_killed = killed(work)
        stored = create_config_store().retrieve_run_config_names()
        if "cells_a" not in stored:
            assert was_killed
            assert list_runs() == []
            import_run(trained / "cells.zip")
        imported = {path: data for path, data in contents(here / "cells_a").items() if not path.startswith(INCOMING)}
        imported.pop("training.lock", None)
        assert imported == whole
        assert Run.open("cells_a").training_stats.trained_until() == 4
        delete_run("cells_a")
        assert nothing_is_left(here)
        if not was_killed:
            break
    assert moment > 1
    assert not was_killed


def run_cli(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--runs-dir", str(folder), "run", *arguments])


def test_the_commands(trained: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    done = run_cli(trained / "runs", "export", "cells_a", str(archive))
    assert done.output.startswith(f"exported run cells_a to {archive} (")
    assert run_cli(trained / "runs", "export", "-r", "cells_a", "-o", str(archive)).exit_code == 1
    again = run_cli(trained / "runs", "export", "cells_a", str(archive), "--overwrite", "--no-arrays", "--json")
    assert json.loads(again.stdout)["archive"] == str(archive)
    done = run_cli(tmp_path / "here", "import", str(archive), "--name", "b")
    assert done.output == "imported run cells_a as b: 4 iterations, the latest checkpoint is 4\n"
    assert json.loads(run_cli(tmp_path / "here", "import", str(archive), "--json").stdout)["checkpoints"] == [2, 4]
    assert run_cli(tmp_path / "here", "import", str(archive)).exit_code == 1
    with settings_of("sql", tmp_path) as settings, Options.override(runs_base_dir=tmp_path / "here"):
        move_to(settings)
        with Options.override(**settings):
            assert [one.name for one in list_runs()] == ["b", "cells_a"]


def test_links_are_made_where_they_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("a")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").stat().st_nlink == 2
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
        link_or_copy(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "a"
    assert (tmp_path / "c").stat().st_nlink == 1
