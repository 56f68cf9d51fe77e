"""Checkpoints that a disk or a copy has changed are noticed, named, and passed over; old ones are removed."""

from __future__ import annotations

import logging
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dacapo.apply import apply
from dacapo.errors import CheckpointNotFoundError, ConfigError, DamagedFileError, StorageError
from dacapo.experiments.run import Run
from dacapo.experiments.selection import select
from dacapo.options import DaCapoConfig, Options
from dacapo.predict import predict
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.store.local_weights_store import LocalWeightsStore, read_checkpoint
from dacapo.testing.weights_store import make_run
from dacapo.testing.weights_store import train as train_dummy
from dacapo.train import train
from dacapo.validate import validate
from tests.helpers.runs import affinities_run_config, dummy_run_config


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A checkpoint with the states of an optimizer."""
    run = make_run(channels=40)
    train_dummy(run)
    LocalWeightsStore(tmp_path / "runs").store_weights(run, 1)
    return tmp_path / "runs/run/checkpoints/iterations/1"


@pytest.mark.parametrize("model_only", [False, True])
def test_any_flipped_bit_is_noticed(stored: Path, model_only: bool) -> None:
    whole = stored.read_bytes()
    chance = random.Random(7)
    places = [chance.randrange(8 * len(whole)) for _ in range(200)]
    places += range(8 * (len(whole) - 45), 8 * len(whole))  # the checksum itself, and the end of the archive
    for place in places:
        stored.write_bytes(whole)
        flip(stored, place // 8, place % 8)
        with pytest.raises(StorageError, match=rf"^{stored} (is damaged|was not read)"):
            read_checkpoint(stored, model_only)
    stored.write_bytes(whole)
    read_checkpoint(stored, model_only)


def test_the_checksum_stays_with_a_file_that_is_linked_moved_or_copied(stored: Path, tmp_path: Path) -> None:
    store = LocalWeightsStore(tmp_path / "runs")
    store.store_best("run", 1, "data", "voi")
    store.remove("run", 1)
    shutil.copytree(tmp_path / "runs", tmp_path / "copied")
    shutil.move(tmp_path / "runs", tmp_path / "moved")
    for place in ("copied", "moved"):
        store = LocalWeightsStore(tmp_path / place)
        assert store.retrieve_best_weights("run", "data", "voi").iteration == 1
        best = tmp_path / place / "run/checkpoints/data/voi"
        flip(best, best.stat().st_size // 2)
        with pytest.raises(DamagedFileError, match=rf"{best} is damaged"):
            store.retrieve_best_weights("run", "data", "voi")


def test_checkpoints_without_a_checksum_are_read_and_compared_with_those_of_their_entries(stored: Path) -> None:
    whole = stored.read_bytes()
    end = whole.rindex(b"dacapo:crc32:")
    stored.write_bytes(whole[:end])
    weights = read_checkpoint(stored)
    values = weights.model["architecture.conv.weight"].numpy().tobytes()
    flip(stored, stored.read_bytes().index(values) + 5)
    with pytest.raises(DamagedFileError, match="does not fit its checksum"):
        read_checkpoint(stored)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    run, store = make_run(), LocalWeightsStore(tmp_path)
    with torch.no_grad():
        run.model.prediction_head.weight.view(-1)[0] = value
    store.store_weights(run, 1)
    for load in (store.load_weights, store.load_model):
        with pytest.raises(DamagedFileError, match=r"iterations/1 is damaged: weights are not finite \(.*weight"):
            load(make_run(), 1)


@pytest.fixture
def trained(options: DaCapoConfig) -> Path:
    """The folder of checkpoints 10 and 20 of a run."""
    create_config_store().store_run_config(dummy_run_config())
    train("dummy")
    return options.runs_base_dir / "dummy/checkpoints/iterations"


def test_a_training_goes_on_from_the_checkpoint_before_a_damaged_one(
    trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    losses = [stats.loss for stats in create_stats_store().retrieve_training_stats("dummy").iteration_stats]
    expected = create_weights_store().retrieve_weights("dummy", 20)
    flip(trained / "20", 3000)
    with caplog.at_level(logging.WARNING):
        run = Run.open("dummy")
    assert run.training_stats.trained_until() == run.trainer.iteration == 10
    assert f"{trained / '20'} is damaged" in caplog.text
    assert "the checkpoint before it is used" in caplog.text
    # Nothing is cut in the store before it is trained anew.
    assert create_stats_store().retrieve_training_stats("dummy").trained_until() == 20

    train("dummy")
    again = create_weights_store().retrieve_weights("dummy", 20)
    assert all(torch.equal(value, again.model[name]) for name, value in expected.model.items())
    assert [s.loss for s in create_stats_store().retrieve_training_stats("dummy").iteration_stats] == losses


def test_a_damaged_checkpoint_that_is_asked_for_is_an_error(trained: Path) -> None:
    flip(trained / "20", 3000)
    with pytest.raises(DamagedFileError, match="20 is damaged"):
        Run.open("dummy", 20)
    with pytest.raises(DamagedFileError, match="20 is damaged"):
        create_weights_store().load_weights(Run(dummy_run_config()), 20)


def test_nothing_begins_anew_if_all_checkpoints_are_damaged(trained: Path) -> None:
    for name in ("10", "20"):
        flip(trained / name, 3000)
    before = create_stats_store().retrieve_training_stats("dummy").trained_until()
    with pytest.raises(DamagedFileError, match="20 is damaged"):
        train("dummy")
    assert create_stats_store().retrieve_training_stats("dummy").trained_until() == before == 20
    with pytest.raises(CheckpointNotFoundError, match="'other' has no checkpoint"):
        create_weights_store().retrieve_latest("other")


def test_the_options_say_how_many_checkpoints_are_kept(options: DaCapoConfig, tmp_path: Path) -> None:
    config = affinities_run_config(tmp_path, dims=2, num_iterations=9, validation_interval=1)
    create_config_store().store_run_config(config)
    with Options.override(keep_checkpoints=2, keep_checkpoints_every=4):
        run = train(config.name)
    store = create_weights_store()
    best = {select(run, criterion).iteration for criterion in run.task.evaluation_scores.criteria}
    kept = set(store.iterations(run.name))
    assert {4, 8, 9} | best <= kept
    assert kept - {4, 8, 9} - best <= {7}  # the one that was among the last two when 9 was stored
    assert len(kept) < 9
    removed = min(set(range(1, 10)) - kept)
    why = "training removed it, because the options keep a limited number of checkpoints"
    told = rf"no checkpoint of iteration {removed} in .*: {why} \(keep_checkpoints 2, keep_checkpoints_every 4\) and "
    told += rf"those with a best score; stored are {', '.join(map(str, sorted(kept)))}$"
    raw = tmp_path / "validate.zarr", "raw"
    parameters = str(next(iter(run.task.parameters)))
    for ask in (
        lambda: apply(run.name, *raw, tmp_path / "out.zarr", iteration=removed, parameters=parameters),
        lambda: predict(run.name, removed, *raw, tmp_path / "out.zarr"),
        lambda: validate(run.name, removed),
        lambda: Run.open(run.name, iteration=removed),
    ):
        with pytest.raises(CheckpointNotFoundError, match=told):
            ask()
    assert not (tmp_path / "out.zarr").exists()
    with pytest.raises(CheckpointNotFoundError, match=r"no checkpoint of iteration 77 in [^:]*; stored are"):
        store.retrieve_weights(run.name, 77)
    with pytest.raises(ConfigError, match="keep_checkpoints must be a number from 1 on"):
        Options.instance(keep_checkpoints=0)
