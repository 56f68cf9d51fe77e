"""The U-Net: recorded outputs, shapes, halos and errors."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from funlib.geometry import Coordinate
from hypothesis import given, settings
from hypothesis import strategies as st

from dacapo.errors import ConfigError
from dacapo.experiments.architectures import Architecture, ArchitectureConfig, CNNectomeUNet, CNNectomeUNetConfig
from dacapo.experiments.architectures.unet_layers import Upsample, center_crop
from dacapo.experiments.model import Model
from dacapo.store.converter import from_plain, to_plain
from dacapo.testing.architecture import ArchitectureContract, SeamlessArchitectureContract
from tests.helpers.golden_data import item_arrays, items, load_arrays

SMALL = {"name": "small", "fmaps_in": 1, "fmaps_out": 3, "num_fmaps": 2, "fmap_inc_factor": 2}

# Recorded with convolutions that ignore padding='same' after the extra upsampling; ours are padded like the others.
SUPER_RESOLUTION_SAME = "3d_super_resolution"


def make_config(**parameters: Any) -> CNNectomeUNetConfig:
    return CNNectomeUNetConfig(**{**SMALL, **parameters})


def recorded_model(item: str) -> Model:
    entry = items("unet")[item]
    architecture = CNNectomeUNet(CNNectomeUNetConfig(name=item, **entry["parameters"]))
    head = (torch.nn.Conv2d, torch.nn.Conv3d)[architecture.dims - 2]
    return Model(architecture, head(architecture.num_out_channels, entry["head_out_channels"], 1), torch.nn.Sigmoid())


@pytest.mark.parametrize("item", items("unet"))
def test_recorded_names_and_shapes(item: str) -> None:
    entry, model = items("unet")[item], recorded_model(item)
    state = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert list(state) == list(entry["state_dict"])
    assert state == entry["state_dict"]
    assert {n: list(t.shape) for n, t in model.architecture.state_dict().items()} == entry["architecture_state_dict"]
    assert list(model.input_shape) == entry["input_shape"]
    assert list(model.eval_input_shape) == entry["eval_input_shape"]
    assert list(model.architecture.eval_shape_increase) == entry["eval_shape_increase"]
    assert model.architecture.dims == entry["dims"]
    assert model.num_in_channels == entry["num_in_channels"]
    assert model.architecture.num_out_channels == entry["num_out_channels_architecture"]
    assert model.num_out_channels == entry["num_out_channels_model"]
    assert list(model.scale(Coordinate(entry["scale_of"]["voxel_size"]))) == entry["scale_of"]["result"]
    if item == SUPER_RESOLUTION_SAME:
        assert model.output_shape == model.input_shape * 2
        return
    assert list(model.output_shape) == entry["output_shape"]
    channels, shape = model.compute_output_shape(model.eval_input_shape)
    expected = entry["compute_output_shape_of_eval_input_shape"]
    assert (channels, list(shape)) == (expected["channels"], expected["shape"])


@pytest.mark.parametrize("item", items("unet"))
def test_recorded_outputs(item: str) -> None:
    model, arrays = recorded_model(item), item_arrays("unet", item)
    file = items("unet")[item]["parameters_file"].removesuffix(".npz")
    model.load_state_dict({name: torch.from_numpy(array) for name, array in load_arrays(file).items()})
    x = torch.from_numpy(arrays["input"])
    with torch.no_grad():
        trained, evaluated = model.train()(x), model.eval()(x)
    if item == SUPER_RESOLUTION_SAME:
        # Away from the border, padded and unpadded convolutions give the same.
        trained = center_crop(trained, items("unet")[item]["output_shape"])
    compared = 0
    for key, got in (("output_train", trained), ("output_eval", evaluated)):
        for name, step in ((key, 1), (f"{key}_every_third", 3)):
            if name in arrays:
                got_part = got[(..., *[slice(None, None, step)] * model.architecture.dims)]
                torch.testing.assert_close(got_part, torch.from_numpy(arrays[name]), atol=1e-4, rtol=1e-4)
                compared += 1
    assert compared


TWICE = [(2, 2, 2), (1, 2, 2)]
UPSAMPLED = {
    "2d": {"upsample_factors": [(2, 2)]},
    "2d twice": {"upsample_factors": [(2, 2), (1, 3)]},
    "2d learned": {"upsample_factors": [(2, 2)], "constant_upsample": False},
    "2d one small kernel": {"upsample_factors": [(2, 2)], "kernel_size_up": [[(1, 1)]]},
    "2d other kernels": {"upsample_factors": [(3, 2)], "kernel_size_up": [[(5, 3), (3, 5), (1, 3)]]},
    "2d other kernels, learned, padded": {
        "upsample_factors": [(2, 2), (2, 2)],
        "kernel_size_up": [[(1, 3)]],
        "constant_upsample": False,
        "padding": "same",
    },
    "3d": {"upsample_factors": TWICE[:1]},
    "3d twice": {"upsample_factors": TWICE},
    "3d learned": {"upsample_factors": TWICE, "constant_upsample": False},
    "3d flat kernels": {
        "upsample_factors": TWICE,
        "kernel_size_down": [[(1, 3, 3)], [(3, 3, 3)]],
        "kernel_size_up": [[(1, 3, 3)]],
    },
    "3d attention": {"upsample_factors": TWICE, "use_attention": True, "padding": "same"},
}


@pytest.mark.parametrize("case", UPSAMPLED)
def test_names_and_shapes_after_upsample_factors(case: str) -> None:
    """Each enlargement is a mix of single voxels and two convolutions of size 3, whatever the U-Net is made of."""
    dims = int(case[0])
    common = {"input_shape": (32,) * dims, "downsample_factors": [(2,) * dims]}
    changes = UPSAMPLED[case]
    plain = {name: value for name, value in changes.items() if name != "upsample_factors"}
    unet = CNNectomeUNet(make_config(**common, **plain)).state_dict()
    expected = {name.replace("unet.", "unet.0.", 1): tuple(tensor.shape) for name, tensor in unet.items()}
    for index in range(len(changes["upsample_factors"])):
        first = 1 + 2 * index
        sizes = {f"{first}.up.1": 1, f"{first + 1}.conv_pass.0": 3, f"{first + 1}.conv_pass.2": 3}
        for name, size in sizes.items():
            expected[f"unet.{name}.weight"] = (3, 3) + (size,) * dims
            expected[f"unet.{name}.bias"] = (3,)

    upsampled = CNNectomeUNet(make_config(**common, **changes))

    assert {name: tuple(tensor.shape) for name, tensor in upsampled.state_dict().items()} == expected
    stored = {name: torch.rand(shape) for name, shape in expected.items()}
    upsampled.load_state_dict(stored)
    x = torch.rand(1, 1, *upsampled.input_shape)
    with torch.no_grad():
        out = upsampled(x)
        low = CNNectomeUNet(make_config(**common, **plain))
        low.load_state_dict({n.replace(".0", "", 1): t for n, t in stored.items() if n.startswith("unet.0.")})
        followed = low(x)
        convolve = (torch.nn.functional.conv2d, torch.nn.functional.conv3d)[dims - 2]
        for index, factors in enumerate(changes["upsample_factors"]):
            first = 1 + 2 * index
            for axis, factor in enumerate(factors, start=2):
                followed = followed.repeat_interleave(factor, axis)
            for name in (f"{first}.up.1", f"{first + 1}.conv_pass.0", f"{first + 1}.conv_pass.2"):
                padding = "same" if "padding" in changes else "valid"
                weight, bias = stored[f"unet.{name}.weight"], stored[f"unet.{name}.bias"]
                followed = torch.relu(convolve(followed, weight, bias, padding=padding))
    torch.testing.assert_close(out, followed, rtol=1e-4, atol=1e-4)


class TestValid(SeamlessArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        return CNNectomeUNet(
            make_config(input_shape=(44, 48), downsample_factors=[(2, 2), (2, 2)], eval_shape_increase=(4, 8))
        )


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
class TestSame(SeamlessArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        config = make_config(
            input_shape=(12, 24),
            downsample_factors=[(1, 3), (2, 2)],
            kernel_size_down=[[(1, 3)], [(3, 3)], [(3, 2)]],
            kernel_size_up=[[(3, 3)], [(1, 4)]],
            padding="same",
            constant_upsample=False,
        )
        return CNNectomeUNet(config)


class TestSame3DSuperResolution(SeamlessArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        config = make_config(
            input_shape=(8, 8, 8), downsample_factors=[(2, 2, 2)], upsample_factors=[(2, 1, 3)], padding="same"
        )
        return CNNectomeUNet(config)


class TestValidSuperResolution(SeamlessArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        return CNNectomeUNet(
            make_config(input_shape=(28, 32), downsample_factors=[(2, 2)], upsample_factors=[(2, 2), (1, 2)])
        )


class TestAttention(ArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        config = make_config(input_shape=(44, 44), downsample_factors=[(2, 2), (2, 2)], use_attention=True)
        return CNNectomeUNet(config)


def smooth(architecture: CNNectomeUNet) -> CNNectomeUNet:
    """Let every output depend on all inputs it can see: means in place of maxima, positive weights."""
    for module in architecture.modules():
        for name, child in module.named_children():
            if isinstance(child, (torch.nn.MaxPool2d, torch.nn.MaxPool3d)):
                pool = (torch.nn.AvgPool2d, torch.nn.AvgPool3d)[architecture.dims - 2]
                setattr(module, name, pool(child.kernel_size))
    with torch.no_grad():
        for parameter in architecture.parameters():
            parameter.abs_().add_(0.1)
    return architecture.double()


SEEN = {
    "default": {"downsample_factors": [(2, 2), (2, 2)]},
    "threes": {"downsample_factors": [(3, 2)], "kernel_size_up": [[(3, 1)]]},
    "even kernels": {"downsample_factors": [(2, 2)], "kernel_size_down": [[(2, 4)], [(4, 3)]]},
    "super-resolution": {"downsample_factors": [(2, 2)], "upsample_factors": [(3, 2)]},
    "learned": {"downsample_factors": [(2, 3), (2, 1)], "constant_upsample": False},
}


@pytest.mark.parametrize("case", SEEN)
def test_halo_of_padded_networks_is_what_gradients_show(case: str) -> None:
    probe = CNNectomeUNet(make_config(input_shape=(72, 72), padding="same", **SEEN[case]))
    architecture = smooth(probe)
    x = torch.rand(1, 1, 72, 72, dtype=torch.double, requires_grad=True)
    out = architecture(x)
    geometry, needed = architecture.geometry, [0, 0]
    for axis in range(2):
        scale = geometry.enlargement(axis)
        crop = (72 * scale - out.shape[axis + 2]) // 2
        middle = 36 * scale // (geometry.stride(axis) * scale) * geometry.stride(axis) * scale
        for voxel in range(middle, middle + geometry.stride(axis) * scale):
            (gradient,) = torch.autograd.grad(out.select(axis + 2, voxel - crop).sum(), x, retain_graph=True)
            seen = gradient[0, 0].sum(1 - axis).nonzero().flatten()
            low, high = int(seen[0]), int(seen[-1]) + 1
            assert geometry.sees(axis, voxel, voxel + 1) == (low, high)
            needed[axis] = max(needed[axis], voxel // scale - low, high - -(-(voxel + 1) // scale))
    assert list(architecture.receptive_halo) == needed


def test_halo_of_padded_attention_covers_what_gradients_show() -> None:
    config = make_config(input_shape=(64, 64), downsample_factors=[(2, 2)], padding="same", use_attention=True)
    architecture = smooth(CNNectomeUNet(config))
    x = torch.rand(1, 1, 64, 64, dtype=torch.double, requires_grad=True)
    out = architecture(x)
    halo = architecture.receptive_halo[0]
    for voxel in (24, 32, 33):
        (gradient,) = torch.autograd.grad(out[:, :, voxel].sum(), x, retain_graph=True)
        seen = gradient[0, 0].sum(1).nonzero().flatten()
        assert voxel - int(seen[0]) <= halo
        assert int(seen[-1]) - voxel <= halo


def test_halo_of_unpadded_networks_is_what_they_lose() -> None:
    valid = CNNectomeUNet(make_config(input_shape=(60, 44), downsample_factors=[(2, 2), (2, 2)]))
    assert valid.receptive_halo == Coordinate(20, 20)
    assert valid.stride == Coordinate(4, 4)
    finer = CNNectomeUNet(
        make_config(input_shape=(28, 32), downsample_factors=[(2, 2)], upsample_factors=[(2, 2), (1, 2)])
    )
    # The output covers 8 and 13 voxels of the input.
    assert finer.receptive_halo == Coordinate(10, 10)


FACTORS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=2)
KERNEL = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40)
@given(
    factors=FACTORS,
    data=st.data(),
    padding=st.sampled_from(["valid", "same"]),
    shape=st.tuples(st.integers(1, 48), st.integers(1, 48)),
)
def test_predicted_sizes_are_those_of_the_network(
    factors: list[tuple[int, int]], data: st.DataObject, padding: str, shape: tuple[int, int]
) -> None:
    kernels = st.lists(KERNEL, min_size=1, max_size=2)
    levels = len(factors)
    config = make_config(
        input_shape=shape,
        downsample_factors=factors,
        kernel_size_down=data.draw(st.lists(kernels, min_size=levels + 1, max_size=levels + 1)),
        kernel_size_up=data.draw(st.lists(kernels, min_size=levels, max_size=levels)),
        upsample_factors=data.draw(st.one_of(st.none(), FACTORS)),
        padding=padding,
        num_fmaps=1,
        fmaps_out=1,
    )
    geometry = config.geometry()
    usable, reason = config.verify()
    assert usable == (geometry.find_problem(shape) is None)
    if usable:
        out = CNNectomeUNet(config)(torch.rand(1, 1, *shape))
        assert tuple(out.shape[2:]) == tuple(geometry.output_size(axis, size) for axis, size in enumerate(shape))
        return
    for suggestion in re.findall(r"\((\d+), (\d+)\)", reason)[1:]:
        suggested = tuple(int(number) for number in suggestion)
        assert geometry.find_problem(suggested) is None
    larger = re.search(r"larger shape that works is \((\d+), (\d+)\)", reason)
    assert larger is not None
    for axis, size in enumerate(shape):
        found = int(larger.group(axis + 1))
        assert found >= size
        assert not any(geometry.is_usable(axis, between) for between in range(size, found))


def test_an_unusable_shape_names_level_size_and_what_works() -> None:
    config = make_config(input_shape=(60, 62), downsample_factors=[(2, 2), (2, 2)])
    with pytest.raises(ConfigError) as error:
        CNNectomeUNet(config)
    message = str(error.value)
    assert "axis 1: 25 voxels at level 1 on the way down cannot be divided by the downsample factor 2" in message
    assert "(60, 64)" in message
    assert "(60, 60)" in message
    assert config.verify() == (False, message)


def test_no_smaller_shape_works() -> None:
    ok, reason = make_config(input_shape=(8, 8), downsample_factors=[(2, 2), (2, 2)]).verify()
    assert not ok
    assert "no smaller one works" in reason
    assert "(44, 44)" in reason


def test_an_unusable_shape_in_prediction() -> None:
    config = make_config(input_shape=(60, 60), downsample_factors=[(2, 2), (2, 2)], eval_shape_increase=(16, 6))
    ok, reason = config.verify()
    assert not ok
    assert "input_shape + eval_shape_increase, (76, 66), cannot be used" in reason
    with pytest.raises(ConfigError, match="eval_shape_increase"):
        CNNectomeUNet(config)


def test_an_unusable_input_at_run_time() -> None:
    architecture = CNNectomeUNet(make_config(input_shape=(60, 60), downsample_factors=[(2, 2), (2, 2)]))
    with pytest.raises(ConfigError, match=re.escape("input of shape (60, 61)")):
        architecture(torch.rand(1, 1, 60, 61))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fmaps_in": 0}, "fmaps_in must be an integer of at least 1"),
        ({"num_fmaps": 0}, "num_fmaps must be an integer of at least 1"),
        ({"padding": "reflect"}, "padding must be 'valid' or 'same'"),
        ({"input_shape": (60,)}, "2 or 3 axes"),
        ({"downsample_factors": []}, "at least one level"),
        ({"downsample_factors": [(2, 2, 2)]}, "downsample_factors needs 2 numbers"),
        ({"downsample_factors": [(2, 0)]}, "downsample_factors needs 2 numbers of at least 1"),
        ({"upsample_factors": [(2,)]}, "upsample_factors needs 2 numbers"),
        ({"kernel_size_down": [[(3, 3)]]}, "kernel_size_down needs 2 lists"),
        ({"kernel_size_up": [[(3, 3)], [(3, 3)]]}, "kernel_size_up needs 1 lists"),
        ({"kernel_size_up": [[]]}, "kernel_size_up has an empty list"),
        ({"kernel_size_down": [[(3, 3)], [(3, 3, 3)]]}, "kernel_size_down needs 2 numbers"),
        ({"kernel_size_up": [(3, 3)]}, "kernel_size_up needs 2 numbers"),
        ({"upsample_factors": [(2, 2), (2, 2, 2)]}, "upsample_factors needs 2 numbers"),
        ({"input_shape": (60, 60, 60)}, "downsample_factors needs 3 numbers of at least 1 for each entry, got (2, 2)"),
        ({"input_shape": None}, "input_shape must have 2 or 3 axes"),
        ({"downsample_factors": None}, "at least one level"),
        ({"eval_shape_increase": (2,)}, "eval_shape_increase"),
        ({"eval_shape_increase": (-4, -4)}, "eval_shape_increase needs 2 numbers of at least 0"),
        ({"fmaps_in": "one"}, "fmaps_in must be an integer of at least 1, got 'one'"),
        ({"fmaps_out": 1.5}, "fmaps_out must be an integer of at least 1, got 1.5"),
        ({"num_fmaps": None}, "num_fmaps must be an integer of at least 1, got None"),
    ],
)
def test_what_cannot_work_is_said_by_verify_and_on_building(changes: dict[str, Any], message: str) -> None:
    config = make_config(**{"input_shape": (60, 60), "downsample_factors": [(2, 2)], **changes})
    ok, reason = config.verify()
    assert not ok
    assert message in reason
    with pytest.raises(ConfigError, match=re.escape(message)):
        CNNectomeUNet(config)


def test_verify_of_a_good_config() -> None:
    assert make_config(input_shape=(60, 60), downsample_factors=[(2, 2)]).verify()[0]


def test_config_round_trip() -> None:
    config = make_config(
        input_shape=(60, 60),
        downsample_factors=[(2, 2)],
        kernel_size_up=[[(3, 3), (1, 1)]],
        eval_shape_increase=(4, 4),
        upsample_factors=[(1, 2)],
    )
    assert from_plain(to_plain(config), ArchitectureConfig) == config
    assert to_plain(config)["_eval_shape_increase"] == [4, 4]


def test_voxel_size_that_upsampling_would_split() -> None:
    config = make_config(input_shape=(28, 28), downsample_factors=[(2, 2)], upsample_factors=[(2, 2)])
    with pytest.raises(ConfigError, match="cannot be divided by the upsample factors"):
        CNNectomeUNet(config).scale(Coordinate(4, 5))


@pytest.mark.parametrize("given", [Coordinate(8, 8, 8), Coordinate(8)])
def test_data_of_another_number_of_axes(given: Coordinate) -> None:
    architecture = CNNectomeUNet(make_config(input_shape=(28, 28), downsample_factors=[(2, 2)]))
    model = Model(architecture, torch.nn.Conv2d(3, 1, 1))
    for scale in (architecture.scale, model.scale, model.context):
        with pytest.raises(ConfigError, match=rf"has {given.dims} axes, but the network takes 2D input"):
            scale(given)
    with pytest.raises(ConfigError, match="has 3 axes, but the network takes 2D input"):
        architecture(torch.rand(1, 1, 28, 28, 28))


def test_repeating_after_mixing_is_the_same_as_before() -> None:
    up = Upsample((2, 3), 4, 5, constant=True)
    x = torch.randn(2, 4, 3, 4)
    torch.testing.assert_close(up(x), up.up(x))


def test_crop_is_a_view() -> None:
    x = torch.rand(1, 1, 9, 8)
    cropped = center_crop(x, (4, 4))
    assert cropped.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    torch.testing.assert_close(cropped, x[:, :, 2:6, 2:6])


@pytest.mark.parametrize("constant", [True, False])
def test_initial_weights_keep_the_variance(constant: bool) -> None:
    """He et al. 2015: activations neither vanish nor explode on their way through many layers."""
    config = make_config(
        input_shape=(32, 32),
        downsample_factors=[(2, 2), (2, 2)],
        num_fmaps=24,
        fmaps_out=24,
        padding="same",
        constant_upsample=constant,
    )
    with torch.no_grad():
        out = CNNectomeUNet(config)(torch.randn(1, 1, 32, 32))
    assert 0.1 < float(out.std()) < 10


def test_module_gives_a_second_network_of_its_own_weights() -> None:
    architecture = CNNectomeUNet(make_config(input_shape=(28, 28), downsample_factors=[(2, 2)]))
    other = architecture.module()
    assert list(other.state_dict()) == list(architecture.unet.state_dict())
    pairs = zip(other.parameters(), architecture.unet.parameters(), strict=True)
    assert all(a is not b for a, b in pairs)


def test_output_is_the_center_of_the_input() -> None:
    geometry = make_config(input_shape=(44, 44), downsample_factors=[(2, 2), (2, 2)]).geometry()
    usable = [size for size in range(1, 100) if geometry.is_usable(0, size)]
    assert usable == list(range(44, 100, 4))
    assert all((size - geometry.output_size(0, size)) % 2 == 0 for size in usable)
