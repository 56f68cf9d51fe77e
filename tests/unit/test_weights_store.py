"""Checkpoints: the local store, the original's files, damaged and malicious files."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch

from dacapo.errors import ConfigError, MemoryBudgetError, NotFoundError, StorageError, UnsafeFileError
from dacapo.experiments.architectures import ArchitectureConfig, CNNectomeUNet
from dacapo.experiments.model import Model
from dacapo.experiments.model_state import load_model_state
from dacapo.store.converter import from_plain
from dacapo.store.local_weights_store import LocalWeightsStore, read_checkpoint
from dacapo.store.weights_store import Weights, WeightsStore
from dacapo.store.yaml_files import read_yaml
from dacapo.testing.weights_store import WeightsStoreContract, assert_same, make_run, train
from tests.helpers.golden_data import GOLDEN, item_arrays, items
from tests.helpers.processes import largest_file

ORIGINAL = GOLDEN / "checkpoint_original.pt"
ORIGINAL_ARCHITECTURE = GOLDEN / "config_store/architectures/small_unet.yaml"


class TestLocalWeightsStore(WeightsStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> WeightsStore:
        return LocalWeightsStore(tmp_path / "runs")

    @pytest.fixture
    def reopened(self, tmp_path: Path) -> WeightsStore:
        return LocalWeightsStore(str(tmp_path / "runs"))

    def test_files_lie_where_the_original_has_them(self, store: LocalWeightsStore, tmp_path: Path) -> None:
        recorded = items("checkpoint")["checkpoint"]
        store.store_weights(make_run(recorded["run_name"]), recorded["iteration"])
        store.store_best(recorded["run_name"], recorded["iteration"], "val_dataset", "voi")
        found = sorted(str(p.relative_to(tmp_path / "runs")) for p in tmp_path.rglob("*") if p.is_file())
        assert found == recorded["store_layout_after_store_best"]
        record = tmp_path / "runs" / recorded["run_name"] / "checkpoints/val_dataset/voi.json"
        assert json.loads(record.read_text()) == recorded["best_json"]

    def test_a_file_is_a_plain_dict_that_torch_reads_alone(self, store: LocalWeightsStore, tmp_path: Path) -> None:
        run = make_run()
        store.store_weights(run, 3)
        content = torch.load(tmp_path / "runs/run/checkpoints/iterations/3", weights_only=True)
        assert type(content) is dict
        assert content.keys() == {"format", "iteration", "model", "optimizer", "trainer", "config"}
        assert_same(dict(content["model"]), dict(run.model.state_dict()))

    def test_tensors_with_two_names_are_written_once(self, store: LocalWeightsStore, tmp_path: Path) -> None:
        run = make_run(channels=3000)
        store.store_weights(run, 1)
        once = sum(parameter.numel() * parameter.element_size() for parameter in run.model.parameters())
        size = (tmp_path / "runs/run/checkpoints/iterations/1").stat().st_size
        assert once < size < 1.2 * once

    def test_a_store_can_be_moved(self, store: LocalWeightsStore, tmp_path: Path) -> None:
        store.store_weights(make_run(), 1)
        store.store_best("run", 1, "val", "voi")
        store.remove("run", 1)
        shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
        moved = LocalWeightsStore(tmp_path / "elsewhere")
        assert moved.retrieve_best("run", "val", "voi") == 1
        assert moved.retrieve_best_weights("run", "val", "voi").iteration == 1
        assert not any(path.is_symlink() for path in tmp_path.rglob("*"))

    def test_other_files_are_no_checkpoints(self, store: LocalWeightsStore, tmp_path: Path) -> None:
        store.store_weights(make_run(), 7)
        folder = tmp_path / "runs/run/checkpoints/iterations"
        for name in (".9.0123.partial", "12.bak", "note", "²"):
            (folder / name).write_text("")
        assert store.latest_iteration("run") == 7

    def test_datasets_with_a_best(self, store: LocalWeightsStore, tmp_path: Path) -> None:
        store.store_weights(make_run(), 1)
        for dataset in ("b", "a"):
            store.store_best("run", 1, dataset, "voi")
        store.store_best("run", 1, "c", "voi_split")
        assert store.best_datasets("run", "voi") == ["a", "b"]
        assert store.best_datasets("run", "voi_merge") == []
        assert store.best_datasets("run", "*") == []

    @pytest.mark.parametrize("name", ["", "..", "a/b", "../outside"])
    def test_names_that_lead_elsewhere(self, store: LocalWeightsStore, name: str) -> None:
        with pytest.raises(ConfigError):
            store.latest_iteration(name)
        with pytest.raises(ConfigError):
            store.retrieve_best("run", name, "voi")
        with pytest.raises(ConfigError):
            store.retrieve_best("run", "val", name)

    def test_a_dataset_named_like_the_folder_of_checkpoints(self, store: LocalWeightsStore) -> None:
        store.store_weights(make_run(), 1)
        with pytest.raises(ConfigError, match="'iterations'"):
            store.store_best("run", 1, "iterations", "1")

    @pytest.mark.destructive
    def test_a_write_that_fails_leaves_the_old_checkpoint(self, store: LocalWeightsStore, tmp_path: Path) -> None:
        run = make_run(channels=200)
        store.store_weights(run, 1)
        before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
        train(run)
        with largest_file(4000), pytest.raises(StorageError, match="checkpoints/iterations/1: File too large"):
            store.store_weights(run, 1)
        assert os.listdir(tmp_path / "runs/run/checkpoints/iterations") == ["1"]
        assert_same(dict(store.retrieve_weights("run", 1).model), before)

    def test_a_damaged_record_of_the_best(self, store: LocalWeightsStore, tmp_path: Path) -> None:
        folder = tmp_path / "runs/run/checkpoints/val"
        folder.mkdir(parents=True)
        (folder / "voi.json").write_text('{"iter')
        for retrieve in (store.retrieve_best, store.retrieve_best_weights):
            with pytest.raises(StorageError, match=r"voi\.json is damaged"):
                retrieve("run", "val", "voi")

    def test_without_a_record_the_best_says_its_iteration_itself(
        self, store: LocalWeightsStore, tmp_path: Path
    ) -> None:
        store.store_weights(make_run(), 7)
        store.store_best("run", 7, "val", "voi")
        best = tmp_path / "runs/run/checkpoints/val/voi"
        best.with_name("voi.json").unlink()
        assert store.retrieve_best("run", "val", "voi") == 7
        shutil.copy(ORIGINAL, best)  # one that does not say it
        with pytest.raises(StorageError, match="does not say its iteration"):
            store.retrieve_best("run", "val", "voi")


def original_store(folder: Path, dataset: str, criterion: str) -> LocalWeightsStore:
    """Return a store as the original leaves it, with its checkpoint in ``folder``."""
    recorded = items("checkpoint")["checkpoint"]
    checkpoints = folder / recorded["run_name"] / "checkpoints"
    (checkpoints / "iterations").mkdir(parents=True)
    (checkpoints / dataset).mkdir()
    shutil.copy(ORIGINAL, checkpoints / "iterations" / "100")
    (checkpoints / dataset / criterion).symlink_to(checkpoints / "iterations" / "100")
    (checkpoints / dataset / f"{criterion}.json").write_text(json.dumps(recorded["best_json"]))
    return LocalWeightsStore(folder)


def assert_recorded(weights: Weights) -> None:
    """Compare with the recorded tensors of the original's checkpoint."""
    recorded, arrays = items("checkpoint")["checkpoint"], item_arrays("checkpoint", "checkpoint")
    tensors = {f"model.{name}": tensor for name, tensor in weights.model.items()}
    for index, state in weights.optimizer["state"].items():
        tensors |= {f"optimizer.state.{index}.{key}": value for key, value in state.items()}
    assert tensors.keys() == arrays.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, torch.from_numpy(arrays[name])), name
        assert str(tensor.dtype).removeprefix("torch.") == str(arrays[name].dtype)
    (group,) = weights.optimizer["param_groups"]
    assert {**group, "betas": list(group["betas"])} == recorded["optimizer_param_groups"][0]


def test_a_checkpoint_of_the_original() -> None:
    weights = read_checkpoint(ORIGINAL)
    assert type(weights) is Weights
    assert_recorded(weights)
    assert weights.trainer == {}


def test_training_goes_on_from_a_checkpoint_of_the_original() -> None:
    config = from_plain(read_yaml(ORIGINAL_ARCHITECTURE), ArchitectureConfig)
    model = Model(CNNectomeUNet(attrs.evolve(config, num_fmaps=3)), torch.nn.Conv3d(6, 1, 1))
    optimizer = torch.optim.RAdam(model.parameters(), lr=1.0, decoupled_weight_decay=True)
    weights = read_checkpoint(ORIGINAL)
    weights.put_into(SimpleNamespace(name="distance_run", model=model, optimizer=optimizer))
    assert_same(dict(model.state_dict()), dict(weights.model))
    assert_recorded(Weights(model.state_dict(), optimizer.state_dict()))
    model(torch.rand(1, 1, *model.input_shape)).square().mean().backward()
    steps = [int(state["step"]) for state in optimizer.state.values()]
    optimizer.step()
    assert [int(state["step"]) for state in optimizer.state.values()] == [step + 1 for step in steps]


@pytest.mark.parametrize(("dataset", "criterion"), [("val_dataset", "voi"), ("voi", "val_dataset")])
def test_best_of_the_original_in_either_order(tmp_path: Path, dataset: str, criterion: str) -> None:
    store = original_store(tmp_path, dataset, criterion)
    assert store.latest_iteration("distance_run") == 100
    assert store.retrieve_best("distance_run", "val_dataset", "voi") == 100
    assert_recorded(store.retrieve_best_weights("distance_run", "val_dataset", "voi"))
    assert "val_dataset" in store.best_datasets("distance_run", "voi")


def test_best_of_the_original_after_a_move(tmp_path: Path) -> None:
    original_store(tmp_path / "before", "val_dataset", "voi")
    shutil.move(tmp_path / "before", tmp_path / "after")
    store = LocalWeightsStore(tmp_path / "after")
    assert store.retrieve_best("distance_run", "val_dataset", "voi") == 100
    assert_recorded(store.retrieve_best_weights("distance_run", "val_dataset", "voi"))
    # The checkpoint itself is gone too: then there is nothing.
    store.remove("distance_run", 100)
    with pytest.raises(NotFoundError):
        store.retrieve_best_weights("distance_run", "val_dataset", "voi")


class _Runs:
    """Runs a command when unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_malicious_file_is_refused_and_not_run(tmp_path: Path, legacy: bool, hidden: bool) -> None:
    witness, path = tmp_path / "executed", tmp_path / "iterations"
    payload: Any = _Runs(f"touch {witness}")
    if hidden:
        payload = {"format": 1, "model": OrderedDict(weight=payload), "optimizer": {}, "trainer": {}}
    torch.save(payload, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UnsafeFileError, match=r"iterations was not read.*could execute code, namely \w+\.system"):
        read_checkpoint(path)
    assert not witness.exists()
    # The payload is real.
    torch.load(path, weights_only=False)
    assert witness.exists()


def test_a_bare_malicious_pickle_is_refused(tmp_path: Path) -> None:
    witness, path = tmp_path / "executed", tmp_path / "100"
    path.write_bytes(pickle.dumps(_Runs(f"touch {witness}"), protocol=2))
    with pytest.raises(UnsafeFileError):
        read_checkpoint(path)
    assert not witness.exists()


def test_the_exception_for_the_original_ends_with_reading() -> None:
    read_checkpoint(ORIGINAL)
    assert Weights not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("model_only", [False, True])
@pytest.mark.parametrize("kept", [0, 3, 500, -1])
def test_a_truncated_file_is_named(tmp_path: Path, kept: int, model_only: bool) -> None:
    path = tmp_path / "100"
    path.write_bytes(ORIGINAL.read_bytes()[:kept])
    with pytest.raises(StorageError, match=rf"{path} is damaged"):
        read_checkpoint(path, model_only)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_a_model_is_read_without_the_optimizer(tmp_path: Path, legacy: bool) -> None:
    path, weight = tmp_path / "100", torch.arange(500.0)
    content = {"format": 1, "model": {"weight": weight}, "optimizer": {"exp_avg": weight}, "trainer": {"count": 1}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    weights = read_checkpoint(path, model_only=True)
    assert_same(dict(weights.model), {"weight": weight})
    assert (weights.optimizer, weights.trainer) == ({}, {})


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_every_damage_is_named(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "100"
    content = {"format": 1, "model": {"weight": torch.arange(50.0)}, "optimizer": {"lr": 0.1}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    chance = random.Random(0)
    cut = [whole[:kept] for kept in {*range(0, len(whole), 7), *range(len(whole) - 60, len(whole))}]
    flipped = [bytes([*whole[:at], whole[at] ^ 1 << chance.randrange(8), *whole[at + 1 :]]) for at in range(600)]
    for damaged in cut:
        path.write_bytes(damaged)
        with pytest.raises((StorageError, UnsafeFileError), match=rf"^{path} (is damaged|was not read)"):
            read_checkpoint(path)
    for damaged in flipped:
        path.write_bytes(damaged)
        with suppress(StorageError, UnsafeFileError):  # most bytes are numbers, of which any will do
            read_checkpoint(path)


def test_a_checkpoint_that_does_not_fit_into_memory_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    path = tmp_path / "100"
    torch.save({"format": 1, "model": {}, "optimizer": {}}, path)
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(MemoryBudgetError, match=rf"{path} was not read: it does not fit into memory"):
        read_checkpoint(path)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "100"
    path.write_text("just text")
    with pytest.raises(StorageError, match=r"damaged or not a torch\.save file"):
        read_checkpoint(path)
    torch.save({"model": torch.zeros(1)}, path)
    with pytest.raises(StorageError, match="is not a checkpoint"):
        read_checkpoint(path)
    torch.save({"format": 99, "model": {}, "optimizer": {}}, path)
    with pytest.raises(StorageError, match=r"format 99.*update dacapo"):
        read_checkpoint(path)


@pytest.mark.parametrize("kept", [("architecture.", "prediction_head."), ("chain.",)])
def test_one_of_two_names_is_enough(kept: tuple[str, ...]) -> None:
    source, target = make_run().model, make_run("other").model
    state = {name: tensor for name, tensor in source.state_dict().items() if name.startswith(kept)}
    load_model_state(target, state, "some weights")
    assert_same(dict(source.state_dict()), dict(target.state_dict()))


def test_missing_and_unexpected_names_are_listed() -> None:
    model = make_run().model
    state = {name: tensor for name, tensor in model.state_dict().items() if "bias" not in name}
    state["architecture.extra"] = torch.zeros(1)
    with pytest.raises(ConfigError) as error:
        load_model_state(model, state, "weights of run 'x'")
    assert "weights of run 'x' do not fit" in str(error.value)
    assert "missing: architecture.conv.bias, prediction_head" in str(error.value)
    assert "unexpected: architecture.extra" in str(error.value)


def test_the_optimizer_of_another_model_is_refused() -> None:
    run = make_run()
    optimizer = torch.optim.RAdam([torch.nn.Parameter(torch.zeros(1))]).state_dict()
    with pytest.raises(ConfigError, match="state of the optimizer does not belong to RAdam"):
        Weights(run.model.state_dict(), optimizer).put_into(run)
