"""Prediction in blocks equals one pass over the whole volume, for hundreds of small networks.

One pass is defined by training alone: the network sees the volume, continued by reflection, in an input that differs
from that of the training by whole steps, and its output lies where a sample's target lies.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError
from dacapo.experiments.architectures import (
    ArchitectureConfig,
    CNNectomeUNetConfig,
    ResidualUNetConfig,
    WrappedArchitectureConfig,
)
from dacapo.experiments.block_plan import BlockPlan, plan_blocks
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.model import Model
from dacapo.experiments.run import Run
from dacapo.experiments.trainers.regions import sample_regions
from dacapo.inference.prediction import BlockPredictor, as_network_input
from dacapo.utils.padding import read_reflected
from tests.helpers.networks import Plain, PlainConfig
from tests.helpers.runs import affinities_run_config

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")

VOXELS = Coordinate(24, 12, 36)  # what all enlargements here divide
OFFSET = 72
MOST = 5  # blocks of each prediction, besides its first and last


class Pooled(torch.nn.Module):
    """Sizes that pooling does not divide, rounded down or up, and kernels of any size."""

    def __init__(self, kernel: int, padding: int, pool: int, ceil_mode: bool, last: int = 1, enlarge: int = 1) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 3, kernel, padding=padding)
        self.pool = torch.nn.MaxPool2d(pool, ceil_mode=ceil_mode)
        self.up = torch.nn.Upsample(scale_factor=float(pool * enlarge), mode="nearest")
        self.last = torch.nn.Conv2d(3, 3, last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(self.up(self.pool(torch.relu(self.conv(x)))))
        return out


class Shifted(torch.nn.Module):
    """Pads on one side, with another number of voxels lost."""

    def __init__(self, before: int, after: int, kernel: int) -> None:
        super().__init__()
        self.margins = (before, after) * 2
        self.conv = torch.nn.Conv2d(1, 3, kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(torch.nn.functional.pad(x, self.margins))
        return out


def numpy_array(shape: tuple[int, ...]) -> NumpyArray:
    dims = len(shape)
    voxel_size = Coordinate(VOXELS[-dims:])
    values = np.random.default_rng(3).random(shape).astype(np.float32)
    roi = Roi((OFFSET,) * dims, Coordinate(shape) * voxel_size)
    return NumpyArray.from_np_array(values, roi, voxel_size, ["z", "y", "x"][-dims:])


def rounded_up(value: int, step: int) -> int:
    return -(-value // step) * step


def whole_pass(run: Run, raw: NumpyArray) -> np.ndarray:
    """Return what one pass predicts for each voxel of a volume, without the activation."""
    model, regions = run.model, sample_regions(run.model, raw.voxel_size)
    step = model.architecture.stride * raw.voxel_size
    before = regions.target_roi.begin
    after = regions.raw_roi.end - regions.target_roi.end
    begin, shape = [], []
    for axis in range(raw.dims):
        margin = rounded_up(before[axis], step[axis])
        size = margin + rounded_up(raw.roi.shape[axis], step[axis]) + rounded_up(after[axis], step[axis])
        size += (regions.raw_roi.shape[axis] - size) % step[axis]
        begin.append(raw.roi.begin[axis] - margin)
        shape.append(size)
    seen = Roi(begin, shape)
    with torch.inference_mode():
        output = model.chain(as_network_input(read_reflected(raw, seen), raw.axes, torch.device("cpu")))[0].numpy()
    first = (raw.roi.begin - seen.begin - before) / regions.target_voxel_size
    extent = raw.roi.shape / regions.target_voxel_size
    assert all(have >= f + need for have, f, need in zip(output.shape[1:], first, extent, strict=True))
    return output[(slice(None), *(slice(f, f + s) for f, s in zip(first, extent, strict=True)))]


def block_grid(plan: BlockPlan) -> list[Roi]:
    roi, shape = plan.output_roi, plan.write_shape
    starts = [range(b, b + s, w) for b, s, w in zip(roi.begin, roi.shape, shape, strict=True)]
    return [Roi(start, shape).intersect(roi) for start in itertools.product(*starts)]


def check_blocks(
    run: Run, raw: NumpyArray, expected: np.ndarray, roi: Roi, asked: Coordinate | None, draw: random.Random
) -> None:
    """Predict some blocks of a region, the first and the last among them, and compare them with what is expected."""
    plan = plan_blocks(run.model, raw, roi, asked)
    voxel_size = plan.output_voxel_size
    axes = ["c", *raw.axes]
    values = np.full((run.model.num_out_channels, *(roi.shape / voxel_size)), np.nan, np.float32)
    output = NumpyArray.from_np_array(values, plan.output_roi, voxel_size, axes)
    truth = NumpyArray.from_np_array(expected, raw.roi, voxel_size, axes)
    predictor = BlockPredictor(run, raw, plan, output, torch.device("cpu"))  # type: ignore[arg-type]
    blocks = block_grid(plan)
    for block in [blocks[0], blocks[-1], *draw.sample(blocks, min(len(blocks), MOST))]:
        predictor.process(block)
        np.testing.assert_allclose(output[block], truth[block], atol=1e-4)


def make_run(
    folder: Path, architecture: ArchitectureConfig, dims: int, head: Callable[..., torch.nn.Module] | None = None
) -> Run:
    """Return a run whose predictions spread around the middle of what they can be, for differences to show."""
    run = Run(affinities_run_config(folder, dims=dims, architecture_config=architecture))
    if head is not None:
        own = head(run.architecture.num_out_channels, dims)
        run.model = Model(run.architecture, own, torch.nn.Sigmoid())
    run.model.eval()
    weight, bias = run.model.prediction_head.parameters()
    raw, generator, spread = numpy_array(tuple(size + 4 for size in run.model.input_shape)), torch.Generator(), None
    with torch.no_grad():
        while spread is None or spread.min() < 3e-2:  # some weights would make a network that is 0 everywhere
            for parameter in run.model.parameters():
                bound = (3 / max(1, parameter[0].numel())) ** 0.5
                parameter.uniform_(-bound, 1.2 * bound, generator=generator)
            logits = torch.from_numpy(whole_pass(run, raw)).flatten(1)
            spread, middle = logits.std(dim=1), logits.mean(dim=1)
        weight /= spread.view(-1, *[1] * (dims + 1))
        bias.copy_((bias - middle) / spread)
    return run


def check(
    folder: Path,
    architecture: ArchitectureConfig,
    dims: int,
    seed: int,
    head: Callable[..., torch.nn.Module] | None = None,
) -> None:
    """Compare for an odd and an even volume, blocks of the default and of another size, and for a region."""
    draw = random.Random(seed)
    run = make_run(folder, architecture, dims, head)
    least = run.model.input_shape
    for odd in (0, 1):
        raw = numpy_array(
            tuple(size + draw.choice((4, 10) if dims == 2 else (4, 6)) + (size + odd) % 2 for size in least)
        )
        expected = 1 / (1 + np.exp(-whole_pass(run, raw)))
        assert expected.std() > 1e-3
        asked = Coordinate(
            max(4, size // draw.choice((2, 3))) * v for size, v in zip(least, raw.voxel_size, strict=True)
        )
        check_blocks(run, raw, expected, raw.roi, None, draw)
        check_blocks(run, raw, expected, raw.roi, asked, draw)
        voxel_size = run.model.scale(raw.voxel_size)
        lower, upper = (Coordinate(draw.randrange(3) * voxel for voxel in voxel_size) for _ in range(2))
        check_blocks(run, raw, expected, raw.roi.grow(-lower, -upper), asked, draw)


def unets(dims: int, number: int, seed: int) -> list[CNNectomeUNetConfig]:
    """Return U-Nets of random kernels, factors, paddings and enlargements, in the smallest shapes that they take."""
    draw = random.Random(seed)

    def sizes(choices: tuple[int, ...]) -> Coordinate:
        return Coordinate(draw.choice(choices) for _ in range(dims))

    def kernels(choices: tuple[int, ...], most: int) -> list[Coordinate]:
        return [sizes(choices) for _ in range(draw.randint(1, most))]

    found: list[CNNectomeUNetConfig] = []
    while len(found) < number:
        levels = draw.choice((1, 1, 2))
        choices = (1, 2, 3, 4) if dims == 2 else (1, 2, 3)
        config = CNNectomeUNetConfig(
            name=f"unet{len(found)}",
            input_shape=Coordinate((1,) * dims),
            fmaps_in=1,
            fmaps_out=2,
            num_fmaps=2,
            fmap_inc_factor=1,
            downsample_factors=[sizes((1, 2, 3)) for _ in range(levels)],
            kernel_size_down=draw.choice([None, [kernels(choices, 2) for _ in range(levels + 1)]]),
            kernel_size_up=draw.choice([None, [kernels(choices, 2) for _ in range(levels)]]),
            upsample_factors=draw.choice([None, None, [sizes((1, 2, 3))], [sizes((1, 2)), sizes((1, 2))]]),
            constant_upsample=draw.random() < 0.5,
            padding=draw.choice(["valid", "same"]),
        )
        if config.upsample_factors and draw.random() < 0.5:
            config.kernel_size_up = None
        geometry = config.geometry()
        steps = (geometry.stride(axis) for axis in range(dims))
        least = [geometry.usable_size_from(axis, step + draw.randrange(6)) for axis, step in enumerate(steps)]
        config.input_shape = Coordinate(least)
        if max(least) <= (60 if dims == 2 else 24) and config.verify()[0]:
            found.append(config)
    return found


def described(config: CNNectomeUNetConfig) -> str:
    parts = (config.input_shape, config.downsample_factors, config.kernel_size_down, config.kernel_size_up)
    rest = (config.upsample_factors, config.constant_upsample, config.padding)
    return " ".join(str(part) for part in (*parts, *rest))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("seed", range(8))
def test_unets_in_2d(folder: Path, seed: int) -> None:
    for config in unets(2, 18, seed):
        try:
            check(folder, config, 2, seed)
        except Exception as error:
            raise AssertionError(f"{described(config)}: {error}") from error


@pytest.mark.parametrize("seed", range(3))
def test_unets_in_3d(folder: Path, seed: int) -> None:
    for config in unets(3, 10, seed):
        try:
            check(folder, config, 3, seed)
        except Exception as error:
            raise AssertionError(f"{described(config)}: {error}") from error


DEFAULT = {"fmaps_in": 1, "fmaps_out": 2, "num_fmaps": 2, "fmap_inc_factor": 1}
NAMED = {
    "default kernels, factors of 3": {"input_shape": (22, 25), "downsample_factors": [(3, 3)]},
    "padded, factors of 3": {"input_shape": (201, 201), "downsample_factors": [(3, 3)], "padding": "same"},
    "padded, factors of 3 twice": {"input_shape": (63, 45), "downsample_factors": [(3, 3)] * 2, "padding": "same"},
    "padded, loses one voxel at the lower level": {
        "input_shape": (36, 36),
        "downsample_factors": [(3, 2), (3, 3)],
        "kernel_size_up": [[(3, 3)], [(3, 3)]],
        "padding": "same",
    },
    "enlarged": {"input_shape": (21, 20), "downsample_factors": [(2, 2)], "upsample_factors": [(2, 3)]},
    "enlarged by an odd loss": {
        "input_shape": (20, 20),
        "downsample_factors": [(2, 2)],
        "kernel_size_up": [[(2, 3)]],
        "upsample_factors": [(2, 2)],
    },
}


@pytest.mark.parametrize("case", NAMED)
def test_unets_that_lose_an_odd_number_of_voxels(folder: Path, case: str) -> None:
    config = CNNectomeUNetConfig(name="unet", **DEFAULT, **NAMED[case])
    geometry = config.geometry()
    config.input_shape = Coordinate(geometry.usable_size_from(axis, n) for axis, n in enumerate(config.input_shape))
    check(folder, config, 2, 0)


RESIDUAL = {
    "two levels": {"input_shape": (16, 24), "downsample_factors": [(2, 2), (2, 2)]},
    "factors of 3": {"input_shape": (18, 24), "downsample_factors": [(3, 1), (2, 3)]},
    "3D": {"input_shape": (4, 12, 8), "downsample_factors": [(1, 2, 2), (2, 3, 2)]},
}


@pytest.mark.parametrize("case", RESIDUAL)
def test_residual_unets(folder: Path, case: str) -> None:
    shape, factors = map(RESIDUAL[case].__getitem__, ("input_shape", "downsample_factors"))
    config = ResidualUNetConfig(
        name="residual", fmaps_in=1, fmaps_out=2, num_fmaps=[2, 3], input_shape=shape, downsample_factors=factors
    )
    check(folder, config, len(shape), 0)


def test_own_networks(folder: Path) -> None:
    for kernel in [(1, 2), (2, 3), (4, 4), (5, 6), (1, 7)]:
        for shape in [(16, 16), (11, 14)]:
            check(folder, PlainConfig(name="plain", kernel=kernel, shape=shape), 2, sum(kernel))


WRAPPED = [
    *({"cls": "torch.nn:Conv2d", "in_channels": 1, "out_channels": 3, "kernel_size": k} for k in (2, 3, 4)),
    *(
        {"cls": "torch.nn:Conv2d", "in_channels": 1, "out_channels": 3, "kernel_size": k, "padding": "same"}
        for k in (2, 3, 4)
    ),
    *(
        {"cls": "Pooled", "kernel": kernel, "padding": padding, "pool": pool, "ceil_mode": ceil_mode, "last": last}
        for kernel, padding, last in [(1, 0, 1), (2, 0, 1), (3, 1, 2), (4, 1, 1), (3, 0, 3)]
        for pool, ceil_mode in [(2, False), (3, False), (2, True)]
        if not (padding == 0 and kernel == 1 and ceil_mode)
    ),
    {"cls": "Pooled", "kernel": 2, "padding": 0, "pool": 2, "ceil_mode": False, "last": 2, "enlarge": 2},
    *(
        {"cls": "Shifted", "before": b, "after": a, "kernel": k}
        for b, a, k in [(1, 0, 2), (0, 1, 3), (2, 0, 4), (0, 3, 4)]
    ),
]


@pytest.mark.parametrize("shape", [(19, 22), (20, 23)])
def test_wrapped_networks(folder: Path, shape: tuple[int, int]) -> None:
    for index, arguments in enumerate(WRAPPED):
        name = arguments["cls"]
        config = WrappedArchitectureConfig(
            name="wrapped",
            module=name if ":" in name else f"{__name__}:{name}",
            input_shape=shape,
            num_in_channels=1,
            arguments={key: value for key, value in arguments.items() if key != "cls"},
        )
        works, why = config.verify()
        try:
            check(folder, config, 2, index)
        except Exception as error:
            raise AssertionError(f"{arguments} {works} {why}: {error}") from error


HEADS = {
    "padded": partial(torch.nn.Conv2d, kernel_size=3, padding=1),
    "unpadded": partial(torch.nn.Conv2d, kernel_size=4),
    "both": partial(torch.nn.Conv2d, kernel_size=6, padding=1),
}


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("head", HEADS)
def test_heads_that_see_more_than_a_voxel(folder: Path, head: str, padding: str) -> None:
    for upsample in (None, [(2, 3)]):
        config = CNNectomeUNetConfig(
            name="unet",
            input_shape=Coordinate(27, 26) if padding == "valid" else Coordinate(24, 24),
            downsample_factors=[(3, 2)],
            kernel_size_up=[[(2, 3)]],
            upsample_factors=upsample,
            padding=padding,
            **DEFAULT,
        )
        geometry = config.geometry()
        least = (geometry.usable_size_from(axis, size) for axis, size in enumerate(config.input_shape))
        config.input_shape = Coordinate(least)
        check(folder, config, 2, 5, HEADS[head])


class OneShape(torch.nn.Module):
    """Takes inputs of 12 x 11 only."""

    def __init__(self) -> None:
        super().__init__()
        self.position = torch.nn.Parameter(torch.rand(1, 1, 12, 11))
        self.conv = torch.nn.Conv2d(1, 3, (4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x + self.position)
        return out


def test_a_network_of_one_shape_that_loses_voxels_is_predicted_block_by_block(folder: Path) -> None:
    config = WrappedArchitectureConfig("one", f"{__name__}:OneShape", Coordinate(12, 11), 1)
    run = Run(affinities_run_config(folder, dims=2, architecture_config=config))
    raw = numpy_array((31, 29))
    for asked in (None, Coordinate(400, 900)):
        plan = plan_blocks(run.model, raw, write_shape=asked)
        assert plan.write_shape == Coordinate(9, 9) * raw.voxel_size
        values = np.zeros((2, 31, 29), np.float32)
        output = NumpyArray.from_np_array(values, raw.roi, raw.voxel_size, ["c", *raw.axes])
        predictor = BlockPredictor(run, raw, plan, output, torch.device("cpu"))  # type: ignore[arg-type]
        for block in block_grid(plan):
            predictor.process(block)
        with torch.inference_mode():
            inner = run.model(torch.from_numpy(raw.data[None, None, 8:20, 8:19]))[0].numpy()
        np.testing.assert_allclose(output.data[:, 9:18, 9:18], inner, atol=1e-5)


def test_an_increase_by_part_of_a_step_is_cut_to_whole_ones(folder: Path) -> None:
    arguments = {"kernel": 4, "padding": 0, "pool": 3, "ceil_mode": False}
    config = WrappedArchitectureConfig(
        "w", f"{__name__}:Pooled", Coordinate(20, 20), 1, arguments, eval_shape_increase=Coordinate(7, 8)
    )
    check(folder, config, 2, 0)


def test_a_prediction_larger_than_its_input_is_refused(folder: Path) -> None:
    arguments = {"in_channels": 1, "out_channels": 3, "kernel_size": 3, "padding": 2}
    config = WrappedArchitectureConfig("w", "torch.nn:Conv2d", Coordinate(20, 20), 1, arguments)
    works, why = config.verify()
    assert not works
    assert "returns (22, 22) voxels for an input of (20, 20)" in why
    run = Run(affinities_run_config(folder, dims=2, architecture_config=config))
    for use in (
        lambda: sample_regions(run.model, Coordinate(4, 4)),
        lambda: plan_blocks(run.model, numpy_array((30, 30))),
    ):
        with pytest.raises(ConfigError, match=r"predicts \(22, 22\) voxels .* from an input of \(20, 20\)"):
            use()


class WrongStride(Plain):
    """Says nothing of its pooling."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        self.conv = Pooled(1, 0, 2, False)  # type: ignore[assignment]

    @property
    def eval_shape_increase(self) -> Coordinate:
        return Coordinate(1, 1)


def test_blocks_that_do_not_fit_are_refused_before_any_work(folder: Path) -> None:
    run = Run(affinities_run_config(folder, dims=2))
    run.model = Model(WrongStride(PlainConfig(name="wrong")), torch.nn.Conv2d(3, 2, 1))
    with pytest.raises(ConfigError, match=r"block of \(17, 17\), where \(17, 17\) are expected .* stride"):
        plan_blocks(run.model, numpy_array((30, 30)))
