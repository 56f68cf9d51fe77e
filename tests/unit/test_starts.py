"""Weights from another run, or from a COSEM network in a folder."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch

from dacapo.errors import ConfigError, MissingDependencyError, NotFoundError, StorageError, UnsafeFileError
from dacapo.experiments.architectures import CNNectomeUNet, CNNectomeUNetConfig
from dacapo.experiments.model import Model
from dacapo.experiments.run import Run
from dacapo.experiments.starts import CosemStart, CosemStartConfig, Start, StartConfig
from dacapo.experiments.starts.cosem_start import get_model_setup
from dacapo.experiments.starts.start import match_heads
from dacapo.experiments.tasks import DummyTaskConfig
from dacapo.options import DaCapoConfig
from dacapo.store.converter import from_plain, to_plain
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.testing.weights_store import assert_same, make_run, train


@pytest.fixture
def old_run(options: DaCapoConfig) -> Run:
    """A run in the store, with checkpoints 1 and 2 and a best one."""
    run = make_run("old")
    create_config_store().store_run_config(run.config)
    store = create_weights_store()
    for iteration in (1, 2):
        train(run)
        store.store_weights(run, iteration)
    store.store_best("old", 1, "val", "voi")
    return run


def start(criterion: str, run: str = "old") -> Start:
    config = StartConfig(run=run, criterion=criterion)
    return config.start_type(config)


def model_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(("criterion", "iteration"), [("voi", 1), ("val/voi", 1), ("1", 1), ("2", 2), ("latest", 2)])
def test_all_weights_of_an_equal_model(
    old_run: Run, criterion: str, iteration: int, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_run("new").model
    assert start(criterion).initialize_weights(model) is model
    assert_same(model_state(model), dict(create_weights_store().retrieve_weights("old", iteration).model))
    assert not caplog.records


def test_a_run_loads_its_start(old_run: Run) -> None:
    config = attrs.evolve(old_run.config, name="new", start_config=StartConfig(run="old", criterion="2"))
    assert_same(model_state(Run(config).model), model_state(old_run.model))
    other = model_state(Run(config, load_starter_model=False).model)
    assert not torch.equal(other["prediction_head.weight"], old_run.model.state_dict()["prediction_head.weight"])


def test_layers_of_another_shape_are_kept_and_named(old_run: Run, caplog: pytest.LogCaptureFixture) -> None:
    model = make_run("new", embedding=5).model
    before = model_state(model)
    start("2").initialize_weights(model)
    after, old = model_state(model), old_run.model.state_dict()
    assert torch.equal(after["architecture.conv.weight"], old["architecture.conv.weight"])
    assert torch.equal(after["chain.0.conv.weight"], old["architecture.conv.weight"])
    assert torch.equal(after["prediction_head.weight"], before["prediction_head.weight"])
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [message.split()[1] for message in messages] == ["prediction_head.weight", "prediction_head.bias"]
    assert {record.name for record in caplog.records} == {"dacapo.experiments.model_state"}


def test_layers_that_are_missing_or_left_over_are_named(old_run: Run, caplog: pytest.LogCaptureFixture) -> None:
    model = make_run("new").model
    model.architecture.register_module("extra", torch.nn.Linear(2, 2, bias=False))
    model.architecture.get_submodule("conv").bias = None
    start("2").initialize_weights(model)
    messages = "\n".join(record.getMessage() for record in caplog.records)
    assert "old has no layer architecture.extra.weight" in messages
    assert "layer architecture.conv.bias of old has no counterpart in the model" in messages
    assert len(caplog.records) == 2


def test_nothing_fits(old_run: Run) -> None:
    with pytest.raises(ConfigError, match="no layer of the model"):
        start("2").initialize_weights(make_run("new", channels=7, embedding=5).model)


@pytest.mark.parametrize("criterion", ["voi", "val/voi", "5", "latest"])
def test_an_unknown_run(options: DaCapoConfig, criterion: str) -> None:
    with pytest.raises(NotFoundError, match="'nobody'"):
        start(criterion, run="nobody").initialize_weights(make_run("new").model)


@pytest.mark.parametrize("criterion", ["3", "voi_split", "other/voi"])
def test_an_unknown_checkpoint(old_run: Run, criterion: str) -> None:
    with pytest.raises(NotFoundError, match="'old'"):
        start(criterion).initialize_weights(make_run("new").model)


def test_a_criterion_of_several_datasets(old_run: Run) -> None:
    create_weights_store().store_best("old", 2, "test", "voi")
    with pytest.raises(ConfigError, match="'test/voi', 'val/voi'"):
        start("voi").initialize_weights(make_run("new").model)
    model = make_run("new").model
    start("test/voi").initialize_weights(model)
    assert_same(model_state(model), model_state(old_run.model))


@pytest.mark.parametrize(
    "config",
    [
        {"run": "old", "criterion": "2", "channels": ["a", "b", "c"]},
        {"__type__": "StartConfig", "run": "old", "criterion": "2", "channels": ["a", "b", "c"]},
        StartConfig("old", "2", channels=["a", "b", "c"]),
        SimpleNamespace(run="old", criterion="2", channels=["a", "b", "c"]),
    ],
)
def test_a_start_takes_run_criterion_and_channels(old_run: Run, config: Any) -> None:
    begin = Start(config)
    assert (begin.run, begin.criterion, begin.channels) == ("old", "2", ["a", "b", "c"])
    assert_head_is_reversed(begin, old_run)


@pytest.mark.parametrize("config", [{"run": "old"}, {"run": "old", "criterion": "2", "chanels": []}])
def test_a_start_described_wrongly(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="needs 'run' and 'criterion'"):
        Start(config)


def test_channels_can_be_set(old_run: Run) -> None:
    begin = Start(SimpleNamespace(run="old", criterion="2"))
    assert begin.channels is None
    begin.channels = ["a", "b", "c"]
    assert_head_is_reversed(begin, old_run)


def test_a_number_of_channels_names_none(old_run: Run) -> None:
    begin, model = start("2"), make_run("new").model
    begin.channels = 3
    begin.initialize_weights(model, ["c", "b", "a"])
    assert_same(model_state(model), model_state(old_run.model))


def assert_head_is_reversed(begin: Start, old_run: Run) -> None:
    model = make_run("new").model
    begin.initialize_weights(model, ["c", "b", "a"])
    assert begin.channels == ["a", "b", "c"]
    assert torch.equal(model.prediction_head.weight, old_run.model.prediction_head.weight.flip(0))


@attrs.define
class LabelledTaskConfig(DummyTaskConfig):
    """A task whose config names channels, as those of other packages do, although its predictor does not."""

    channels: list[str] = attrs.field(factory=list)


@pytest.mark.parametrize(("labels", "is_reversed"), [(["c", "b", "a"], True), (["b", "a"], False)])
def test_channels_of_a_task_config_match_heads(old_run: Run, labels: list[str], is_reversed: bool) -> None:
    old = LabelledTaskConfig("task", 3, 0.5, channels=["a", "b", "c"])
    store = create_config_store()
    store.delete_run_config("old")
    store.store_run_config(attrs.evolve(old_run.config, task_config=old))
    config = attrs.evolve(
        old_run.config, name="new", task_config=attrs.evolve(old, channels=labels), start_config=StartConfig("old", "2")
    )
    weight, expected = Run(config).model.prediction_head.weight, old_run.model.prediction_head.weight
    assert torch.equal(weight, expected.flip(0) if is_reversed else expected)


def test_a_cosem_network_whose_channels_are_given(tmp_path: Path) -> None:
    old, model = head_model(2), head_model(2)
    folder = cosem_folder(tmp_path, old.state_dict())
    config = CosemStartConfig(str(folder), "625000", channels=["er", "mito"])
    CosemStart(config).initialize_weights(model, ["mito", "er"])
    assert torch.equal(model.prediction_head.weight, old.prediction_head.weight.flip(0))


def test_weights_without_a_config(old_run: Run, caplog: pytest.LogCaptureFixture) -> None:
    create_config_store().delete_run_config("old")
    model = make_run("new").model
    start("2").initialize_weights(model, new_head=["a", "b", "c"])
    assert_same(model_state(model), model_state(old_run.model))
    assert "has weights but no config" in caplog.text


def head_model(channels: int) -> Model:
    config = CNNectomeUNetConfig(
        name="u", input_shape=(20, 20), fmaps_in=1, fmaps_out=3, num_fmaps=2, fmap_inc_factor=2,
        downsample_factors=[(2, 2)],
    )  # fmt: skip
    return Model(CNNectomeUNet(config), torch.nn.Conv2d(3, channels, 1))


@pytest.mark.parametrize("prefix", ["", "prediction_head.", "chain.1."])
def test_heads_are_matched_by_label(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    old, model = head_model(3), head_model(4)
    weights = {prefix + name: tensor for name, tensor in old.prediction_head.state_dict().items()}
    before = model_state(model)
    assert match_heads(model, weights, ["er", "mito", "golgi"], ["golgi", "new", "er", "mito"]) is model
    for name in ("weight", "bias"):
        got, had = model.prediction_head.state_dict()[name], old.prediction_head.state_dict()[name]
        assert torch.equal(got[[0, 2, 3]], had[[2, 0, 1]])
        assert torch.equal(got[1], before[f"prediction_head.{name}"][1])
    assert torch.equal(model.chain[1].weight, model.prediction_head.weight)
    assert "channel 'new' is new" in caplog.text


def test_a_head_that_does_not_fit_its_labels(caplog: pytest.LogCaptureFixture) -> None:
    old, model = head_model(3), head_model(2)
    before = model_state(model)
    match_heads(model, old.prediction_head.state_dict(), ["er", "mito"], ["er", "mito"])
    assert_same(model_state(model), before)
    assert "prediction_head.weight cannot be matched" in caplog.text


def test_labels_go_before_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head of the same shape with its channels in another order must not be copied as it is."""
    old, model = head_model(2), head_model(2)
    folder = tmp_path / "setup"
    folder.mkdir()
    torch.save(old.state_dict(), folder / "weights.pt")
    (folder / "channels.yaml").write_text("[er, mito]\n")
    cosem(folder, "weights").initialize_weights(model, ["mito", "er"])
    assert torch.equal(model.prediction_head.weight, old.prediction_head.weight.flip(0))
    assert torch.equal(model.prediction_head.bias, old.prediction_head.bias.flip(0))
    assert_same(model_state(model.architecture), model_state(old.architecture))


def cosem(run: Path | str, criterion: str) -> CosemStart:
    config = CosemStartConfig(run=str(run), criterion=criterion)
    built = config.start_type(config)
    assert isinstance(built, CosemStart)
    return built


def cosem_folder(base: Path, content: Any) -> Path:
    folder = base / "setup04"
    folder.mkdir(parents=True)
    torch.save(content, folder / "model_checkpoint_625000")
    return folder


def test_a_cosem_network_is_matched_by_its_place_in_the_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = head_model(2)
    state = {f"0.{name.removeprefix('unet.')}": tensor for name, tensor in old.architecture.state_dict().items()}
    state |= {f"1.conv_pass.0.{name}": tensor for name, tensor in old.prediction_head.state_dict().items()}
    cosem_folder(tmp_path, {"model_state_dict": state, "optimizer_state_dict": {}})
    monkeypatch.setenv("DACAPO_COSEM_DIR", str(tmp_path))
    model = head_model(2)
    begin = cosem("setup04", "625000")
    begin.check()
    begin.initialize_weights(model)
    assert_same(model_state(model), model_state(old))
    assert not caplog.records


def test_a_cosem_network_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DACAPO_COSEM_DIR", raising=False)
    with pytest.raises(MissingDependencyError, match="DACAPO_COSEM_DIR is not set"):
        cosem("setup04", "625000").check()
    monkeypatch.setenv("DACAPO_COSEM_DIR", str(tmp_path))
    with pytest.raises(NotFoundError, match="setup04"):
        cosem("setup04", "625000").check()
    folder = cosem_folder(tmp_path, {})
    with pytest.raises(NotFoundError, match="it has model_checkpoint_625000"):
        cosem(folder, "1").check()
    works, why = CosemStartConfig(str(folder), "1").verify()
    assert not works
    assert "it has model_checkpoint_625000" in why
    assert CosemStartConfig(str(folder), "625000").verify()[0]
    with pytest.raises(StorageError, match="no state of a model"):
        cosem(folder, "625000").initialize_weights(head_model(1))


def test_a_cosem_network_that_would_execute_code(tmp_path: Path) -> None:
    folder = cosem_folder(tmp_path, {"model_state_dict": head_model})
    with pytest.raises(UnsafeFileError):
        cosem(folder, "625000").initialize_weights(head_model(1))


def test_labels_of_a_cosem_network(tmp_path: Path) -> None:
    folder = cosem_folder(tmp_path, {})
    assert get_model_setup(str(folder)) is None
    (folder / "channels.yaml").write_text("- mito\n- er\n")
    assert get_model_setup(str(folder)) == ["mito", "er"]
    for wrong in ("mito", "{", "[1, 2]"):
        (folder / "channels.yaml").write_text(wrong)
        with pytest.raises(ConfigError, match=r"channels\.yaml"):
            get_model_setup(str(folder))


@pytest.mark.parametrize("kind", [StartConfig, CosemStartConfig])
def test_configs_round_trip(kind: type[StartConfig]) -> None:
    config = kind(run="old", criterion="mito__voi")
    assert from_plain(to_plain(config), StartConfig) == config
    assert type(from_plain(to_plain(config), StartConfig)) is kind
