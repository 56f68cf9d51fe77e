"""Runs are listed, shown, compared and deleted in stores of every kind; each training session is on record."""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
import zarr
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete
from click.testing import CliRunner, Result

from dacapo.cli import cli
from dacapo.errors import ConfigError, ConfigNotFoundError, DamagedFileError, RunInUseError, StorageError
from dacapo.experiments.build import run_seed
from dacapo.experiments.run import Run
from dacapo.experiments.training_session import sessions_of
from dacapo.options import DaCapoConfig, Options
from dacapo.report import report
from dacapo.runs import compare_runs, delete_run, list_runs, removal_of, show_run
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.store.run_folder import run_folder
from dacapo.store.session_records import new_record, write_record
from dacapo.store.training_lock import holder_of, training_lock
from dacapo.train import train
from tests.helpers.runs import dummy_run_config
from tests.helpers.stores import KINDS, move_to, settings_of, train_three


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("trained")
    train_three(base)
    return base


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the runs, as the folder of runs of the options in use."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    with Options.override(runs_base_dir=tmp_path / "runs"):
        yield tmp_path / "runs"


@pytest.fixture(params=KINDS)
def any_store(request: pytest.FixtureRequest, runs: Path, tmp_path: Path) -> Iterator[str]:
    """The runs in stores of each kind; files of configs and records are gone with the others."""
    with settings_of(request.param, tmp_path) as settings:
        move_to(settings)
        if settings:
            shutil.rmtree(runs / "configs")
            shutil.rmtree(runs / "stats")
        with Options.override(**settings):
            yield request.param


def run_cli(folder: Path, *arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["--runs-dir", str(folder), "run", *arguments], input=answer)


def test_runs_are_listed_with_progress_and_best_scores(any_store: str) -> None:
    first, second, third = list_runs()
    assert [one.name for one in (first, second, third)] == ["cells_a", "cells_b", "dummy"]
    assert (first.trained, first.iterations, first.checkpoint, first.validated) == (4, 4, 4, 4)
    assert first.status == third.status == "finished"
    assert first.criterion == "voi"
    assert first.holder is None
    scores = create_stats_store().retrieve_validation_iteration_scores("cells_a")
    voi = list(Run(create_config_store().retrieve_run_config("cells_a")).task.evaluation_scores.criteria).index("voi")
    best = {s.iteration: min(row[voi] for rows in s.scores for row in rows) for s in scores}
    assert first.score == min(best.values())
    assert best[first.best or 0] == first.score
    assert first.changed == pytest.approx(time.time(), abs=3600)
    assert json.loads(json.dumps(first.as_plain(), allow_nan=False))["score"] == first.score


def test_the_list_can_be_filtered_and_sorted(runs: Path) -> None:
    create_config_store().store_run_config(dummy_run_config("fresh"))
    assert [one.name for one in list_runs("cells_*", "fresh")] == ["cells_a", "cells_b", "fresh"]
    assert [one.name for one in list_runs(task="affinities")] == ["cells_a", "cells_b"]
    assert [one.name for one in list_runs(trainer="dummy_trainer", status="finished")] == ["dummy"]
    assert [one.name for one in list_runs(status="new")] == ["fresh"]
    assert [one.name for one in list_runs(sort="trained")] == ["dummy", "cells_a", "cells_b", "fresh"]
    ranked = list_runs(sort="score")
    assert [one.score for one in ranked[:2]] == sorted(one.score or 0 for one in ranked[:2])
    for bad in ({"status": "done"}, {"sort": "size"}):
        with pytest.raises(ConfigError, match="known are"):
            list_runs(**bad)  # type: ignore[arg-type]


def test_the_list_says_who_works_on_a_run_and_leaves_the_lock_alone(runs: Path) -> None:
    reader, writer = os.pipe()
    release_reader, release_writer = os.pipe()
    child = os.fork()
    if child == 0:
        with training_lock("cells_a"):
            os.write(writer, b"!")
            os.read(release_reader, 1)
        os._exit(0)
    os.read(reader, 1)
    try:
        (one,) = list_runs("cells_a")
        assert one.status == "running"
        assert one.holder is not None
        assert (one.holder.pid, one.holder.host) == (child, platform.node())
        assert f"process {child} of {one.holder.user}" in run_cli(runs, "list").output
        with pytest.raises(RunInUseError), training_lock("cells_a"):
            pass
        with pytest.raises(RunInUseError, match="is being trained by"):
            delete_run("cells_a")
    finally:
        os.write(release_writer, b"!")
        os.waitpid(child, 0)
    assert holder_of("cells_a") is None
    with training_lock("dummy", use="validated"):
        assert list_runs("dummy")[0].status == "finished"
        assert str(os.getpid()) in str(holder_of("dummy"))
        with pytest.raises(RunInUseError), training_lock("dummy"):  # looking has not released it
            pass


def test_a_run_that_cannot_be_read_is_listed_and_can_be_deleted(runs: Path) -> None:
    (runs / "configs" / "runs" / "dummy.yaml").write_text("__type__: RunConfig\nname: [\n")
    (runs / "stats" / "training_stats" / "cells_b").write_text("{}\n" * 3 + '{"iteration":1,"loss":1,"time":1}\n')
    problems = {one.name: one.problem for one in list_runs()}
    assert not problems["cells_a"]
    assert "dummy.yaml" in problems["dummy"]
    assert "problem" in str(show_run("dummy"))
    assert removal_of("cells_b").iterations is None
    delete_run("cells_b")
    delete_run("dummy")
    assert [one.name for one in list_runs()] == ["cells_a"]


def test_show_has_config_best_scores_and_versions(any_store: str) -> None:
    shown = show_run("cells_a")
    assert shown.checkpoints == [2, 4]
    assert {best.criterion for best in shown.best} >= {"voi"}
    assert shown.config is not None
    assert shown.config["num_iterations"] == 4
    assert [one["iterations"] for one in shown.sessions] == [{"from": 0, "to": 2}, {"from": 2, "to": 4}]
    assert shown.sizes["checkpoints"] > 1000
    text = str(shown)
    for part in ("0 to 2", "2 to 4", f"torch {torch.__version__}", "learning_rate: 0.001", "WatershedPostProcessor"):
        assert part in text
    json.dumps(shown.as_plain(), allow_nan=False)
    with pytest.raises(ConfigNotFoundError, match=r"did you mean 'cells_[ab]' or"):
        show_run("cells_c")


def test_a_comparison_puts_scores_and_differing_settings_side_by_side(any_store: str) -> None:
    found = compare_runs("cells_a", "cells_b")
    rows = {one.place: one.values for one in found.differences}
    assert rows == {"num_iterations": ["4", "2"], "trainer_config.learning_rate": ["0.001", "0.01"]}
    voi = next(row for row in found.scores if row.criterion == "voi")
    values = [best.value for best in voi.best if best is not None]
    assert len(values) == 2
    assert voi.leader == found.names[int(np.argmin(values))]
    assert "trainer_config.learning_rate  0.001" in str(found)
    plain = json.loads(json.dumps(found.as_plain(), allow_nan=False))
    assert plain["scores"][0]["best"]["cells_a"]["iteration"] in (2, 4)
    assert plain["differences"][0]["values"].keys() == {"cells_a", "cells_b"}
    with_dummy = compare_runs("cells_a", "dummy")
    assert next(row for row in with_dummy.scores if row.criterion == "voi").leader is None
    for names in (["cells_a"], ["cells_a", "cells_a"], []):
        with pytest.raises(ConfigError, match="at least two runs"):
            compare_runs(*names)


def test_a_deleted_run_leaves_nothing(any_store: str, tmp_path: Path) -> None:
    folder = run_folder("cells_a")
    zarr.open_group(str(folder / "snapshot.zarr"), mode="w")
    (folder / "notes.txt").write_text("mine")
    removal = delete_run("cells_a")
    assert (removal.iterations, removal.validations, removal.has_config) == (4, 2, True)
    assert removal.left == ["notes.txt"]
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    stats = create_stats_store()
    assert stats.retrieve_training_stats("cells_a").trained_until() == 0
    assert stats.retrieve_validation_iteration_scores("cells_a") == []
    assert create_config_store().retrieve_run_config_names() == ["cells_b", "dummy"]
    delete_run("dummy")
    assert not run_folder("dummy").exists()
    assert show_run("cells_b").checkpoints == [2]
    with pytest.raises(ConfigNotFoundError, match="no run 'cells_a'"):
        delete_run("cells_a")


def test_a_name_that_leads_elsewhere_deletes_nothing(runs: Path) -> None:
    for name in ("..", "../runs", "cells_a/checkpoints", ""):
        with pytest.raises(ConfigError):
            delete_run(name)
    with pytest.raises(ConfigNotFoundError):  # the folder of configs is not a run
        delete_run("configs")
    assert len(list_runs()) == 3


def test_links_are_not_followed(runs: Path, tmp_path: Path) -> None:
    elsewhere, disk = tmp_path / "elsewhere", tmp_path / "disk"
    shutil.move(runs / "cells_a" / "validation.zarr", elsewhere)
    (runs / "cells_a" / "validation.zarr").symlink_to(elsewhere)
    delete_run("cells_a")
    assert (elsewhere / ".zgroup").is_file()
    assert not (runs / "cells_a").exists()
    shutil.move(runs / "cells_b", disk)  # a run on another disk
    (runs / "cells_b").symlink_to(disk)
    delete_run("cells_b")
    assert not disk.exists()
    assert not (runs / "cells_b").is_symlink()


def test_what_cannot_be_removed_is_named(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)  # root may remove everything
        with pytest.raises(StorageError, match=r"cannot remove .*dummy.*check the permissions"):
            delete_run("dummy")
    assert "dummy" in [one.name for one in list_runs()]
    delete_run("dummy")


def test_the_command_asks_before_it_deletes(runs: Path) -> None:
    done = run_cli(runs, "delete", "dummy", "cells_b", answer="n\n")
    assert done.exit_code == 1
    assert "to delete: run dummy: checkpoints (" in done.output
    assert "statistics of 20 iterations, its config" in done.output
    assert len(list_runs()) == 3
    assert run_cli(runs, "delete", "dummy", "cell", "--yes").exit_code == 1
    assert len(list_runs()) == 3  # a wrong name deletes nothing
    assert run_cli(runs, "delete", "cells_b", answer="y\n").output.endswith("deleted run cells_b\n")
    done = run_cli(runs, "delete", "dummy", "--yes", "--json")
    assert json.loads(done.stdout)[0]["iterations"] == 20
    assert [one.name for one in list_runs()] == ["cells_a"]


def test_commands_print_json(runs: Path) -> None:
    assert [one["name"] for one in json.loads(run_cli(runs, "list", "--json").stdout)] == [
        "cells_a",
        "cells_b",
        "dummy",
    ]
    shown = json.loads(run_cli(runs, "show", "-r", "cells_a", "--json").stdout)
    assert shown["sessions"][0]["seeds"]["run"] == run_seed(create_config_store().retrieve_run_config("cells_a"))
    assert json.loads(run_cli(runs, "compare", "cells_a", "cells_b", "--json").stdout)["runs"][1]["name"] == "cells_b"
    assert "cells_a  finished  4 of 4" in run_cli(runs, "list", "cells_*").stdout
    assert "cells_b" not in run_cli(runs, "show", "cells_a").stdout


@pytest.mark.parametrize(
    ("words", "typed", "expected"),
    [
        (["run", "show"], "cells", ["cells_a", "cells_b"]),
        (["run", "compare", "cells_a"], "d", ["dummy"]),
        (["run", "delete"], "", ["cells_a", "cells_b", "dummy"]),
        (["train"], "du", ["dummy"]),
        (["train", "-r"], "du", ["dummy"]),
        (["predict", "--run-name"], "cells_b", ["cells_b"]),
        (["run"], "com", ["compare"]),
        (["train"], "--iter", ["--iterations"]),
    ],
)
def test_shells_complete_commands_and_names_of_runs(
    runs: Path, words: list[str], typed: str, expected: list[str]
) -> None:
    complete = BashComplete(cli, {}, "dacapo", "_DACAPO_COMPLETE")
    found = complete.get_completions(["--runs-dir", str(runs), *words], typed)
    assert [item.value for item in found] == expected


def test_completion_in_a_shell(runs: Path) -> None:
    start = [sys.executable, "-c", "import sys; sys.argv = ['dacapo']; from dacapo.cli import main; main()"]
    words = {"COMP_WORDS": f"dacapo --runs-dir {runs} run show cells_", "COMP_CWORD": "5"}
    environment = {**os.environ, **words, "_DACAPO_COMPLETE": "bash_complete"}
    done = subprocess.run(start, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "plain,cells_a\nplain,cells_b\n", done.stderr
    for kind in (BashComplete, ZshComplete, FishComplete):  # the version of bash is asked for elsewhere
        assert "_DACAPO_COMPLETE=" in ShellComplete.source(kind(cli, {}, "dacapo", "_DACAPO_COMPLETE"))


def test_completion_of_runs_that_cannot_be_listed_is_empty(runs: Path) -> None:
    with Options.override(type="nothing"):
        complete = BashComplete(cli, {}, "dacapo", "_DACAPO_COMPLETE")
        assert complete.get_completions(["run", "show"], "c") == []


def test_a_session_records_what_it_depends_on(runs: Path, trained: Path) -> None:
    first, second = sessions_of("cells_a")
    config = create_config_store().retrieve_run_config("cells_a")
    assert (first["outcome"], second["outcome"]) == ("finished", "finished")
    assert (first["config"]["num_iterations"], second["config"]["num_iterations"]) == (2, 4)
    assert second["seeds"] == {"run": run_seed(config), "configured": None}
    assert second["settings"] == {"ranks": 1, "device": "cpu", "max_memory": None}
    assert second["versions"].items() >= {"torch": torch.__version__, "numpy": np.__version__}.items()
    assert {"python", "dacapo", "zarr", "gunpowder", "tensorstore"} <= second["versions"].keys()
    assert second["machine"]["threads"] == torch.get_num_threads()
    assert second["machine"]["cpu"]
    places = {one["place"]: one for one in second["inputs"]}
    assert set(places) == {f"{part}[0]/{part}/{role}" for part in ("train", "validate") for role in ("raw", "gt")}
    raw = places["train[0]/train/raw"]
    assert raw["read_from"] == [f"array 'train_raw_uint8' ({trained}/train.zarr/raw)"]
    assert (raw["shape"], raw["voxel_size"], raw["dtype"]) == ([160, 160], [4, 4], "float32")


def change_metadata(path: Path, **changes: Any) -> None:
    attributes = path / ".zattrs"
    attributes.write_text(json.dumps({**json.loads(attributes.read_text()), **changes}))


def test_changed_metadata_of_an_input_is_noticed(
    runs: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(trained / "train.zarr", tmp_path / "train.zarr")
    config = create_config_store().retrieve_run_config("cells_b")
    dataset = config.datasplit_config.train_configs[0]  # type: ignore[attr-defined]
    source = attrs.evolve(dataset.raw_config.source_array_config, file_name=tmp_path / "train.zarr")
    dataset.raw_config = attrs.evolve(dataset.raw_config, source_array_config=source)
    create_config_store().replace_run_config(config)
    with caplog.at_level(logging.WARNING):
        train("cells_b", num_iterations=3)
    assert "metadata of input data" not in caplog.text  # it only moved
    change_metadata(tmp_path / "train.zarr" / "raw", stain="another")
    with caplog.at_level(logging.WARNING):
        train("cells_b", num_iterations=4)
    told = "run cells_b: the metadata of input data has changed since training session 2: train[0]/train/raw"
    assert told in caplog.text
    assert len(sessions_of("cells_b")) == 3


def test_sessions_that_fail_stop_or_are_killed(options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    create_config_store().store_run_config(dummy_run_config())
    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["dacapo.train"], "save", lambda *_: (_ for _ in ()).throw(OSError("no disk")))
        with pytest.raises(OSError, match="no disk"):
            train("dummy")
    begun = {**sessions_of("dummy")[0], "outcome": None, "ended": None, "iterations": {"from": 0, "to": None}}
    write_record(new_record("dummy"), begun)  # as one that is killed leaves it
    failed, killed = sessions_of("dummy")
    assert (failed["outcome"], failed["error"]) == ("failed", "OSError: no disk")
    assert failed["iterations"] == {"from": 0, "to": 0}
    assert (killed["outcome"], killed["ended"], killed["iterations"]["to"]) == ("killed", None, 0)
    train("dummy")
    assert [one["outcome"] for one in sessions_of("dummy")] == ["failed", "killed", "finished"]
    assert sessions_of("dummy")[1]["iterations"] == {"from": 0, "to": 0}
    train("dummy")  # nothing to do, no session
    assert len(sessions_of("dummy")) == 3
    create_weights_store().remove("dummy", 20)
    with training_lock("dummy"):
        assert sessions_of("dummy")[2]["outcome"] == "finished"
    good = {"iterations": {"from": 0, "to": 20}}
    record = options.runs_base_dir / "dummy" / "sessions" / "2.json"
    for bad in (
        [],
        {},
        {"iterations": {"from": "0"}},
        {**good, "versions": ["torch"]},
        {**good, "inputs": ["raw"]},
        {**good, "inputs": [{"place": 1, "sha256": ""}]},
        {**good, "machine": {"gpus": 3}},
        {**good, "outcome": 5},
    ):
        record.write_text(json.dumps(bad))
        with pytest.raises(DamagedFileError, match=r"2\.json is not the record of a training session"):
            sessions_of("dummy")
    record.write_text(json.dumps(good))
    assert "0 to 20" in str(show_run("dummy"))


def test_a_report_shows_the_sessions(runs: Path, tmp_path: Path) -> None:
    page = report("cells_a", output=tmp_path / "page.html", predict=False).read_text()
    assert "Training sessions" in page
    assert "2 to 4" in page
    assert torch.__version__ in page
