"""Blockwise prediction must equal one pass of the network over the whole volume."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from funlib.geometry import Coordinate, Roi
from hypothesis import given
from hypothesis import strategies as st

from dacapo.errors import BlockwiseError, ChannelMismatchError, ConfigError, DtypeError, InputTooSmallError, RoiError
from dacapo.experiments.block_plan import plan_blocks
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray, ZarrArray
from dacapo.experiments.run import Run
from dacapo.inference.prediction import BlockPredictor, as_network_input, predict_array
from dacapo.options import ENVIRONMENT_VARIABLE, DaCapoConfig, Options
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.utils.padding import read_reflected, reflected_indices
from tests.helpers.prediction import SAME, VALID, numpy_array, whole_pass
from tests.helpers.runs import affinities_run_config, unet_config, unet_run
from tests.helpers.volumes import write_array

CASES = [
    pytest.param(2, VALID, (61, 53), (4, 4), id="2d-valid"),
    pytest.param(2, SAME, (61, 54), (4, 4), id="2d-same"),
    pytest.param(2, {**VALID, "downsample_factors": [Coordinate(2, 2), Coordinate(3, 1)],
                     "input_shape": Coordinate(60, 40)}, (77, 61), (4, 2), id="2d-two-levels-uneven"),
    pytest.param(2, {**SAME, "downsample_factors": [Coordinate(2, 2)] * 3, "input_shape": Coordinate(64, 64)},
                 (150, 67), (4, 4), id="2d-same-that-crops"),
    pytest.param(2, {**VALID, "constant_upsample": False, "eval_shape_increase": Coordinate(8, 12)},
                 (61, 53), (4, 4), id="2d-larger-eval-shape"),
    pytest.param(3, VALID, (33, 41, 30), (8, 4, 4), id="3d-valid"),
    pytest.param(3, {**SAME, "input_shape": Coordinate(16, 16, 16)}, (33, 41, 30), (8, 4, 4), id="3d-same"),
    pytest.param(3, {**VALID, "input_shape": Coordinate(22, 28, 28), "downsample_factors": [Coordinate(1, 2, 2)]},
                 (23, 35, 30), (8, 4, 4), id="3d-anisotropic"),
    pytest.param(2, {**VALID, "upsample_factors": [Coordinate(2, 2)]}, (41, 33), (4, 4), id="2d-super-resolution"),
]  # fmt: skip


@pytest.mark.parametrize(("dims", "architecture", "shape", "voxel_size"), CASES)
def test_blocks_equal_one_whole_pass(
    tmp_path: Path, dims: int, architecture: dict[str, object], shape: tuple[int, ...], voxel_size: tuple[int, ...]
) -> None:
    run = unet_run(tmp_path, dims, **architecture)
    raw = numpy_array(shape, voxel_size)
    plan = plan_blocks(run.model, raw)
    blocks = [-(-s // w) for s, w in zip(plan.output_roi.shape, plan.write_shape, strict=True)]
    assert np.prod(blocks) > 1, "one block would prove nothing"

    output = predict_array(
        run,
        raw,
        LocalArrayIdentifier(tmp_path / "out.zarr", "p"),
        output_dtype=np.float32,
        block_shape=plan.write_shape,
    )

    assert output.roi == raw.roi
    assert output.voxel_size == run.model.scale(raw.voxel_size)
    np.testing.assert_allclose(output[output.roi], whole_pass(run, raw), atol=1e-5)


@pytest.mark.parametrize(("dtype", "is_validation"), [(np.uint8, False), (np.float32, True)])
def test_nan_in_raw_is_an_error_that_says_where(tmp_path: Path, dtype: type, is_validation: bool) -> None:
    raw = numpy_array((61, 53), (4, 4))
    raw[Roi((60, 80), (4, 4))] = np.array([[np.nan]])
    target = LocalArrayIdentifier(tmp_path / "out.zarr", "p")
    run = unet_run(tmp_path, 2)
    with pytest.raises(BlockwiseError, match=r"1 voxels of .* are NaN or infinite, the first at y=60, x=80 in world"):
        predict_array(run, raw, target, output_dtype=dtype, is_validation=is_validation)


def test_nan_of_the_network_is_an_error(tmp_path: Path) -> None:
    run = unet_run(tmp_path, 2)
    with torch.no_grad():
        next(run.model.parameters()).fill_(torch.nan)
    with pytest.raises(BlockwiseError, match=r"the network predicts NaN in .* check the weights"):
        predict_array(run, numpy_array((61, 53), (4, 4)), LocalArrayIdentifier(tmp_path / "out.zarr", "p"))


def test_unpadded_whole_pass_is_equal_where_it_reaches(tmp_path: Path) -> None:
    run = unet_run(tmp_path, 2, downsample_factors=[Coordinate(2, 2), Coordinate(3, 1)], input_shape=Coordinate(60, 40))
    raw = numpy_array((90, 70), (4, 2))
    with torch.inference_mode():
        whole = run.model(as_network_input(raw[raw.roi], raw.axes, torch.device("cpu")))[0].numpy()
    context = (raw.roi.shape - Coordinate(whole.shape[1:]) * raw.voxel_size) / 2
    target = LocalArrayIdentifier(tmp_path / "out.zarr", "p")
    output = predict_array(run, raw, target, output_dtype=np.float32, block_shape=Coordinate(48, 24))
    np.testing.assert_allclose(output[raw.roi.grow(-context, -context)], whole, atol=1e-5)


def test_attention_is_equal_up_to_its_interpolation(tmp_path: Path) -> None:
    """Attention gates stretch their coarse map over the whole input, so blocks agree only closely."""
    run = unet_run(tmp_path, 2, **SAME, use_attention=True)
    raw = numpy_array((62, 40), (4, 4))
    target = LocalArrayIdentifier(tmp_path / "out.zarr", "p")
    output = predict_array(run, raw, target, output_dtype=np.float32, block_shape=Coordinate(80, 80))
    np.testing.assert_allclose(output[output.roi], whole_pass(run, raw), atol=1e-3)


@pytest.mark.parametrize("architecture", [VALID, SAME])
def test_a_region_is_predicted_as_in_the_whole(tmp_path: Path, architecture: dict[str, object]) -> None:
    run = unet_run(tmp_path, 2, **architecture)
    raw = numpy_array((61, 53), (4, 4))
    whole = predict_array(run, raw, LocalArrayIdentifier(tmp_path / "out.zarr", "whole"), output_dtype=np.float32)
    roi = Roi((40 + 4 * 5, 40 + 4 * 31), (4 * 33, 4 * 22))
    part = predict_array(
        run,
        raw,
        LocalArrayIdentifier(tmp_path / "out.zarr", "part"),
        output_roi=roi,
        output_dtype=np.float32,
        block_shape=Coordinate(48, 48),
    )
    assert part.roi == roi
    np.testing.assert_allclose(part[roi], whole[roi], atol=1e-5)


def test_uint8_is_the_scaled_prediction(tmp_path: Path) -> None:
    run = unet_run(tmp_path, 2)
    raw = numpy_array((40, 40), (4, 4))
    exact = predict_array(run, raw, LocalArrayIdentifier(tmp_path / "out.zarr", "f"), output_dtype=np.float32)
    scaled = predict_array(run, raw, LocalArrayIdentifier(tmp_path / "out.zarr", "u"))
    assert scaled.dtype == np.uint8
    assert scaled.attrs["value_range"] == [0.0, 1.0]
    np.testing.assert_array_equal(scaled[scaled.roi], np.rint(exact[exact.roi] * 255))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_layout_of_channels_changes_only_while_it_predicts(tmp_path: Path, dims: int) -> None:
    run, raw = unet_run(tmp_path, dims), numpy_array((30,) * dims, (4,) * dims)
    values = as_network_input(raw[raw.roi], raw.axes, torch.device("cpu"))
    with torch.inference_mode():
        expected = run.model(values)
    before = [(parameter, parameter.stride(), parameter.clone()) for parameter in run.model.parameters()]
    target = LocalArrayIdentifier(tmp_path / "out.zarr", "p")
    output = predict_array(run, raw, target, output_dtype=np.float32)
    for parameter, stride, same in before:
        assert parameter.stride() == stride
        assert torch.equal(parameter, same)
    with torch.inference_mode():
        assert torch.equal(run.model(values), expected)
    predictor = BlockPredictor(run, raw, plan_blocks(run.model, raw), output, torch.device("cpu"))
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    weights = [parameter for parameter in run.model.parameters() if parameter.ndim == dims + 2]
    assert all(weight.is_contiguous(memory_format=layout) for weight in weights)
    np.testing.assert_allclose(predictor._predict(values), expected[0].numpy(), atol=1e-5)


def test_the_model_is_left_in_its_mode(tmp_path: Path) -> None:
    run = unet_run(tmp_path, 2)
    run.model.train()
    predict_array(run, numpy_array((40, 40), (4, 4)), LocalArrayIdentifier(tmp_path / "out.zarr", "p"))
    assert run.model.training


class _BrokenArray(NumpyArray):
    def __getitem__(self, roi: Roi) -> np.ndarray:
        raise OSError("chunk 3.4 cannot be read")


def test_a_failing_block_fails_the_call(tmp_path: Path) -> None:
    run = unet_run(tmp_path, 2)
    raw = numpy_array((40, 40), (4, 4))
    raw.__class__ = _BrokenArray
    target = LocalArrayIdentifier(tmp_path / "out.zarr", "p")
    with pytest.raises(BlockwiseError, match=r"(?s)16 of 16 blocks are not done.*chunk 3\.4 cannot be read"):
        predict_array(run, raw, target, block_shape=Coordinate(40, 40))


@pytest.mark.parametrize(
    ("shape", "channels", "roi", "error", "message"),
    [
        ((20, 40), None, None, InputTooSmallError, r"\(28, 28\) voxels, the volume only \(20, 40\)"),
        ((40, 40), 2, None, ChannelMismatchError, "takes 1 input channel, the array has 2"),
        ((40, 40, 40), None, None, ConfigError, "takes 2D input, the array has 3"),
        ((40, 40), None, Roi((40, 40), (200, 80)), RoiError, "is not inside the data"),
        ((40, 40), None, Roi((42, 40), (80, 80)), RoiError, "is not aligned"),
        ((40, 40), None, Roi((40, 40), (0, 80)), RoiError, r"empty.*\(0, 80\)"),
        ((40, 40), None, Roi((0, 40, 40), (8, 80, 80)), RoiError, "has 3 axes, the data has 2"),
    ],
)
def test_impossible_predictions_are_refused_before_any_work(
    tmp_path: Path,
    shape: tuple[int, ...],
    channels: int | None,
    roi: Roi | None,
    error: type[Exception],
    message: str,
) -> None:
    run = unet_run(tmp_path, 2)
    raw = numpy_array(shape, (4,) * len(shape), channels)
    target = LocalArrayIdentifier(tmp_path / "out.zarr", "p")
    with pytest.raises(error, match=message):
        predict_array(run, raw, target, output_roi=roi)
    assert not target.container.exists()


@pytest.mark.parametrize("dtype", ["int16", bool, "uint64", "unit8"])
def test_a_type_that_predictions_cannot_have_leaves_an_earlier_output_alone(tmp_path: Path, dtype: Any) -> None:
    run = unet_run(tmp_path, 2)
    target = LocalArrayIdentifier(tmp_path / "out.zarr", "p")
    before = predict_array(run, numpy_array((40, 40), (4, 4)), target)
    with pytest.raises(DtypeError, match="uint8"):
        predict_array(run, numpy_array((40, 40), (4, 4)), target, output_dtype=dtype)
    after = ZarrArray.open_from_array_identifier(target)
    assert after.dtype == np.uint8
    np.testing.assert_array_equal(after[after.roi], before[before.roi])


@given(start=st.integers(-40, 40), length=st.integers(0, 40), size=st.integers(1, 9))
def test_reflection_is_that_of_numpy(start: int, length: int, size: int) -> None:
    padded = np.pad(np.arange(size), 100, mode="reflect")
    np.testing.assert_array_equal(
        reflected_indices(start, start + length, size), padded[100 + start : 100 + start + length]
    )


def test_reading_beyond_the_volume_reflects_each_axis() -> None:
    raw = numpy_array((7, 5), (4, 2), channels=2)
    roi = Roi((40 - 12, 40 - 4), (4 * 12, 2 * 9))
    expected = np.pad(raw[raw.roi], [(0, 0), (3, 2), (2, 2)], mode="reflect")
    np.testing.assert_array_equal(read_reflected(raw, roi), expected)
    with pytest.raises(RoiError, match="not aligned"):
        read_reflected(raw, Roi((39, 40), (8, 2)))


@pytest.mark.parametrize("distribute", [True, False])
def test_worker_processes_predict_the_same(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distribute: bool
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(2)))
    config = affinities_run_config(tmp_path, dims=2, architecture_config=unet_config(2))
    # Longer than an environment may be, and nothing that a prediction needs.
    config.datasplit_config.train_configs *= 300
    create_config_store().store_run_config(config)
    run = Run(config)
    create_weights_store().store_weights(run, 1)
    source = write_array(
        tmp_path / "new.zarr",
        "raw",
        np.random.default_rng(0).integers(0, 256, (61, 53)).astype(np.uint8),
        Coordinate(4, 4),
        Coordinate(40, 40),
    )
    here = predict(config.name, 1, source.container, source.dataset, tmp_path / "here.zarr")
    file = Path(os.environ[ENVIRONMENT_VARIABLE])
    context = {"type": "LocalTorch", "config": {"distribute_workers": distribute}}
    file.write_text(yaml.safe_dump({**options.serialize(), "compute_context": context}))
    Options.reset()
    monkeypatch.setattr(BlockPredictor, "process", lambda *args: pytest.fail("this process predicts"))
    there = predict(config.name, 1, source.container, source.dataset, tmp_path / "there.zarr", num_workers=2)
    one, other = (ZarrArray.open_from_array_identifier(identifier) for identifier in (here, there))
    assert one[one.roi].std() > 0
    # Other processes may split the sums of a convolution differently, which can round a value the other way.
    np.testing.assert_allclose(other[other.roi].astype(int), one[one.roi].astype(int), atol=1)
