"""Training by several processes together, which are real ones here."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
import zarr

from dacapo.errors import ConfigError, TrainingError
from dacapo.experiments.tasks import OneHotTaskConfig
from dacapo.options import DaCapoConfig, Options
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.train import train
from dacapo.utils import distributed
from tests.helpers import ranks
from tests.helpers.processes import PATIENCE, Started, free_port, wait_for_checkpoint
from tests.helpers.runs import affinities_run_config, dataset_config, dummy_run_config
from tests.helpers.zarr_files import chunk_files

pytestmark = [pytest.mark.slow, pytest.mark.destructive]

NAME = "affinities"


def prepare(
    base: Path, folder: Path, batch_size: int = 1, until: int = 6, interval: int = 3, validate: bool = True
) -> None:
    """Store the run, in place of an earlier one of its name, and make a base folder the one in use.

    Its weights do not depend on what was seen before, so that ranks can be compared with one process.
    """
    Options.reset()
    Options.instance(runs_base_dir=base)
    task = OneHotTaskConfig(name="classes", classes=[str(label) for label in range(12)])
    config = affinities_run_config(folder, NAME, 2, until, interval, task_config=task)
    trainer = attrs.evolve(config.trainer_config, batch_size=batch_size, ema_decay=0.5)
    split = attrs.evolve(
        config.datasplit_config,
        validate_configs=[dataset_config(folder / "validate.zarr", f"validate_{n}") for n in range(2 * validate)],
    )
    store = create_config_store()
    if NAME in store.retrieve_run_config_names():
        store.delete_run_config(NAME)
    store.store_run_config(attrs.evolve(config, trainer_config=trainer, datasplit_config=split))


def start(command: Sequence[str], **environment: object) -> Started:
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in environment.items()}}
    return Started([sys.executable, *command], stdout=subprocess.PIPE, env=variables)


def start_training(base: Path, *options: str, launcher: Sequence[str] = (), **environment: object) -> Started:
    return start([*launcher, "-m", "dacapo", "--runs-dir", str(base), "train", NAME, *options], **environment)


@contextmanager
def two_ranks(bases: Sequence[Path]) -> Iterator[tuple[Started, Started]]:
    """Start ranks without a launcher, each with a base folder of its own."""
    group = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    with (
        start_training(bases[0], RANK=0, LOCAL_RANK=0, **group) as first,
        start_training(bases[1], RANK=1, LOCAL_RANK=1, **group) as second,
    ):
        yield first, second


def finish(process: Started, status: int = 0) -> tuple[str, str]:
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, errors
    return output, errors


def children(process: Started) -> list[int]:
    """Return the processes that a launcher has started, in the order of their ranks."""
    found = {}
    for pid in map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
        variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
        found.update({int(value[5:]): pid for value in variables if value.startswith("RANK=")})
    return [found[rank] for rank in sorted(found)]


def losses(base: Path) -> list[float]:
    Options.reset()
    Options.instance(runs_base_dir=base)
    return [stats.loss for stats in create_stats_store().retrieve_training_stats(NAME).iteration_stats]


def scores(base: Path) -> list[Any]:
    Options.reset()
    Options.instance(runs_base_dir=base)
    return [scores.scores for scores in create_stats_store().retrieve_validation_iteration_scores(NAME)]


def model(base: Path, iteration: int) -> dict[str, torch.Tensor]:
    Options.reset()
    Options.instance(runs_base_dir=base)
    return create_weights_store().retrieve_weights(NAME, iteration).model


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5, msg=name)


def files(folder: Path) -> dict[str, float]:
    return {str(path.relative_to(folder)): path.stat().st_mtime for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of data, and the base folder of a run that one process has trained on it with batches of two."""
    folder, base = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("alone")
    prepare(base, folder, batch_size=2)
    train(NAME)
    Options.reset()
    return folder, base


@pytest.fixture(scope="module")
def together(alone: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base folder of the run trained by two ranks, which torchrun has started, with batches of one."""
    base = tmp_path_factory.mktemp("together")
    prepare(base, alone[0])
    with start_training(base, launcher=["-m", "torch.distributed.run", "--nproc-per-node=2"]) as process:
        output, _ = finish(process)
    assert output == f"{NAME}: trained 6 of 6 iterations\n"
    Options.reset()
    return base


def test_two_ranks_train_like_one_process_with_twice_the_batch(alone: tuple[Path, Path], together: Path) -> None:
    assert losses(together) == pytest.approx(losses(alone[1]), rel=1e-4)
    assert_same_weights(model(together, 6), model(alone[1], 6))
    assert len(set(losses(together))) == 6


def test_validation_is_divided_and_complete(alone: tuple[Path, Path], together: Path) -> None:
    np.testing.assert_allclose(scores(together), scores(alone[1]), rtol=0.02)
    for name in ("validate_0", "validate_1"):
        assert (together / NAME / "checkpoints" / name).is_dir()
    left = {path.relative_to(base) for base in (alone[1], together) for path in base.glob(f"{NAME}/validation.zarr/*")}
    assert not any(path.name in ("3", "6") for path in left)


def test_more_ranks_go_on_where_one_process_stopped_and_only_the_first_writes(
    alone: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, whole = alone
    # With nothing to validate, the ranks share nothing but their connection, and can have folders of their own.
    prepare(tmp_path / "0", folder, batch_size=2, until=3, validate=False)
    train(NAME)
    shutil.copytree(tmp_path / "0", tmp_path / "1")
    for rank in (0, 1):
        prepare(tmp_path / str(rank), folder, validate=False)
    before = files(tmp_path / "1")
    with two_ranks([tmp_path / "0", tmp_path / "1"]) as (first, second):
        assert finish(second) == ("", "")
        assert finish(first)[0] == f"{NAME}: trained 6 of 6 iterations\n"
    assert files(tmp_path / "1") == before
    assert losses(tmp_path / "0") == pytest.approx(losses(whole), rel=1e-4)
    assert_same_weights(model(tmp_path / "0", 6), model(whole, 6))


def test_one_process_goes_on_where_two_ranks_were(alone: tuple[Path, Path], together: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(together, base)
    (base / NAME / "checkpoints" / "iterations" / "6").unlink()
    prepare(base, alone[0], batch_size=2)
    train(NAME)
    assert losses(base)[:3] == losses(together)[:3]
    assert losses(base) == pytest.approx(losses(alone[1]), rel=1e-4)
    assert_same_weights(model(base, 6), model(alone[1], 6))


@pytest.mark.parametrize("whom", ["launcher", "last rank"])
def test_a_request_to_stop_stops_all_ranks_at_the_same_iteration(
    alone: tuple[Path, Path], tmp_path: Path, whom: str
) -> None:
    prepare(tmp_path, alone[0], until=100_000, interval=2)
    with start_training(tmp_path, "--devices", "2") as process:
        wait_for_checkpoint(process, tmp_path, NAME)
        started = children(process)
        assert len(started) == 2
        if whom == "launcher":
            os.kill(process.pid, signal.SIGINT)
        else:
            os.kill(started[1], signal.SIGTERM)
        output, _ = finish(process, 130)
        assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    done = len(losses(tmp_path))
    assert output == f"{NAME}: trained {done} of 100000 iterations\n"
    assert create_weights_store().latest_iteration(NAME) == done


def test_a_rank_that_is_killed_ends_all(alone: tuple[Path, Path], tmp_path: Path) -> None:
    prepare(tmp_path, alone[0], until=100_000, interval=2)
    with start_training(tmp_path, "--devices", "2") as process:
        wait_for_checkpoint(process, tmp_path, NAME)
        started = children(process)
        os.kill(started[1], signal.SIGKILL)
        _, errors = finish(process, 1)
        assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    assert re.search("^Error: rank 1 was killed by SIGKILL", errors, re.MULTILINE), errors


def test_an_error_on_one_rank_is_shown_once_and_ends_all(alone: tuple[Path, Path], tmp_path: Path) -> None:
    for rank in (0, 1):
        shutil.copytree(alone[0], tmp_path / f"data_{rank}")
        prepare(tmp_path / str(rank), tmp_path / f"data_{rank}")
    for chunk in chunk_files(tmp_path / "data_1" / "train.zarr" / "labels"):
        chunk.write_bytes(b"damaged")
    with two_ranks([tmp_path / "0", tmp_path / "1"]) as processes:
        errors = "".join(finish(process, 1)[1] for process in processes)
    found = re.findall("^Error: .*", errors, re.MULTILINE)
    assert len(found) == 1
    assert "the batch of iteration 0 could not be made" in found[0]
    assert "Traceback" not in errors


# --- what ranks do, looked at from inside ---


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("inside")
    launched = f"launch(['-m', 'tests.helpers.ranks', {str(folder)!r}], 2)"
    with start(["-c", f"from dacapo.utils.distributed import launch; raise SystemExit({launched})"]) as process:
        finish(process)
    return folder, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_ranks_agree(inside: tuple[Path, list[dict[str, Any]]]) -> None:
    for rank, result in enumerate(inside[1]):
        assert result["group"] == (rank, 2, rank == 0)
        assert result["agree"] == [True, False, True]
        assert result["mean"] == 0.5
        assert result["gather"] == [{"rank": 0}, {"rank": 1}]
        assert result["share"] == [[0, 2, 4], [1, 3]][rank]
        assert result["buffers"].tolist() == [1, 1]


def test_ranks_divide_the_blocks_of_an_operation(inside: tuple[Path, list[dict[str, Any]]]) -> None:
    for result in inside[1]:
        blocks = result["signed"][::2, ::2].flatten().tolist()
        assert blocks == [1, 2] * 7 + [1]
        assert result["signed"].sum() == 8 * 4 + 7 * 4 * 2 - 2 * (1 + 2 + 1)


def test_ranks_have_the_samples_that_one_process_has(inside: tuple[Path, list[dict[str, Any]]]) -> None:
    trainer, _, _ = ranks.session(ranks.classes(), batch_size=4)
    with trainer:
        for iteration in range(2):
            batch = next(iter(trainer))
            halves = [result["samples"][iteration] for result in inside[1]]
            np.testing.assert_array_equal(torch.cat(halves).numpy(), batch.raw)


@pytest.mark.parametrize("name", ["accumulated", "clipped", "averaged", "half"])
def test_ranks_train_like_one_process(inside: tuple[Path, list[dict[str, Any]]], name: str) -> None:
    changes: dict[str, Any] = {
        "accumulated": {},
        "clipped": {"clip_gradients": 1e-3},
        "averaged": {"ema_decay": 0.5},
        "half": {"precision": "float16"},
    }[name]
    expected, weights, _ = ranks.train(ranks.classes(), batch_size=12, **changes)
    for result in inside[1]:
        got, got_weights, _ = result[name]
        assert got == pytest.approx(expected, rel=1e-2 if name == "half" else 1e-5)
        if name != "half":
            assert_same_weights(got_weights, weights)
    one, other = (result[name][1] for result in inside[1])
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_only_the_first_rank_takes_snapshots(inside: tuple[Path, list[dict[str, Any]]]) -> None:
    assert sorted(zarr.open(str(inside[0] / "0.zarr"), mode="r").group_keys()) == ["0", "2"]
    assert not (inside[0] / "1.zarr").exists()


def test_class_counts_of_all_ranks_are_kept(inside: tuple[Path, list[dict[str, Any]]]) -> None:
    one, other = (result["counted"][2]["moving_class_counts"] for result in inside[1])
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert len(one) == 2
    # Every rank has counted the classes of all of them, as one process does.
    (alone,) = ranks.train(ranks.affinities(), batch_size=2)[2]["moving_class_counts"]
    for counts in one:
        torch.testing.assert_close(counts, alone, rtol=0, atol=0)
    trainer, _, _ = ranks.session(ranks.affinities(), num_data_fetchers=3)
    trainer.load_state_dict({"moving_class_counts": one})
    (kept,) = trainer.state_dict()["moving_class_counts"]
    torch.testing.assert_close(kept, alone, rtol=0, atol=0)


def test_nothing_of_the_connection_is_left(inside: tuple[Path, list[dict[str, Any]]]) -> None:
    # A thread that still exchanged something when Python ends could end the process by SIGABRT.
    for result in inside[1]:
        during, afterwards = (["gloo" in name for name in names] for names in result["threads"])
        assert any(during)
        assert not any(afterwards)


def test_alone_nothing_is_exchanged() -> None:
    with distributed.process_group({"RANK": "0", "WORLD_SIZE": "1"}):
        assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
        assert distributed.agree(True, False) == [True, False]
        assert distributed.mean(0.25) == 0.25
        assert distributed.gather("x") == ["x"]
        assert distributed.share([1, 2]) == [1, 2]


def test_trainers_for_one_process_are_refused(options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    create_config_store().store_run_config(dummy_run_config())
    monkeypatch.setattr(distributed, "_world_size", 2)
    with pytest.raises(ConfigError, match="DummyTrainer trains in a single process"):
        train("dummy")


def test_the_first_status_that_is_not_a_consequence_counts() -> None:
    assert distributed._first_status({}) == 0
    assert distributed._first_status({1: 130, 0: -signal.SIGTERM}) == 130
    assert distributed._first_status({0: -signal.SIGTERM}) == 1
    with pytest.raises(TrainingError, match="rank 1 was killed by SIGKILL"):
        distributed._first_status({0: 1, 1: -signal.SIGKILL})
