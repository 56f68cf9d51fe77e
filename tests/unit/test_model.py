"""The model: body, head and activation."""

from __future__ import annotations

import pytest
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.architectures import CNNectomeUNet, CNNectomeUNetConfig
from dacapo.experiments.model import Model
from tests.helpers.golden_data import items


def make_model(activation: torch.nn.Module | None = None, **changes: object) -> Model:
    parameters = {
        "name": "small",
        "input_shape": (20, 20),
        "fmaps_in": 1,
        "fmaps_out": 3,
        "num_fmaps": 2,
        "fmap_inc_factor": 2,
        "downsample_factors": [(2, 2)],
        "eval_shape_increase": (8, 4),
        **changes,
    }
    return Model(CNNectomeUNet(CNNectomeUNetConfig(**parameters)), torch.nn.Conv2d(3, 5, 1), activation)


def test_attributes_follow_from_the_parts() -> None:
    model = make_model()
    assert model.num_in_channels == 1
    assert model.num_out_channels == 5
    assert model.input_shape == Coordinate(20, 20)
    assert model.eval_input_shape == Coordinate(28, 24)
    assert model.output_shape == Coordinate(4, 4)
    assert list(model.chain) == [model.architecture, model.prediction_head]
    assert model.eval_activation is None


def test_names_in_the_state_are_those_of_the_original() -> None:
    names = list(make_model().state_dict())
    assert {name.split(".")[0] for name in names} == {"architecture", "prediction_head", "chain"}
    recorded = items("unet")["3d_valid_transposed"]["state_dict"]
    assert [n.split(".unet")[0] for n in recorded][-1] == names[-1] == "chain.1.bias"


def test_activation_in_eval_mode_only() -> None:
    model = make_model(torch.nn.Sigmoid())
    x = torch.randn(1, 1, 20, 20)
    with torch.no_grad():
        trained = model.train()(x)
        evaluated = model.eval()(x)
    torch.testing.assert_close(torch.sigmoid(trained), evaluated)
    assert not torch.equal(trained, evaluated)
    torch.testing.assert_close(trained, model.chain(x))


@pytest.mark.parametrize("shape", [(20, 20), [20, 20], None, 20, torch.Size([20, 20])])
def test_a_shape_that_is_no_coordinate(shape: object) -> None:
    with pytest.raises(AssertionError, match="Coordinate"):
        make_model().compute_output_shape(shape)  # type: ignore[arg-type]


def test_a_voxel_size_that_is_no_coordinate() -> None:
    with pytest.raises(AssertionError, match="voxel_size must be"):
        make_model().scale((4, 4))  # type: ignore[arg-type]


def test_a_shape_with_the_channels_in_it() -> None:
    with pytest.raises(ConfigError, match=r"3 axes.*leave out batch and channels"):
        make_model().compute_output_shape(Coordinate(1, 20, 20))


def test_a_shape_that_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="next larger shape that works is"):
        make_model().compute_output_shape(Coordinate(21, 20))


def test_computing_a_shape_changes_nothing() -> None:
    model = make_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(torch.rand(1, 1, 20, 20)).sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    random_state = torch.get_rng_state()
    assert model.compute_output_shape(Coordinate(24, 28)) == (5, Coordinate(8, 12))
    assert torch.equal(random_state, torch.get_rng_state())
    assert model.training
    assert all(module.training for module in model.modules())
    assert torch.is_grad_enabled()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    kept = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(gradients, kept, strict=True))


def test_a_shape_is_computed_once() -> None:
    model = make_model()
    runs = []
    # deepcopy takes a function as it is, so the hook counts the runs of copies too.
    model.architecture.register_forward_hook(lambda *_: runs.append(1))
    for _ in range(3):
        model.compute_output_shape(Coordinate(24, 28))
    assert len(runs) == 1


def test_scale_is_that_of_the_architecture() -> None:
    model = make_model(upsample_factors=[(2, 3)], input_shape=(32, 32))
    assert model.scale(Coordinate(8, 6)) == Coordinate(4, 2)


def test_equal_random_state_gives_equal_weights() -> None:
    torch.manual_seed(3)
    one = make_model()
    torch.manual_seed(3)
    other = make_model()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
