"""The augmentations: recorded values, configs, and what reaches which array."""

from __future__ import annotations

import math
from typing import Any

import gunpowder as gp
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from gunpowder.pipeline import PipelineRequestError

from dacapo.experiments.config import Config
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.trainers.gp_augments import (
    AugmentConfig,
    ElasticAugmentConfig,
    GammaAugmentConfig,
    IntensityAugmentConfig,
    NoiseAugmentConfig,
    SimpleAugmentConfig,
)
from dacapo.gp import DaCapoArraySource
from dacapo.store.converter import from_plain, to_plain
from tests.helpers.augments import ALL_AUGMENTS
from tests.helpers.golden_data import item_arrays, items

RAW, GT, MASK = (gp.ArrayKey(name) for name in ("RAW", "GT", "MASK"))


def apply(config: AugmentConfig, data: np.ndarray) -> np.ndarray:
    """Return raw data as the augmentation leaves it."""
    dims = data.ndim
    roi = Roi((0,) * dims, data.shape)
    source = DaCapoArraySource(
        NumpyArray.from_np_array(data, roi, Coordinate((1,) * dims), ["z", "y", "x"][-dims:]), RAW, interpolatable=True
    )
    pipeline = source + config.node(RAW, GT, MASK)
    request = gp.BatchRequest(random_seed=1)
    request[RAW] = gp.ArraySpec(roi=roi)
    with gp.build(pipeline):
        result: np.ndarray = pipeline.request_batch(request)[RAW].data
    return result


@pytest.mark.parametrize("item", items("augments"))
def test_values_are_those_recorded(item: str) -> None:
    record, arrays = items("augments")[item], item_arrays("augments", item)
    config_class: Any = next(type(c) for c in ALL_AUGMENTS if type(c).__name__ == record["config"])
    config = config_class(**record["parameters"])
    # Gamma did nothing in the recording, because its result was thrown away; "meant" is what it is for.
    expected = arrays.get("meant", arrays["output"])
    np.testing.assert_allclose(apply(config, arrays["input"].copy()), expected, atol=1e-5)


@pytest.mark.parametrize("config", ALL_AUGMENTS, ids=lambda c: type(c).__name__)
def test_configs_survive_being_stored(config: AugmentConfig) -> None:
    assert from_plain(to_plain(config), AugmentConfig) == config
    assert isinstance(config, Config)
    assert config.verify()[0]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (ElasticAugmentConfig([0, 10], [1.0, 1.0], (0, 1)), "control_point_spacing is [0, 10]"),
        (ElasticAugmentConfig([], [], (0, 1)), "control_point_spacing is []"),
        (ElasticAugmentConfig([10, 10], [1.0], (0, 1)), "control_point_displacement_sigma is [1.0]"),
        (ElasticAugmentConfig([10], [-1.0], (0, 1)), "control_point_displacement_sigma is [-1.0]"),
        (ElasticAugmentConfig([10], [1.0], (1, 0)), "rotation_interval is (1, 0)"),
        (ElasticAugmentConfig([10], [1.0], (0, 1), subsample=0), "subsample is 0"),
        (GammaAugmentConfig((0, 1)), "gamma_range is (0, 1), but powers"),
        (GammaAugmentConfig((2, 1)), "gamma_range is (2, 1), but the smallest"),
        (IntensityAugmentConfig((2, 1), (0, 0)), "scale is (2, 1)"),
        (IntensityAugmentConfig((1, 1), (1, 0)), "shift is (1, 0)"),
        (NoiseAugmentConfig(-1), "variance is -1"),
        (SimpleAugmentConfig(mirror_only=[-1]), "mirror_only is [-1]"),
        (SimpleAugmentConfig(transpose_only=[0, -2]), "transpose_only is [0, -2]"),
        (SimpleAugmentConfig(transpose_only=[0, 1, 1]), "transpose_only is [0, 1, 1], but each axis"),
        (SimpleAugmentConfig(mirror_probs=[0.5, 3]), "mirror_probs is [0.5, 3]"),
    ],
)
def test_verify_names_the_value_that_cannot_be(config: AugmentConfig, problem: str) -> None:
    works, why = config.verify()
    assert not works
    assert why.startswith(problem)


@pytest.mark.parametrize("config", ALL_AUGMENTS, ids=lambda c: type(c).__name__)
def test_float32_stays_float32_and_changes(config: AugmentConfig) -> None:
    data = np.random.default_rng(0).random((12, 12, 12)).astype(np.float32)
    source = NumpyArray.from_np_array(data, Roi((0, 0, 0), (96, 96, 96)), Coordinate(8, 8, 8), ["z", "y", "x"])
    padded = DaCapoArraySource(source, RAW, interpolatable=True) + gp.Pad(RAW, None, "reflect")
    pipeline = padded + config.node(RAW, GT, MASK)
    request = gp.BatchRequest(random_seed=5)
    request[RAW] = gp.ArraySpec(roi=Roi((16, 16, 16), (64, 64, 64)))
    with gp.build(pipeline):
        result = pipeline.request_batch(request)[RAW].data
    assert result.dtype == np.float32
    assert result.shape == (8, 8, 8)
    assert not np.allclose(result, data[2:10, 2:10, 2:10])


def test_noise_has_the_given_variance() -> None:
    noise = apply(NoiseAugmentConfig(variance=0.04, clip=False), np.full((64, 64), 0.5, dtype=np.float32)) - 0.5
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    clipped = apply(NoiseAugmentConfig(variance=0.04), np.full((64, 64), 0.9, dtype=np.float32))
    assert clipped.max() == 1


def test_intensity_draws_from_all_of_its_range() -> None:
    data = np.linspace(0.4, 0.6, 64, dtype=np.float32).reshape(8, 8)
    source = NumpyArray.from_np_array(data, Roi((0, 0), (8, 8)), Coordinate(1, 1), ["y", "x"])
    pipeline = DaCapoArraySource(source, RAW) + IntensityAugmentConfig((0.5, 1.5), (-0.2, 0.2)).node(RAW)
    scales, shifts = [], []
    with gp.build(pipeline):
        for seed in range(60):
            request = gp.BatchRequest(random_seed=seed)
            request[RAW] = gp.ArraySpec(roi=Roi((0, 0), (8, 8)))
            result = pipeline.request_batch(request)[RAW].data
            scales.append(np.ptp(result) / np.ptp(data))
            shifts.append(result.mean() - data.mean())
    assert 0.5 <= min(scales) < 0.6
    assert 1.4 < max(scales) <= 1.5
    assert -0.2 <= min(shifts) < -0.15
    assert 0.15 < max(shifts) <= 0.2


@pytest.mark.parametrize("value", [255.0, -0.5, math.nan])
def test_intensities_beyond_what_is_clipped_say_what_to_do(value: float) -> None:
    data = np.full((4, 4), 0.5, dtype=np.float32)
    data[1, 1] = value
    with pytest.raises(PipelineRequestError, match="IntensitiesArrayConfig around the raw array, or set clip to false"):
        apply(IntensityAugmentConfig((0.9, 1.1), (0.0, 0.1)), data)
    assert np.isnan(value) or np.isfinite(apply(IntensityAugmentConfig((0.9, 1.1), (0.0, 0.1), clip=False), data)).all()
