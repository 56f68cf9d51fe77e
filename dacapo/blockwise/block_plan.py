"""Where the blocks of a prediction lie, and what each has to read, so that they fit together without a seam.

Blocks are cut from the output, beginning at its corner, so that each writes whole chunks. What the network computes for
a block is laid on a grid of its own, whose step is the network's down-sampling, because a U-Net is equivariant only to
shifts by that much; so it may begin a little before the block. Beyond the volume raw data is continued by reflection,
as in training. A network with 'same' padding sees the end of the volume by its own zero padding instead, so there
nothing is added before the volume (but what the network crops), and after it only what rounds its shape up to the
down-sampling.
"""

from __future__ import annotations

import attrs
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ChannelMismatchError, ConfigError, InputTooSmallError, RoiError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.model import Model


@attrs.frozen
class BlockPlan:
    """Where blocks lie and what they read; all in world units.

    Attributes:
        output_roi: The region to predict; blocks begin at its corner.
        output_voxel_size: Voxel size of the prediction.
        write_shape: Shape of the region that a block writes; the last blocks may be smaller.
        origin: A corner of the network's grid.
        step: Step of the network's grid.
        computed_shape: What the network computes for each block, None for the least that covers the block.
        before: Context that is read before what is computed.
        after: Context that is read after it.
        volume: The region that is read at most, None if there is no limit.
    """

    output_roi: Roi
    output_voxel_size: Coordinate
    write_shape: Coordinate
    origin: Coordinate
    step: Coordinate
    computed_shape: Coordinate | None
    before: Coordinate
    after: Coordinate
    volume: Roi | None

    def read_roi(self, write_roi: Roi) -> Roi:
        """Return the region to read for a block."""
        computed = snap_outwards(write_roi, self.origin, self.step)
        if self.computed_shape is not None:
            computed = Roi(computed.begin, self.computed_shape)
        roi = computed.grow(self.before, self.after)
        return roi if self.volume is None else roi.intersect(self.volume)


def plan_blocks(
    model: Model, raw: Array, output_roi: Roi | None = None, write_shape: Coordinate | None = None
) -> BlockPlan:
    """Lay out the blocks of a prediction.

    Args:
        model: The network.
        raw: The input.
        output_roi: The region to predict in world units, the whole of ``raw`` by default.
        write_shape: What a block writes, in world units; it is made a multiple of the network's step, and smaller where
            the region is. By default it follows from the input shape of the network in evaluation.

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
    context = first_half(lost, output_voxel_size)
    stride = model.architecture.stride * voxel_size
    halo = model.architecture.receptive_halo * voxel_size
    if all(needed <= given for needed, given in zip(halo, context, strict=True)):
        origin = raw.roi.offset + context
        return _plan_unpadded(output_roi, output_voxel_size, origin, stride, eval_output, lost, write_shape)
    before = round_up(halo + context, stride)
    margin = round_up(context, stride)
    # A block as small as its context would mostly compute what is thrown away again.
    largest = Coordinate(map(max, eval_output, before * 2)) if write_shape is None else round_up(write_shape, stride)
    return BlockPlan(
        output_roi=output_roi,
        output_voxel_size=output_voxel_size,
        write_shape=Coordinate(map(min, largest / stride * stride, output_roi.shape)),
        origin=raw.roi.offset,
        step=stride,
        computed_shape=None,
        before=before,
        after=before,
        volume=snap_outwards(raw.roi, raw.roi.offset, stride).grow(margin, margin),
    )


def _plan_unpadded(
    output_roi: Roi,
    output_voxel_size: Coordinate,
    origin: Coordinate,
    stride: Coordinate,
    eval_output: Coordinate,
    lost: Coordinate,
    write_shape: Coordinate | None,
) -> BlockPlan:
    """Lay out the blocks of a network that reads all its context, whose input can only have certain shapes.

    Those are the evaluation shape less (or more) multiples of the stride.
    """
    shape, computed_shape = [], []
    for begin, extent, corner, step, output, asked in zip(
        output_roi.begin,
        output_roi.shape,
        origin,
        stride,
        eval_output,
        write_shape or (None,) * stride.dims,
        strict=True,
    ):
        phase = (begin - corner) % step
        steps = max((output - phase) // step, 1) if asked is None else -(-asked // step)
        write = min(steps * step, extent)
        spare = output - phase - write  # below 0 where the block needs more than the evaluation shape gives
        shape.append(write)
        computed_shape.append(output - spare // step * step)
    context = first_half(lost, output_voxel_size)
    return BlockPlan(
        output_roi=output_roi,
        output_voxel_size=output_voxel_size,
        write_shape=Coordinate(shape),
        origin=origin,
        step=stride,
        computed_shape=Coordinate(computed_shape),
        before=context,
        after=lost - context,
        volume=None,
    )


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
    if output_roi.dims != raw.dims:
        raise RoiError(
            f"the region to predict {output_roi} has {output_roi.dims} axes, the data has {raw.dims} {raw.axes}"
        )
    if output_roi.empty:
        raise RoiError(f"the region to predict is empty: it begins at {output_roi.begin}, its shape {output_roi.shape}")
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


def first_half(lost: Coordinate, voxel_size: Coordinate) -> Coordinate:
    """Return what is lost before the output; of an odd number of voxels more is lost behind, as in training."""
    return lost / voxel_size / 2 * voxel_size


def round_up(value: Coordinate, step: Coordinate) -> Coordinate:
    """Return the least multiples of ``step`` that are not below ``value``."""
    return Coordinate(-(-v // s) * s for v, s in zip(value, step, strict=True))


def snap_outwards(roi: Roi, origin: Coordinate, step: Coordinate) -> Roi:
    """Return the least region on a grid that covers another one."""
    begin = Coordinate(o + (b - o) // s * s for b, o, s in zip(roi.begin, origin, step, strict=True))
    return Roi(begin, round_up(roi.end - begin, step))
