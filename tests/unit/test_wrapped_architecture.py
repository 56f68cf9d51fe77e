"""Networks of other packages, wrapped and measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError, MissingDependencyError
from dacapo.experiments.architectures import Architecture, ArchitectureConfig, WrappedArchitectureConfig
from dacapo.experiments.block_plan import plan_blocks
from dacapo.experiments.run import Run
from dacapo.inference.prediction import predict_array
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import from_plain, to_plain
from dacapo.store.create_store import create_config_store
from dacapo.testing.architecture import ArchitectureContract, SeamlessArchitectureContract
from dacapo.train import train
from tests.helpers.prediction import numpy_array, whole_pass
from tests.helpers.runs import affinities_run_config, unet_config


class Small(torch.nn.Module):
    """A U-Net of one level in 2D or 3D, padded or not, that knows nothing of this package."""

    def __init__(
        self, dims: int, pool: int = 2, padding: int = 0, enlarge: int = 1, norm: bool = False, odd: str = ""
    ) -> None:
        super().__init__()
        conv = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dims]
        self.odd = odd
        self.first = conv(1, 3, 3, padding=padding)
        self.pool = {2: torch.nn.MaxPool2d, 3: torch.nn.MaxPool3d}[dims](pool)
        self.low = conv(3, 3, 3, padding=padding)
        self.up = torch.nn.Upsample(scale_factor=pool)
        self.norm = {2: torch.nn.InstanceNorm2d, 3: torch.nn.InstanceNorm3d}[dims](3) if norm else torch.nn.Identity()
        self.last = conv(6, 5, 3, padding=padding)
        self.enlarge = torch.nn.Upsample(scale_factor=enlarge) if enlarge > 1 else torch.nn.Identity()

    def forward(self, x: torch.Tensor) -> Any:
        first = torch.relu(self.first(x))
        low = self.norm(self.up(torch.relu(self.low(self.pool(first)))))
        crop = [(a - b) // 2 for a, b in zip(first.shape[2:], low.shape[2:], strict=True)]
        inner = tuple(slice(c, c + s) for c, s in zip(crop, low.shape[2:], strict=True))
        out = self.enlarge(self.last(torch.cat([first[(..., *inner)], low], dim=1)))
        return {"": out, "tuple": (out, out), "vector": out.flatten(1), "train": (out,) if self.training else out}[
            self.odd
        ]


class Unet(torch.nn.Module):
    """The U-Net of this package, without what it says about itself."""

    def __init__(self, dims: int, **changes: Any) -> None:
        super().__init__()
        original = unet_config(dims, **changes)
        self.unet = original.architecture_type(original)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.unet(x)
        return out


class FixedShape(torch.nn.Module):
    """Takes inputs of 8 x 8 only, as a network with learned positions does."""

    def __init__(self) -> None:
        super().__init__()
        self.position = torch.nn.Parameter(torch.rand(1, 1, 8, 8))
        self.conv = torch.nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x + self.position)
        return out


class SeesAll(torch.nn.Module):
    """Adds the mean of the whole input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x) + x.mean(dim=(2, 3), keepdim=True)
        return out


class Coarse(torch.nn.Conv2d):
    """Returns one voxel for two."""

    def __init__(self) -> None:
        super().__init__(1, 1, 2, stride=2)


def config(cls: str = "Small", shape: tuple[int, ...] = (24, 20), **changes: Any) -> WrappedArchitectureConfig:
    arguments = {"dims": len(shape)} if cls == "Small" else {}
    arguments |= changes.pop("arguments", {})
    settings = {"name": "wrapped", "module": f"{__name__}:{cls}", "input_shape": shape, "num_in_channels": 1}
    return WrappedArchitectureConfig(**{**settings, "arguments": arguments, **changes})


def build(*args: Any, **kwargs: Any) -> Architecture:
    wrapped = config(*args, **kwargs)
    return wrapped.architecture_type(wrapped)


MONAI = "monai.networks.nets"
DYNUNET = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 4,
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "filters": [4, 6, 8],
}


class TestValid(SeamlessArchitectureContract):
    @pytest.fixture(params=[(24, 20), (16, 20, 16)], ids=["2d", "3d"])
    def architecture(self, request: pytest.FixtureRequest) -> Architecture:
        return build(shape=request.param)


class TestSame(SeamlessArchitectureContract):
    @pytest.fixture(params=[(24, 20), (16, 20, 16)], ids=["2d", "3d"])
    def architecture(self, request: pytest.FixtureRequest) -> Architecture:
        return build(shape=request.param, arguments={"padding": 1})


class TestSuperResolution(SeamlessArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        return build(arguments={"padding": 1, "enlarge": 2}, eval_shape_increase=(4, 8))

    def test_enlargement_is_measured(self, architecture: Architecture) -> None:
        assert architecture.scale(Coordinate(8, 4)) == Coordinate(4, 2)
        with pytest.raises(ConfigError, match="cannot be divided"):
            architecture.scale(Coordinate(8, 3))


class TestFixedShape(ArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        return build("FixedShape", (8, 8))

    def test_is_predicted_in_blocks_of_that_shape(self, architecture: Architecture) -> None:
        assert architecture.stride == Coordinate(8, 8)
        assert architecture.receptive_halo == Coordinate(0, 0)


class TestDynUNet(SeamlessArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        pytest.importorskip(MONAI)
        arguments = {**DYNUNET, "norm_name": ["batch", {"momentum": 0.2}]}
        return build("", (32, 32, 32), module=f"{MONAI}:DynUNet", arguments=arguments)

    def test_is_measured(self, architecture: Architecture) -> None:
        assert architecture.num_out_channels == 4
        assert architecture.stride == Coordinate(4, 4, 4)
        # Two convolutions at 1 and at 2 voxels on either way, two and a transposed one of 4: 2*2 + 4*2 + 2*4 = 20,
        # wherever in a step of 4 the output lies, and the convolution that comes with each pooling less.
        assert all(18 <= halo <= 24 for halo in architecture.receptive_halo)


class TestDynUNetThatNormalizesInstances(ArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        pytest.importorskip(MONAI)
        return build("", (32, 32, 32), module=f"{MONAI}:DynUNet", arguments=DYNUNET)

    def test_the_statistics_do_not_count(self, architecture: Architecture) -> None:
        assert max(architecture.receptive_halo) < 32


class TestSwinUNETR(ArchitectureContract):
    @pytest.fixture
    def architecture(self) -> Architecture:
        pytest.importorskip(MONAI)
        arguments = {"in_channels": 1, "out_channels": 4, "feature_size": 12, "spatial_dims": 2}
        return build("", (64, 64), module=f"{MONAI}:SwinUNETR", arguments=arguments, stride=(32, 32))

    def test_sees_as_far_as_it_was_trained(self, architecture: Architecture) -> None:
        assert architecture.num_out_channels == 4
        assert min(architecture.receptive_halo) >= 31


@pytest.mark.parametrize(
    ("arguments", "stride", "halo"),
    [
        # By hand: pool of p after one convolution, one at p voxels, one more: at worst the output voxel is the last of
        # its p, and sees 1 + (p + p - 1) + 1 voxels to one side.
        ({"pool": 2, "padding": 1}, 2, 5),
        # Without padding: half of the 8 voxels that are lost.
        ({"pool": 2, "padding": 0}, 2, 4),
        ({"pool": 4, "padding": 1}, 4, 9),
    ],
)
def test_stride_and_halo_are_those_of_a_calculation(arguments: dict[str, int], stride: int, halo: int) -> None:
    architecture = build(shape=(48, 40), arguments=arguments)
    assert architecture.stride == Coordinate(stride, stride)
    # Not below, and at most the rest of a step above.
    assert all(halo <= measured < halo + stride for measured in architecture.receptive_halo)


def test_reach_beyond_the_input_is_measured_on_a_longer_one() -> None:
    assert build(shape=(8, 48), arguments={"pool": 4, "padding": 1}).receptive_halo[0] >= 9


def test_a_measured_halo_does_not_depend_on_what_was_learned() -> None:
    architecture = build(arguments={"padding": 1})
    expected = build(arguments={"padding": 1}).receptive_halo
    with torch.no_grad():
        for parameter in architecture.parameters():
            parameter.zero_()
    before = torch.get_rng_state()
    with torch.no_grad():
        assert architecture.receptive_halo == expected
    assert torch.equal(before, torch.get_rng_state())
    assert all(not parameter.any() for parameter in architecture.parameters())
    assert architecture.training


def test_instance_normalization_is_left_out_of_the_halo() -> None:
    assert (
        build(arguments={"padding": 1, "norm": True}).receptive_halo == build(arguments={"padding": 1}).receptive_halo
    )


def test_a_network_that_sees_everything_gets_the_context_it_was_trained_with() -> None:
    architecture = build("SeesAll", (8, 12))
    assert architecture.stride == Coordinate(1, 1)
    assert architecture.receptive_halo == Coordinate(8, 12)


def test_given_stride_and_halo_are_taken() -> None:
    architecture = build(stride=(6, 4), halo=(7, 9))
    assert architecture.stride == Coordinate(6, 4)
    assert architecture.receptive_halo == Coordinate(7, 9)


def test_weights_follow_the_random_state() -> None:
    def weights() -> torch.Tensor:
        torch.manual_seed(3)
        return next(build().parameters()).detach()

    assert torch.equal(weights(), weights())


def test_config_holds_plain_values_and_round_trips() -> None:
    written = config(arguments={"a": (1, 2.5), "b": {"c": [None, "x", True]}}, halo=[1, 2])
    assert written.arguments == {"dims": 2, "a": [1, 2.5], "b": {"c": [None, "x", True]}}
    assert from_plain(to_plain(written), ArchitectureConfig) == written
    with pytest.raises(TypeError, match="arguments must be numbers, strings"):
        config(arguments={"a": Path()})
    with pytest.raises(ConfigError, match="arguments: expected names with values"):
        from_plain({**to_plain(written), "arguments": [1]}, ArchitectureConfig)


WRONG = {
    "no package": (
        {"module": "no_such_package.nets:Net"},
        MissingDependencyError,
        "needs the package no_such_package, which is not installed",
    ),
    "no module": (
        {"module": "torch.nn.nets:Net"},
        ConfigError,
        "no module torch.nn.nets in the package torch",
    ),
    "no class": ({"module": "torch.nn:Con2d"}, ConfigError, "torch.nn has no Con2d; did you mean Conv2d"),
    "a function": ({"module": "os:system"}, ConfigError, "is not a torch.nn.Module but builtin_function"),
    "another class": ({"module": "pathlib.Path"}, ConfigError, "is not a torch.nn.Module but type Path"),
    "code": ({"module": "os; import sys:x"}, ConfigError, "is not an import path"),
    "relative": ({"module": ".nets:Net"}, ConfigError, "is not an import path"),
    "nothing": ({"module": "Conv2d"}, ConfigError, "is not an import path"),
    "unknown argument": ({"arguments": {"depth": 3}}, ConfigError, "with these arguments: TypeError: .*'depth'"),
    "other channels": (
        {"num_in_channels": 2},
        ConfigError,
        r"does not run on 2 channels of shape \(24, 20\): .*channels",
    ),
    "small input": ({"input_shape": (4, 4)}, ConfigError, "does not run on 1 channels of shape"),
    "larger eval": ({"cls": "FixedShape", "shape": (8, 8), "eval_shape_increase": (1, 1)}, ConfigError, r"\(9, 9\)"),
    "tuple": ({"arguments": {"odd": "tuple"}}, ConfigError, "returned tuple, expected one tensor"),
    "vector": ({"arguments": {"odd": "vector"}}, ConfigError, "returned a tensor of shape"),
    "no channels": ({"num_in_channels": 0}, ConfigError, "num_in_channels must be an integer of at least 1"),
    "channels as text": ({"num_in_channels": "one"}, ConfigError, "an integer of at least 1, got 'one'"),
    "shape left out": ({"input_shape": None}, ConfigError, "input_shape needs numbers of at least 1, got None"),
    "module left out": ({"module": None}, ConfigError, "module must be an import path"),
    "no shape": ({"input_shape": (0, 8)}, ConfigError, "input_shape needs numbers of at least 1"),
    "stride": ({"stride": (0, 1)}, ConfigError, "stride needs 2 numbers of at least 1"),
    "halo": ({"halo": (1, 1, 1)}, ConfigError, "halo needs 2 numbers of at least 0"),
    "increase": ({"eval_shape_increase": (-1, 0)}, ConfigError, "eval_shape_increase needs 2 numbers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_work_is_said(name: str) -> None:
    changes, error, message = WRONG[name]
    wrong = config(**changes)
    with pytest.raises(error, match=message):
        wrong.architecture_type(wrong)
    works, why = wrong.verify()
    assert not works
    assert "\n" not in why


def test_what_works_is_fine() -> None:
    state = torch.get_rng_state()
    assert config().verify()[0]
    assert torch.equal(state, torch.get_rng_state())


def test_a_package_that_needs_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingDependencyError, match="'needy:Net' needs the package no_such_package"):
        build("Net", module="needy:Net")
    assert "needy" not in sys.modules


def test_another_output_in_training_is_said_when_it_comes() -> None:
    architecture = build(arguments={"odd": "train"})
    with pytest.raises(ConfigError, match="in training too"):
        architecture(torch.rand(1, 1, 24, 20))


def test_a_coarser_output_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"fewer voxels than it takes .1/2, 1/2"):
        build("Coarse", (8, 8)).scale(Coordinate(4, 4))


@pytest.mark.parametrize(
    ("dims", "arguments", "shape"),
    [(2, {"padding": 1}, (61, 53)), (2, {"pool": 4, "padding": 1}, (90, 67)), (3, {}, (33, 41, 30))],
)
def test_blocks_equal_one_whole_pass(
    tmp_path: Path, dims: int, arguments: dict[str, int], shape: tuple[int, ...]
) -> None:
    architecture = config(shape=(24, 28, 20)[:dims], arguments=arguments)
    run = Run(affinities_run_config(tmp_path, dims=dims, architecture_config=architecture))
    run.model.eval()
    raw = numpy_array(shape, (8, 4, 4)[-dims:])
    plan = plan_blocks(run.model, raw)
    assert any(s > w for s, w in zip(plan.output_roi.shape, plan.write_shape, strict=True))
    target = LocalArrayIdentifier(tmp_path / "out.zarr", "p")
    output = predict_array(run, raw, target, output_dtype=np.float32, block_shape=plan.write_shape)
    np.testing.assert_allclose(output[output.roi], whole_pass(run, raw), atol=1e-5)


def test_a_network_of_a_fixed_shape_predicts_block_by_block(tmp_path: Path) -> None:
    architecture = config("FixedShape", (8, 8))
    run = Run(affinities_run_config(tmp_path, dims=2, architecture_config=architecture))
    raw = numpy_array((21, 16), (4, 4))
    output = predict_array(run, raw, LocalArrayIdentifier(tmp_path / "out.zarr", "p"), output_dtype=np.float32)
    with torch.inference_mode():
        corner = run.model.eval()(torch.from_numpy(raw.data[None, None, 8:16, 8:16]))[0].numpy()
    np.testing.assert_allclose(output[output.roi][:, 8:16, 8:16], corner, atol=1e-6)


def test_a_stored_run_trains(options: DaCapoConfig, tmp_path: Path) -> None:
    architecture = config(shape=(20, 20), arguments={"padding": 1})
    run_config = affinities_run_config(
        tmp_path, dims=2, architecture_config=architecture, num_iterations=2, validation_interval=2
    )
    create_config_store().store_run_config(run_config)
    assert create_config_store().retrieve_run_config(run_config.name) == run_config
    run = train(run_config.name)
    assert run.training_stats.trained_until() == 2
    assert run.validation_scores.validated_until() > 0


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("shape", "factors"), [((28, 36), [(2, 2)]), ((44, 44), [(2, 2), (2, 2)]), ((20, 20, 28), [(1, 2, 2)])]
)
def test_a_wrapped_network_of_this_package_is_measured_as_it_says(
    shape: tuple[int, ...], factors: list[tuple[int, ...]], padding: str
) -> None:
    changes = {"downsample_factors": factors, "padding": padding, "input_shape": shape}
    original = unet_config(len(shape), **changes)
    built = original.architecture_type(original)
    architecture = build("Unet", shape, arguments={"dims": len(shape), **changes})
    assert architecture.stride == built.stride
    assert architecture.num_out_channels == original.fmaps_out
    measured = architecture.receptive_halo
    if padding == "valid":
        assert measured == built.receptive_halo
    else:
        bounds = zip(built.receptive_halo, measured, built.stride, strict=True)
        assert all(said <= halo < said + step for said, halo, step in bounds)
