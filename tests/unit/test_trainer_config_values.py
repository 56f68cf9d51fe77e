"""What no field of a trainer or an augmentation can hold is said by ``verify``, and is never a bare exception."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
import pytest

from dacapo.errors import ConfigError
from dacapo.experiments.config import usable_configs
from dacapo.experiments.trainers import (
    AugmentConfig,
    DummyTrainerConfig,
    ElasticAugmentConfig,
    GammaAugmentConfig,
    GunpowderTrainerConfig,
    IntensityAugmentConfig,
    IntensityScaleShiftAugmentConfig,
    NoiseAugmentConfig,
    SimpleAugmentConfig,
    TorchTrainerConfig,
    TrainerConfig,
)
from dacapo.utils.field_types import mistyped_field

# Values that no number, no text, no flag and no list can be.
NO_INT: list[Any] = ["one", None, 1.5, True, [1], {}, math.nan, math.inf, ...]
NO_NUMBER: list[Any] = ["one", None, True, [1.0], {}, math.nan, math.inf, 1j]
NO_FLAG: list[Any] = ["yes", None, 1, [True]]
NO_TEXT: list[Any] = [3, None, ["a"], b"a"]
NO_PAIR: list[Any] = [1.0, "01", None, (1.0,), (0.0, 1.0, 2.0), ("a", "b"), (0.0, math.nan), (0.0, None), {}]


def without_none(values: list[Any]) -> list[Any]:
    return [value for value in values if value is not None]


TRAINER: dict[str, list[Any]] = {
    "name": NO_TEXT,
    "batch_size": [*NO_INT, 0, -1],
    "learning_rate": [*NO_NUMBER, 0.0, -1e-3],
    "seed": [*without_none(NO_INT), -1],
}
BATCHES: dict[str, list[Any]] = {
    **TRAINER,
    "num_data_fetchers": [*NO_INT, -1],
    "augments": ["elastic", None, [1], [TRAINER], SimpleAugmentConfig(), [NoiseAugmentConfig(-1)], [AugmentConfig]],
    "snapshot_interval": [*without_none(NO_INT), 0],
    "min_masked": [*without_none(NO_NUMBER), -0.1, 1.1],
    "clip_raw": NO_FLAG,
    "warmup_iterations": [*NO_INT, -1],
    "decay_iterations": [*without_none(NO_INT), 0, 1000],
    "precision": [*NO_TEXT, "int4"],
    "accumulate": [*NO_INT, 0],
    "clip_gradients": [*without_none(NO_NUMBER), 0.0, -1.0],
    "ema_decay": [*without_none(NO_NUMBER), 0.0, 1.0, -0.5],
    "channels_last": NO_FLAG,
    "compile": NO_FLAG,
}
NO_AXES: list[Any] = [0, "01", [0.5], [None], ["a"], [-1], [0, 0]]
IMPOSSIBLE: list[tuple[TrainerConfig | AugmentConfig, dict[str, list[Any]]]] = [
    (GunpowderTrainerConfig("trainer", 1, 1e-3), BATCHES),
    (TorchTrainerConfig("trainer", 1, 1e-3), BATCHES),
    (DummyTrainerConfig("trainer", 1, 1e-3, mirror_augment=True), {**TRAINER, "mirror_augment": NO_FLAG}),
    (
        ElasticAugmentConfig([10, 10], [1.0, 1.0], (0.0, 1.0)),
        {
            "control_point_spacing": [10, "10", None, [], ["a", "b"], [10, None], [10, 0], [10, math.nan], [10]],
            "control_point_displacement_sigma": [1, "1", None, [], [1.0], ["a", "b"], [1, -1], [1, math.inf]],
            "rotation_interval": [*NO_PAIR, (1.0, 0.0)],
            "subsample": [*NO_INT, 0],
            "uniform_3d_rotation": NO_FLAG,
        },
    ),
    (GammaAugmentConfig((0.5, 2.0)), {"gamma_range": [*NO_PAIR, (0.0, 1.0), (2.0, 1.0)]}),
    (
        IntensityAugmentConfig((0.5, 2.0), (0.0, 1.0)),
        {"scale": [*NO_PAIR, (2.0, 1.0)], "shift": [*NO_PAIR, (2.0, 1.0)], "clip": NO_FLAG},
    ),
    (IntensityScaleShiftAugmentConfig(2.0, -1.0), {"scale": NO_NUMBER, "shift": NO_NUMBER}),
    (NoiseAugmentConfig(), {"variance": [*NO_NUMBER, -1.0], "clip": NO_FLAG}),
    (
        SimpleAugmentConfig(),
        {
            "mirror_only": NO_AXES,
            "transpose_only": NO_AXES,
            "mirror_probs": [0.5, "half", ["a"], [None], [1.5], [-0.1], [math.nan]],
        },
    ),
]
CASES = [
    pytest.param(config, name, value, id=f"{type(config).__name__}-{name}-{value!r:.30}")
    for config, fields in IMPOSSIBLE
    for name, values in fields.items()
    for value in values
]


@pytest.mark.parametrize(("config", "name", "value"), CASES)
def test_verify_names_the_field_and_the_value(config: Any, name: str, value: Any) -> None:
    wrong = attrs.evolve(config, **{name: value})
    works, why = wrong.verify()
    assert not works
    assert name in why or "control_point" in why
    if isinstance(wrong, GunpowderTrainerConfig | TorchTrainerConfig):
        with pytest.raises(ConfigError):
            wrong.trainer_type(wrong)


def test_all_fields_of_all_trainers_and_augmentations_are_in_the_table() -> None:
    listed = {type(config): set(fields) for config, fields in IMPOSSIBLE}
    known = {**usable_configs(TrainerConfig), **usable_configs(AugmentConfig)}
    own = [cls for cls in known.values() if cls.__module__.startswith("dacapo.")]
    assert set(own) == set(listed)
    for cls in own:
        assert {field.name for field in attrs.fields(cls)} == listed[cls]


@pytest.mark.parametrize(
    "config",
    [
        *(config for config, _ in IMPOSSIBLE if not isinstance(config, DummyTrainerConfig)),
        TorchTrainerConfig("trainer", np.int64(2), np.float32(1e-3), clip_gradients=1, min_masked=None),  # type: ignore[arg-type]
        GunpowderTrainerConfig("trainer", 2, 1, augments=(SimpleAugmentConfig(),), seed=2**70),  # type: ignore[arg-type]
        ElasticAugmentConfig((7.5, 10), np.array([1, 2]).tolist(), [0, 1]),  # type: ignore[arg-type]
        SimpleAugmentConfig([0, 1], [np.int64(1)], [0, 1]),  # type: ignore[list-item]
        IntensityAugmentConfig(np.array([0.5, 1.5]), (0, 0), np.bool_(True)),  # type: ignore[arg-type]
    ],
)
def test_what_numbers_can_be_written_as_is_accepted(config: Any) -> None:
    assert config.verify() == (True, f"nothing wrong found in this {type(config).__name__}")


def test_what_is_expected_is_said_in_words() -> None:
    assert mistyped_field(TorchTrainerConfig("trainer", "one", 1e-3)) == (  # type: ignore[arg-type]
        "batch_size is 'one', but must be a whole number"
    )
    assert mistyped_field(GammaAugmentConfig(2.0)) == (  # type: ignore[arg-type]
        "gamma_range is 2.0, but must be 2 values, each a finite number"
    )
    config = GunpowderTrainerConfig("trainer", 1, 1e-3, augments=[3])  # type: ignore[list-item]
    assert mistyped_field(config) == "augments is [3], but must be a list, each item an AugmentConfig"
