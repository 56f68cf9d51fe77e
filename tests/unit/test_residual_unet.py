"""The U-Net of residual blocks: shapes, reach and errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.architectures import Architecture, ResidualUNet, ResidualUNetConfig
from dacapo.experiments.architectures.measure import measure_growth, measure_reach
from dacapo.store.converter import from_plain, to_plain
from dacapo.testing.architecture import SeamlessArchitectureContract

SMALL: dict[str, Any] = {
    "name": "small",
    "input_shape": (16, 24),
    "fmaps_in": 1,
    "fmaps_out": 3,
    "num_fmaps": [4, 5],
    "downsample_factors": [(2, 2), (2, 2)],
}
THREE_LEVELS = {"input_shape": (16, 16), "num_fmaps": [3, 4, 5], "downsample_factors": [(2, 2)] * 3}
ANISOTROPIC = {
    "input_shape": (4, 12, 24),
    "fmaps_in": 2,
    "downsample_factors": [(1, 2, 2), (2, 3, 2)],
    "eval_shape_increase": (2, 6, 8),
}


def make_config(**parameters: Any) -> ResidualUNetConfig:
    return ResidualUNetConfig(**{**SMALL, **parameters})


def warmed_up(architecture: ResidualUNet) -> ResidualUNet:
    """Let batch normalization see some inputs, so that it does something in eval mode."""
    with torch.no_grad():
        for _ in range(3):
            architecture(torch.rand(2, architecture.num_in_channels, *architecture.input_shape))
    return architecture


class Test2D(SeamlessArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        return warmed_up(ResidualUNet(make_config()))


class TestAnisotropic3D(SeamlessArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        return warmed_up(ResidualUNet(make_config(**ANISOTROPIC)))


class TestWithoutNormalization(SeamlessArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        return ResidualUNet(make_config(normalization="none"))


@pytest.mark.parametrize("parameters", [{}, THREE_LEVELS, ANISOTROPIC], ids=["2D", "three levels", "anisotropic"])
def test_the_halo_is_what_gradients_show(parameters: dict[str, Any]) -> None:
    architecture = ResidualUNet(make_config(**parameters))
    channels, shape, dims = architecture.num_in_channels, architecture.input_shape, architecture.dims
    growths = [measure_growth(architecture, channels, shape, axis) for axis in range(dims)]
    assert Coordinate(growth.step for growth in growths) == architecture.stride
    for axis, reach in enumerate(measure_reach(architecture, channels, shape, growths)):
        # What is measured is that of a whole step of the output, and leaves room for any alignment of it.
        assert reach.halo - architecture.stride[axis] < architecture.receptive_halo[axis] <= reach.halo
        assert reach.is_padded
    assert architecture.padded_axes == (True,) * dims


def test_the_output_has_the_shape_of_the_input_and_sees_its_voxels() -> None:
    architecture = ResidualUNet(make_config(normalization="none")).eval()
    x = torch.rand(1, 1, 16, 24)
    changed = x.clone()
    changed[..., 7, 9] += 1
    with torch.no_grad():
        before, after = architecture(x), architecture(changed)
    assert before.shape == (1, 3, 16, 24)
    assert not torch.equal(before[..., 7, 9], after[..., 7, 9])


def test_normalization_uses_the_batch_in_training_and_running_means_in_prediction() -> None:
    architecture = ResidualUNet(make_config())
    one, other = torch.rand(1, 1, 16, 24), 5 * torch.rand(1, 1, 16, 24)
    with torch.no_grad():
        assert not torch.allclose(architecture(one), architecture(torch.cat([one, other]))[:1])
        architecture.eval()
        torch.testing.assert_close(architecture(one), architecture(torch.cat([one, other]))[:1])
    assert not list(ResidualUNet(make_config(normalization="none")).buffers())


def test_config_makes_a_round_trip() -> None:
    config = make_config(**ANISOTROPIC)
    assert from_plain(to_plain(config), ResidualUNetConfig) == config
    assert config.verify()[0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"fmaps_in": 0}, "fmaps_in must be an integer of at least 1, got 0"),
        ({"num_fmaps": [4, 0]}, r"num_fmaps needs an integer of at least 1 for each level, got \[4, 0\]"),
        ({"num_fmaps": [4]}, "an entry for each of at least two levels, as num_fmaps does, got 2 and 1"),
        ({"num_fmaps": [4], "downsample_factors": [(2, 2)]}, "at least two levels, as num_fmaps does, got 1 and 1"),
        ({"downsample_factors": [(2, 2), (2, 2, 2)]}, r"needs 2 numbers of at least 1 for each entry, got \(2, 2, 2\)"),
        ({"normalization": "layer"}, "normalization must be one of batch, none, got 'layer'"),
        ({"input_shape": (16,)}, r"input_shape must have 2 or 3 axes, without batch and channels, got \(16,\)"),
        ({"input_shape": (16, 25)}, r"multiples of .* \(4, 4\); \(16, 28\) is the next larger shape that works"),
        ({"input_shape": (4, 4)}, r"\(4, 4\): the lowest level would have a single voxel, .* choose a larger shape"),
        ({"eval_shape_increase": (4,)}, r"eval_shape_increase needs 2 numbers of at least 0, .* got \(4,\)"),
        ({"eval_shape_increase": (4, 2)}, r"cannot use \(20, 26\), the sum of input_shape and eval_shape_increase"),
    ],
)
def test_mistakes_are_named(parameters: dict[str, Any], message: str) -> None:
    config = make_config(**parameters)
    works, why = config.verify()
    assert not works
    with pytest.raises(ConfigError, match=message) as error:
        ResidualUNet(config)
    assert str(error.value) == why


def test_an_unsuitable_input_is_named() -> None:
    architecture = ResidualUNet(make_config())
    with pytest.raises(ConfigError, match=r"cannot use an input of shape \(16, 26\): .* \(16, 28\) is the next larger"):
        architecture(torch.rand(2, 1, 16, 26))
    with pytest.raises(ConfigError, match="has 3 axes, but the network takes 2D input"):
        architecture(torch.rand(2, 1, 16, 16, 16))
