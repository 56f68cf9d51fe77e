"""The architecture base, shape tracing and the dummy architecture."""

from __future__ import annotations

import pytest
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.architectures import (
    Architecture,
    ArchitectureConfig,
    DummyArchitecture,
    DummyArchitectureConfig,
)
from dacapo.experiments.architectures.architecture import compute_shape
from dacapo.experiments.config import config_class
from dacapo.store.converter import from_plain, to_plain
from dacapo.testing.architecture import SeamlessArchitectureContract


class TestDummyArchitecture(SeamlessArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        return DummyArchitecture(DummyArchitectureConfig(name="dummy", num_in_channels=2, num_out_channels=3))

    def test_is_one_convolution(self, architecture: Architecture) -> None:
        x = torch.rand(1, 2, 4, 5, 6)
        weight, bias = architecture.state_dict().values()
        torch.testing.assert_close(architecture(x), torch.nn.functional.conv3d(x, weight, bias))
        assert architecture.receptive_halo == Coordinate(1, 1, 1)


def test_config_builds_its_architecture_and_round_trips() -> None:
    config = DummyArchitectureConfig(name="dummy", num_in_channels=2, num_out_channels=3)
    assert isinstance(config.architecture_type(config), DummyArchitecture)
    assert from_plain(to_plain(config), ArchitectureConfig) == config
    assert config_class("DummyArchitectureConfig", ArchitectureConfig) is DummyArchitectureConfig


def test_dummy_config_is_never_valid() -> None:
    assert DummyArchitectureConfig(name="dummy", num_in_channels=1, num_out_channels=1).verify()[0] is False


@pytest.mark.parametrize(("channels_in", "channels_out"), [(0, 1), (1, -1), ("one", 1)])
def test_dummy_needs_channels(channels_in: int, channels_out: int) -> None:
    with pytest.raises(ConfigError, match="at least one channel"):
        DummyArchitecture(DummyArchitectureConfig("dummy", channels_in, channels_out))


def test_base_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Architecture()  # type: ignore[abstract]


class _Minimal(Architecture):
    """Only what is abstract, to see the defaults."""

    input_shape = Coordinate(8, 9)  # type: ignore[assignment]
    num_in_channels = 1  # type: ignore[assignment]
    num_out_channels = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, (3, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x)
        return out


def test_defaults_of_the_base() -> None:
    minimal = _Minimal()
    assert minimal.dims == 2
    assert minimal.eval_shape_increase == Coordinate(0, 0)
    assert minimal.scale(Coordinate(4, 8)) == Coordinate(4, 8)
    assert minimal.stride == Coordinate(1, 1)
    # An even kernel loses an odd number of voxels; the halo is rounded up.
    assert minimal.receptive_halo == Coordinate(1, 3)


class _DependsOnValues(torch.nn.Module):
    """Cannot run on tensors without content."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, 1:] if float(x.sum()) == 0 else x


def test_shape_of_a_module_that_looks_at_values() -> None:
    assert compute_shape(_DependsOnValues(), 2, Coordinate(5, 6)) == (2, Coordinate(4, 6))


def test_shape_of_a_module_with_dropout_and_batch_norm_leaves_no_trace() -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))
    module.train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    random_state = torch.get_rng_state()
    assert compute_shape(module, 1, Coordinate(3, 3)) == (4, Coordinate(1, 1))
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())


def test_shape_of_an_impossible_input_raises_the_error_of_the_module() -> None:
    with pytest.raises(RuntimeError, match=r"[Kk]ernel size"):
        compute_shape(torch.nn.Conv2d(1, 1, 3), 1, Coordinate(2, 2))


def test_a_huge_shape_takes_no_memory() -> None:
    module = torch.nn.Conv3d(1, 64, 3)
    assert compute_shape(module, 1, Coordinate(5000, 5000, 5000)) == (64, Coordinate(4998, 4998, 4998))
