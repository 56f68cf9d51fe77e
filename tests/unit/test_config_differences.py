"""The settings in which runs differ."""

from __future__ import annotations

import attrs

from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.config_differences import Difference, config_differences, settings_of
from tests.helpers.runs import dummy_run_config, unet_config


def test_only_what_differs_is_listed() -> None:
    first, second = dummy_run_config("first"), dummy_run_config("second", num_iterations=30)
    trainer = attrs.evolve(second.trainer_config, learning_rate=1e-4)
    second = attrs.evolve(second, trainer_config=trainer)
    assert config_differences([first, second, first]) == [
        Difference("trainer_config.learning_rate", ["0.001", "0.0001", "0.001"]),
        Difference("num_iterations", ["20", "30", "20"]),
    ]
    assert config_differences([first, first]) == config_differences([first]) == []


def test_parts_of_another_class() -> None:
    first = dummy_run_config("first")
    second = attrs.evolve(first, architecture_config=unet_config())
    found = {one.place: one.values for one in config_differences([first, second])}
    kinds = [type(config.architecture_config).__name__ for config in (first, second)]
    assert found["architecture_config.__type__"] == kinds
    assert found["architecture_config.num_fmaps"] == [None, "4"]


def test_settings_are_flat_text() -> None:
    settings = settings_of(dummy_run_config("first"))
    assert settings["trainer_config.batch_size"] == "2"
    assert all(isinstance(value, str) for value in settings.values())
    assert CNNectomeUNetConfig.__name__ not in settings.values()
