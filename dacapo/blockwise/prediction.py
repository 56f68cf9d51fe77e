"""Prediction of a volume block by block, equal to one pass over the whole volume.

Two things make the blocks agree with the whole. Each block is read with all the context that its output depends on;
and blocks lie on a grid whose step is a multiple of the network's down-sampling, because a U-Net is equivariant only
to shifts by that much. Beyond the volume the raw data is continued by reflection, as in training. A network with
'same' padding sees the end of the volume by its own zero padding instead, so there nothing is added before the
volume (but what the network crops), and after it only what rounds its shape up to the down-sampling.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.blocks import run_blocks
from dacapo.errors import ChannelMismatchError, ConfigError, InputTooSmallError, RoiError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.model import Model
from dacapo.experiments.run import Run
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.quantize import quantize
from dacapo.utils.reflection import read_reflected


@attrs.frozen
class BlockPlan:
    """Where blocks lie and what they read; all in world units.

    Attributes:
        output_roi: The region to predict.
        output_voxel_size: Voxel size of the prediction.
        grid_roi: The region that the blocks cover, ``output_roi`` snapped outwards to the grid.
        write_shape: Shape of the region that a block writes.
        before: Context that is read before a block.
        after: Context that is read after a block.
        volume: The region that is read at most, None if there is no limit.
    """

    output_roi: Roi
    output_voxel_size: Coordinate
    grid_roi: Roi
    write_shape: Coordinate
    before: Coordinate
    after: Coordinate
    volume: Roi | None

    def read_roi(self, write_roi: Roi) -> Roi:
        """Return the region to read for a block."""
        roi = write_roi.grow(self.before, self.after)
        return roi if self.volume is None else roi.intersect(self.volume)


def plan_blocks(model: Model, raw: Array, output_roi: Roi | None = None) -> BlockPlan:
    """Lay out the blocks of a prediction.

    Args:
        model: The network.
        raw: The input.
        output_roi: The region to predict in world units, the whole of ``raw`` by default.

    Raises:
        RoiError: If ``output_roi`` is empty, lies outside ``raw`` or is not aligned to the output's voxels.
        InputTooSmallError: If ``raw`` is smaller than the input of the network.
        ChannelMismatchError: If ``raw`` has another number of channels than the network takes.
    """
    check_input(model, raw)
    voxel_size, output_voxel_size = raw.voxel_size, model.scale(raw.voxel_size)
    output_roi = _check_output_roi(raw, output_roi, output_voxel_size)

    eval_input = model.eval_input_shape * voxel_size
    eval_output = model.compute_output_shape(model.eval_input_shape)[1] * output_voxel_size
    lost = eval_input - eval_output
    valid_context = _first_half(lost, output_voxel_size)
    stride = model.architecture.stride * voxel_size
    halo = model.architecture.receptive_halo * voxel_size

    if all(needed <= given for needed, given in zip(halo, valid_context, strict=True)):
        grid_roi = _snap_outwards(output_roi, raw.roi.offset + valid_context, stride)
        write_shape = _write_shape(eval_output, grid_roi.shape, stride)
        # Keeps the input a shape that the network takes: eval input less a multiple of the stride.
        spare = eval_output - write_shape
        before, after = valid_context, lost - valid_context + spare - spare / stride * stride
        volume = None
    else:
        margin = _round_up(valid_context, stride)
        volume = _snap_outwards(raw.roi, raw.roi.offset, stride).grow(margin, margin)
        grid_roi = _snap_outwards(output_roi, raw.roi.offset, stride)
        before = after = _round_up(halo + valid_context, stride)
        # A block as small as its context would mostly compute what is thrown away again.
        least = before + after
        write_shape = _write_shape(Coordinate(map(max, eval_output, least)), grid_roi.shape, stride)
    return BlockPlan(output_roi, output_voxel_size, grid_roi, write_shape, before, after, volume)


def check_input(model: Model, raw: Array) -> None:
    """Check that a network can take an array.

    Raises:
        ConfigError: If the number of spatial dimensions differs.
        ChannelMismatchError: If the number of channels differs.
        InputTooSmallError: If the array is smaller than the input of the network.
    """
    if raw.dims != model.architecture.dims:
        raise ConfigError(
            f"the network takes {model.architecture.dims}D input, the array has {raw.dims} spatial axes {raw.axes}"
        )
    channels = 1 if raw.channel_axis is None else raw.num_channels
    if channels != model.num_in_channels:
        raise ChannelMismatchError(
            f"the network takes {model.num_in_channels} input channels, the array has {channels} (axes {raw.axes})"
        )
    shape = raw.roi.shape / raw.voxel_size
    if any(have < need for have, need in zip(shape, model.input_shape, strict=True)):
        raise InputTooSmallError(
            f"the network's input is {tuple(model.input_shape)} voxels, the volume only {tuple(shape)}; "
            "use a larger volume or an architecture with a smaller input_shape"
        )


def _check_output_roi(raw: Array, output_roi: Roi | None, output_voxel_size: Coordinate) -> Roi:
    if output_roi is None:
        return raw.roi
    if output_roi.empty:
        raise RoiError(f"the region to predict is empty: {output_roi}")
    if not raw.roi.contains(output_roi):
        raise RoiError(f"the region to predict {output_roi} is not inside the data, which covers {raw.roi}")
    if any(
        (b - o) % v or s % v
        for b, o, s, v in zip(output_roi.offset, raw.roi.offset, output_roi.shape, output_voxel_size, strict=True)
    ):
        raise RoiError(
            f"the region to predict {output_roi} is not aligned to voxels of {output_voxel_size} "
            f"that start at {raw.roi.offset}"
        )
    return output_roi


def _first_half(lost: Coordinate, voxel_size: Coordinate) -> Coordinate:
    """Return what is lost before the output; of an odd number of voxels more is lost behind, as in training."""
    return lost / voxel_size / 2 * voxel_size


def _round_up(value: Coordinate, step: Coordinate) -> Coordinate:
    return Coordinate(-(-v // s) * s for v, s in zip(value, step, strict=True))


def _snap_outwards(roi: Roi, origin: Coordinate, step: Coordinate) -> Roi:
    begin = Coordinate(o + (b - o) // s * s for b, o, s in zip(roi.begin, origin, step, strict=True))
    return Roi(begin, _round_up(roi.end - begin, step))


def _write_shape(eval_output: Coordinate, total: Coordinate, stride: Coordinate) -> Coordinate:
    """Return the largest multiple of the stride that a block can give, but no more than is wanted."""
    return Coordinate(
        min(output // step * step or output, extent)
        for output, extent, step in zip(eval_output, total, stride, strict=True)
    )


def as_network_input(values: npt.NDArray[Any], axes: list[str], device: torch.device) -> torch.Tensor:
    """Return values as a tensor of shape (1, channels, *spatial) and type float32."""
    values = np.moveaxis(values, axes.index("c"), 0) if "c" in axes else values[np.newaxis]
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)[np.newaxis]).to(device)


def predict_array(
    run: Run,
    raw: Array,
    output: LocalArrayIdentifier,
    *,
    output_roi: Roi | None = None,
    output_dtype: npt.DTypeLike = np.uint8,
    device: torch.device | None = None,
    metadata: dict[str, Any] | None = None,
    overwrite: bool = True,
) -> ZarrArray:
    """Predict a volume block by block.

    Args:
        run: The run, with the weights to use loaded into its model.
        raw: The input, prepared as in training.
        output: Where to write. The array has a channel axis first.
        output_roi: Region in world units, the whole of ``raw`` by default. Near the edges of ``raw`` the network sees
            reflected data, so predictions there are less sure.
        output_dtype: ``uint8`` scales the range of the prediction to 0..255 (see :mod:`dacapo.utils.quantize`), float
            types keep it.
        device: Where the network runs, the CPU by default.
        metadata: Further attributes of the output.
        overwrite: Whether to replace an output that exists.

    Raises:
        BlockwiseError: If a block fails.
    """
    device = device or torch.device("cpu")
    model = run.model
    plan = plan_blocks(model, raw, output_roi)
    value_range = run.task.predictor.output_range
    spatial = [axis for axis in raw.axes if axis != "c"]
    written = ZarrArray.create_from_array_identifier(
        output,
        ["c", *spatial],
        plan.output_roi,
        model.num_out_channels,
        plan.output_voxel_size,
        np.dtype(output_dtype),
        write_size=plan.write_shape,
        overwrite=overwrite,
    )
    written.add_metadata({"value_range": list(value_range), **(metadata or {})})

    def predict_block(write_roi: Roi) -> None:
        read_roi = plan.read_roi(write_roi)
        values = run.trainer.prepare_input(read_reflected(raw, read_roi))
        with torch.inference_mode():
            predicted = model(as_network_input(values, raw.axes, device))[0].cpu().numpy()
        wanted = write_roi.intersect(plan.output_roi)
        lost = read_roi.shape - Coordinate(predicted.shape[1:]) * plan.output_voxel_size
        cropped = _first_half(lost, plan.output_voxel_size)
        first = (wanted.begin - read_roi.begin - cropped) / plan.output_voxel_size
        extent = wanted.shape / plan.output_voxel_size
        inner = tuple(slice(b, b + s) for b, s in zip(first, extent, strict=True))
        written[wanted] = quantize(predicted[(slice(None), *inner)], value_range, np.dtype(output_dtype))

    was_training = model.training
    model.to(device).eval()
    try:
        run_blocks("predict", plan.grid_roi, plan.write_shape, predict_block)
    finally:
        model.train(was_training)
    return written
