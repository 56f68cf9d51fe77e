"""Checkpoints belong to the config that they were trained with."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import torch
import yaml
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError, NotFoundError
from dacapo.experiments.config import Config, ConfigChange, changes, field
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.starts import StartConfig
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.store.yaml_files import read_yaml
from tests.helpers.runs import affinities_run_config, stored_run


def part(part_name: str, /, **values: object) -> Callable[[RunConfig], RunConfig]:
    """Return a function that changes a part of a run's config."""

    def change(config: RunConfig) -> RunConfig:
        return attrs.evolve(config, **{part_name: attrs.evolve(getattr(config, part_name), **values)})  # type: ignore[arg-type]

    return change


def dataset(kind: str, **values: object) -> Callable[[RunConfig], RunConfig]:
    """Return a function that changes the datasets to train or to validate on."""

    def change(config: RunConfig) -> RunConfig:
        (old,) = getattr(config.datasplit_config, kind)
        return part("datasplit_config", **{kind: [attrs.evolve(old, **values)]})(config)

    return change


def intensities(**values: object) -> Callable[[RunConfig], RunConfig]:
    def change(config: RunConfig) -> RunConfig:
        (old,) = config.datasplit_config.train_configs  # type: ignore[attr-defined]
        return dataset("train_configs", raw_config=attrs.evolve(old.raw_config, **values))(config)

    return change


REFUSED = {
    "task_config.affs_weight_clipmin was 0.05 and is 0.1": part("task_config", affs_weight_clipmin=0.1),
    "task_config.neighborhood was": part("task_config", neighborhood=[Coordinate(1, 0)]),
    "architecture_config.num_fmaps was 4 and is 5": part("architecture_config", num_fmaps=5),
    "architecture_config.padding was 'valid' and is 'same'": part("architecture_config", padding="same"),
    "trainer_config.learning_rate was 0.001 and is 0.01": part("trainer_config", learning_rate=1e-2),
    "trainer_config.augments was [SimpleAugmentConfig, IntensityAugmentConfig] and is []": part(
        "trainer_config", augments=[]
    ),
    "datasplit_config.train_configs[0].raw_config.max was 255.0 and is 65535.0": intensities(max=65535.0),
    "datasplit_config.train_configs[0].weight was 1 and is 2": dataset("train_configs", weight=2),
    "datasplit_config.validate_configs[0].gt_config was ZarrArrayConfig validate_labels and is None": dataset(
        "validate_configs", gt_config=None
    ),
    "start_config was None and is StartConfig": lambda config: attrs.evolve(
        config, start_config=StartConfig("other", "latest")
    ),
    "repetition was 0 and is 1": lambda config: attrs.evolve(config, repetition=1),
}
ALLOWED = {
    "longer": lambda config: attrs.evolve(config, num_iterations=100, validation_interval=50),
    "fetchers": part("trainer_config", num_data_fetchers=3, snapshot_interval=5, compile=True, channels_last=True),
    "another number of processes": part("trainer_config", batch_size=2, accumulate=4),
    "names": lambda config: part("task_config", name="t")(part("trainer_config", name="u")(config)),
    "names of data": dataset("train_configs", name="renamed"),
}


@pytest.fixture
def config(options: DaCapoConfig, tmp_path: Path) -> RunConfig:
    run = stored_run(tmp_path)
    create_weights_store().record_config(run)
    return run.config


def record_of(config: RunConfig, options: DaCapoConfig) -> Path:
    return options.runs_base_dir / config.name / "checkpoints" / "config.yaml"


def test_what_alters_training_is_refused(config: RunConfig, options: DaCapoConfig) -> None:
    before = record_of(config, options).read_text()
    for message, change in REFUSED.items():
        run = Run(change(config), load_starter_model=False)
        store = create_weights_store()
        for use in (lambda: store.load_weights(run, 1), lambda: store.record_config(run)):  # noqa: B023
            with pytest.raises(ConfigError, match="was changed since its checkpoints were trained") as error:
                use()
            assert message in str(error.value)
            assert str(record_of(config, options)) in str(error.value)
    assert record_of(config, options).read_text() == before


@pytest.mark.parametrize("change", ALLOWED)
def test_what_does_not_is_taken(config: RunConfig, options: DaCapoConfig, change: str) -> None:
    run = Run(ALLOWED[change](config))
    create_weights_store().load_weights(run, 1)
    create_weights_store().record_config(run)
    assert read_yaml(record_of(config, options))["num_iterations"] == run.config.num_iterations


def test_data_may_move(config: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (old,) = config.datasplit_config.train_configs  # type: ignore[attr-defined]
    moved = attrs.evolve(old.gt_config, file_name=tmp_path / "elsewhere.zarr")
    run = Run(dataset("train_configs", gt_config=moved)(config))
    with caplog.at_level(logging.INFO, "dacapo"):
        create_weights_store().load_weights(run, 1)
    assert f"gt_config.file_name was {tmp_path / 'train.zarr'} and is {tmp_path / 'elsewhere.zarr'}" in caplog.text
    other = attrs.evolve(old.gt_config, dataset="other")
    with pytest.raises(ConfigError, match=r"gt_config\.dataset was 'labels' and is 'other'"):
        create_weights_store().load_weights(Run(dataset("train_configs", gt_config=other)(config)), 1)


def test_a_run_without_a_record_gets_one(config: RunConfig, options: DaCapoConfig) -> None:
    record = record_of(config, options)
    record.unlink()
    checkpoint = record.parent / "iterations" / "1"
    content = torch.load(checkpoint, weights_only=True)
    del content["config"]
    torch.save(content, checkpoint)
    changed = Run(part("trainer_config", learning_rate=1e-2)(config))
    create_weights_store().load_weights(changed, 1)
    assert read_yaml(record)["trainer_config"]["learning_rate"] == 1e-2
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.01 and is 0\.001"):
        create_weights_store().load_weights(Run(config), 1)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_checkpoint_knows_its_config_without_a_record(
    config: RunConfig, options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    record = record_of(config, options)
    record.unlink()
    if read_only:
        monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="num_fmaps was 4 and is 5"):
        create_weights_store().load_weights(Run(part("architecture_config", num_fmaps=5)(config)), 1)
    assert record.exists() is not read_only


def test_without_checkpoints_the_record_begins_anew(config: RunConfig, options: DaCapoConfig) -> None:
    create_weights_store().remove(config.name, 1)
    with pytest.raises(NotFoundError):
        create_weights_store().load_weights(Run(config), 1)
    changed = Run(part("architecture_config", num_fmaps=5)(config))
    create_weights_store().record_config(changed)
    create_weights_store().store_weights(changed, 7)
    create_weights_store().load_weights(changed, 7)


def test_a_record_of_an_older_version_lacks_new_fields(config: RunConfig, options: DaCapoConfig) -> None:
    record = record_of(config, options)
    plain = read_yaml(record)
    del plain["trainer_config"]["warmup_iterations"]
    record.write_text(yaml.safe_dump(plain))
    create_weights_store().load_weights(Run(config), 1)
    with pytest.raises(ConfigError, match="warmup_iterations was 1000 and is 5"):
        create_weights_store().load_weights(Run(part("trainer_config", warmup_iterations=5)(config)), 1)


def test_the_best_belongs_to_the_config_too(config: RunConfig) -> None:
    store = create_weights_store()
    store.store_best(config.name, 1, "validate", "voi")
    with pytest.raises(ConfigError, match="num_fmaps was 4 and is 5"):
        store.load_best(Run(part("architecture_config", num_fmaps=5)(config)), "validate", "voi")


def test_no_dataset_takes_the_place_of_the_record(config: RunConfig) -> None:
    with pytest.raises(ConfigError, match=r"cannot be named 'config\.yaml'"):
        create_weights_store().store_best(config.name, 1, "config.yaml", "voi")


def test_changes_look_into_everything() -> None:
    @attrs.define
    class Inner(Config):
        number: float = field("A number.", default=0.0)
        label: str = field("A label.", default="", alters_training=False)

    @attrs.define
    class Outer(Config):
        inner: list[Inner] = field("More.", factory=list)

    nan = float("nan")
    old, new = Outer([Inner(nan, "one")]), Outer([Inner(nan, "other")])
    assert list(changes(old, new)) == [ConfigChange("inner[0].label", "one", "other", False)]
    assert list(changes(Outer([Inner(1.0)]), Outer([Inner(2.0)]))) == [ConfigChange("inner[0].number", 1.0, 2.0, True)]
    assert [change.place for change in changes(Outer([Inner()]), Outer([]))] == ["inner"]


def test_the_config_itself_can_be_in_any_store(options: DaCapoConfig, tmp_path: Path) -> None:
    config = affinities_run_config(tmp_path, dims=2)
    assert config.name not in create_config_store().retrieve_run_config_names()
    store = create_weights_store()
    store.store_weights(Run(config), 1)
    store.load_weights(Run(config), 1)
