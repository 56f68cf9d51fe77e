"""Test-time augmentation, in blocks, against means that are computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from funlib.geometry import Coordinate

from dacapo.cli import cli
from dacapo.compute_context import Execution
from dacapo.errors import ConfigError
from dacapo.experiments.architectures import Architecture
from dacapo.experiments.block_plan import plan_blocks
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray, ZarrArray
from dacapo.experiments.model import Model
from dacapo.experiments.run import Run
from dacapo.experiments.tasks import DistanceTaskConfig, DummyTaskConfig
from dacapo.experiments.trained_model import TrainedModel
from dacapo.inference.prediction import predict_array
from dacapo.inference.tta import with_tta
from dacapo.options import DaCapoConfig
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.validate import validate
from tests.helpers.prediction import numpy_array
from tests.helpers.runs import affinities_run_config, stored_run, unet_run


class Pairs(Architecture):
    """Compares each voxel with the ones at some offsets, exactly: raw data is of small integers."""

    def __init__(self, offsets: list[tuple[int, ...]], kernel: int = 3) -> None:
        super().__init__()
        dims = len(offsets[0])
        conv = torch.nn.Conv2d if dims == 2 else torch.nn.Conv3d
        self.conv = conv(1, len(offsets), kernel, bias=False)
        center = (kernel - 1) // 2
        with torch.no_grad():
            self.conv.weight.zero_()
            for channel, offset in enumerate(offsets):
                self.conv.weight[(channel, 0, *(center,) * dims)] = 1
                self.conv.weight[(channel, 0, *(center + o for o in offset))] += 1

    input_shape = property(lambda self: Coordinate((9,) * (self.conv.weight.ndim - 2)))
    num_in_channels = property(lambda self: 1)
    num_out_channels = property(lambda self: len(self.conv.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x)
        return out


def with_network(folder: Path, dims: int, body: Architecture, task: Any = None) -> TrainedModel:
    """Return a model of affinities, one along each axis, whose network is only its body."""
    run = Run(affinities_run_config(folder, dims=dims, task_config=task))
    return attrs.evolve(TrainedModel.of(run), model=Model(body, torch.nn.Identity()).eval())


def integers(shape: tuple[int, ...], voxel_size: tuple[int, ...]) -> NumpyArray:
    raw = numpy_array(shape, voxel_size)
    values = np.random.default_rng(1).integers(0, 100, raw.data.shape).astype(np.float32)
    return NumpyArray.from_np_array(values, raw.roi, raw.voxel_size, raw.axes)


def predicted(trained: Any, raw: NumpyArray, folder: Path, tta: str, block: Coordinate | None = None) -> np.ndarray:
    target = LocalArrayIdentifier(folder / "out.zarr", f"p_{tta}_{block}")
    output = predict_array(trained, raw, target, Execution(1, tta=tta), output_dtype=np.float32, block_shape=block)
    assert output.roi == raw.roi
    values: np.ndarray = output[output.roi]
    return values


@pytest.mark.parametrize("tta", ["flips", "turns"])
@pytest.mark.parametrize(("shape", "voxel_size"), [((21, 17), (4, 4)), ((10, 9, 11), (4, 4, 4)), ((12, 17), (8, 4))])
def test_an_equivariant_network_predicts_exactly_the_same(
    tmp_path: Path, shape: tuple[int, ...], voxel_size: tuple[int, ...], tta: str
) -> None:
    dims = len(shape)
    trained = with_network(tmp_path, dims, Pairs([tuple(row) for row in np.eye(dims, dtype=int).tolist()]))
    raw = integers(shape, voxel_size)
    expected = predicted(trained, raw, tmp_path, "none")
    np.testing.assert_array_equal(predicted(trained, raw, tmp_path, tta), expected)
    block = raw.voxel_size * Coordinate((12, 12, 8)[-dims:])
    np.testing.assert_array_equal(predicted(trained, raw, tmp_path, tta, block), expected)


def turns() -> list[tuple[bool, bool, bool]]:
    """Return all ways to transpose, then to mirror each axis."""
    return [(t, y, x) for t in (False, True) for y in (False, True) for x in (False, True)]


def changed(values: np.ndarray, way: tuple[bool, bool, bool]) -> np.ndarray:
    transposed, *mirrored = way
    values = np.swapaxes(values, -1, -2) if transposed else values
    for axis, mirror in zip((-2, -1), mirrored, strict=True):
        values = np.flip(values, axis) if mirror else values
    return values


def restored(values: np.ndarray, way: tuple[bool, bool, bool]) -> np.ndarray:
    transposed, *mirrored = way
    for axis, mirror in zip((-2, -1), mirrored, strict=True):
        values = np.flip(values, axis) if mirror else values
    return np.swapaxes(values, -1, -2) if transposed else values


def test_a_random_network_gives_the_mean_over_all_changes(tmp_path: Path) -> None:
    run, raw = unet_run(tmp_path, 2), numpy_array((30, 34), (4, 4))
    got = predicted(run, raw, tmp_path, "turns", raw.roi.shape)
    # The affinity of a mirrored axis is that of the partner, one voxel on.
    model = with_tta(TrainedModel.of(run), raw.voxel_size, "turns").model
    plan = plan_blocks(model, raw, write_shape=raw.roi.shape)
    read = plan.read_roi(raw.roi)
    values = raw.read_padded(read).astype(np.float32)
    found = []
    for way in turns():
        with torch.inference_mode():
            out = run.model(torch.from_numpy(changed(values, way).copy())[None, None])[0].numpy()
        out = restored(out, way)
        transposed, *mirrored = way
        mirrored = mirrored[::-1] if transposed else mirrored
        by_axis = []
        for axis in range(2):
            channel = out[1 - axis if transposed else axis]
            # Where it is mirrored, this is the affinity to the voxel before, so that after it is the one wanted.
            by_axis.append(np.roll(channel, -1, axis) if mirrored[axis] else channel)
        found.append(np.stack(by_axis))
    mean = np.mean(found, axis=0)
    context = (values.shape[0] - mean.shape[1]) // 2
    begin = (raw.roi.begin - read.begin) / raw.voxel_size - context
    shape = raw.roi.shape / raw.voxel_size
    expected = mean[(slice(None), *(slice(b, b + s) for b, s in zip(begin, shape, strict=True)))]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert np.abs(got - predicted(run, raw, tmp_path, "none")).max() > 1e-3


@pytest.mark.parametrize(
    ("architecture", "shape", "voxel_size"),
    [
        ({}, (41, 33), (4, 4)),
        ({"padding": "same", "input_shape": Coordinate(16, 16)}, (41, 33), (4, 4)),
        ({"upsample_factors": [Coordinate(2, 2)]}, (41, 33), (4, 4)),
    ],
    ids=["valid", "same", "super-resolution"],
)
def test_blocks_equal_one_block(
    tmp_path: Path, architecture: dict[str, Any], shape: tuple[int, ...], voxel_size: tuple[int, ...]
) -> None:
    run, raw = unet_run(tmp_path, len(shape), **architecture), numpy_array(shape, voxel_size)
    whole = predicted(run, raw, tmp_path, "turns", raw.roi.shape)
    blocks = predicted(run, raw, tmp_path, "turns", raw.voxel_size * 12)
    np.testing.assert_allclose(blocks, whole, atol=1e-5)


def test_a_network_that_loses_an_odd_number_of_voxels(tmp_path: Path) -> None:
    """It sees a voxel and the next one, mirrored a voxel and the one before."""
    task = DistanceTaskConfig("task", ["a"], 4.0, 4.0)
    trained = with_network(tmp_path, 2, Pairs([(0, 1)], kernel=2), task)
    raw = integers((20, 22), (8, 4))
    around = np.pad(raw[raw.roi], ((0, 0), (1, 1)), mode="reflect")
    expected = around[:, 1:-1] + (around[:, 2:] + around[:, :-2]) / 2
    for block in (None, Coordinate(64, 32)):
        np.testing.assert_array_equal(predicted(trained, raw, tmp_path, "flips", block), expected)


def test_predictors_that_do_not_say_how_channels_turn_are_refused(tmp_path: Path) -> None:
    task = DummyTaskConfig("task", embedding_dims=2, detection_threshold=0.5)
    run = Run(affinities_run_config(tmp_path, dims=2, task_config=task))
    with pytest.raises(ConfigError, match=r"DummyPredictor does not say .* channel_sources"):
        predicted(run, numpy_array((40, 40), (4, 4)), tmp_path, "flips")
    with pytest.raises(ConfigError, match="tta is 'mirror'; expected one of none, flips, turns"):
        Execution(tta="mirror")


def test_workers_the_command_and_validation_use_it(options: DaCapoConfig, tmp_path: Path) -> None:
    run = stored_run(tmp_path)
    data = tmp_path / "validate.zarr"
    here = predict(run.name, 1, data, "raw", tmp_path / "here.zarr", num_workers=None, tta="turns")
    there = predict(run.name, 1, data, "raw", tmp_path / "there.zarr", num_workers=2, tta="turns")
    plain = predict(run.name, 1, data, "raw", tmp_path / "plain.zarr")
    values = [array[array.roi] for array in map(ZarrArray.open_from_array_identifier, (here, there, plain))]
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])

    arguments = ["predict", run.name, "1", str(data), "raw", str(tmp_path / "told.zarr"), "--tta", "turns"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    told = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(tmp_path / "told.zarr", here.dataset))
    np.testing.assert_array_equal(told[told.roi], values[0])
    # A finished prediction without it is another one.
    result = CliRunner().invoke(cli, arguments[:-2])
    assert result.exit_code == 1
    assert "with other parameters" in result.output, result.output

    scores = [validate(run.name, 1, tta=tta).scores for tta in ("none", "turns")]
    assert scores[0] != scores[1]
