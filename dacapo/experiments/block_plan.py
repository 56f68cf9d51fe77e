"""Lay out the blocks of a prediction, and the regions that they read, so that they fit together without seams.

Blocks divide the output from its corner, so that each writes whole chunks. The network's computation for a block is
aligned to a grid whose step is the network's downsampling, because a U-Net is equivariant only to such shifts; it may
therefore begin slightly before the block. Beyond the volume raw data is mirrored, as in training. A network with 'same'
padding instead pads the end of the volume with zeros itself, so nothing is added before the volume (except for voxels
that the network crops), and after it only enough to round its shape up to the downsampling. All inputs differ from that
of training by whole steps, so they lose the same voxels, and the output lies in them as in training.
"""

from __future__ import annotations

import attrs
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ChannelMismatchError, ConfigError, InputTooSmallError, RoiError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.model import Model
from dacapo.utils.wording import in_channels


@attrs.frozen
class BlockPlan:
    """The layout of blocks and the regions that they read; all in world units.

    Attributes:
        output_roi: The region to predict; blocks begin at its corner.
        output_voxel_size: Voxel size of the prediction.
        write_shape: Shape of the region that a block writes; the last blocks may be smaller.
        origin: A corner of the network's grid.
        step: Step of the network's grid.
        computed_shape: Shape of the part of that grid that a block needs, whole steps that cover its write region.
        before: Extent that is read before that part.
        after: Extent that is read after that part.
        volume: Limit of the region that is read, None if unlimited.
    """

    output_roi: Roi
    output_voxel_size: Coordinate
    write_shape: Coordinate
    origin: Coordinate
    step: Coordinate
    computed_shape: Coordinate
    before: Coordinate
    after: Coordinate
    volume: Roi | None

    def read_roi(self, write_roi: Roi) -> Roi:
        """Return the region to read for a block."""
        begin = snap_outwards(write_roi, self.origin, self.step).begin - self.before
        if self.volume is not None:
            begin = Coordinate(map(min, begin, self.volume.end - self.read_shape))
            begin = Coordinate(map(max, begin, self.volume.begin))
        return Roi(begin, self.read_shape)

    @property
    def read_shape(self) -> Coordinate:
        """Shape that a block reads; the first and last blocks of a limited volume read further on the other side."""
        shape = self.before + self.computed_shape + self.after
        return shape if self.volume is None else Coordinate(map(min, shape, self.volume.shape))


@attrs.frozen
class _Axis:
    """A network and a volume along one axis, in world units.

    Attributes:
        begin: Begin of the region to predict.
        extent: Its extent.
        raw_begin: Begin of the volume.
        raw_extent: Its extent.
        voxel: Voxel size of the volume.
        least: Size of the inputs of training, the smallest that the network is known to accept.
        size: Size of its inputs in evaluation. All sizes in between that differ by multiples of the step are accepted.
        step: Step of the network's grid.
        before: Extent of an input before its output.
        after: Extent of an input after its output.
        halo: Extent that the network needs beyond an output region on either side.
        is_padded: Whether the network pads its input.
        is_fixed: Whether the network accepts a single input size.
        asked: Extent that a block should write, None for the one that follows from the input size.
    """

    begin: int
    extent: int
    raw_begin: int
    raw_extent: int
    voxel: int
    least: int
    size: int
    step: int
    before: int
    after: int
    halo: int
    is_padded: bool
    is_fixed: bool
    asked: int | None

    def lay_out(self) -> _Layout:
        """Return the layout of the blocks."""
        return self._lay_out_padded() if self.is_padded else self._lay_out_unpadded()

    def _lay_out_unpadded(self) -> _Layout:
        """Read exactly the voxels that the network loses, also beyond the volume."""
        origin, step, output = self.raw_begin + self.before, self.step, self.size - self.before - self.after
        if self.is_fixed and (self.begin - origin) % step + step > output:
            step = self.voxel  # outputs of a single size cannot be cropped to a grid of larger steps
        phase = (self.begin - origin) % step
        steps = max((output - phase) // step, 1)
        if self.asked is not None:
            asked = -(-self.asked // step)
            steps = min(steps, asked) if self.is_fixed else asked
        write = min(steps * step, self.extent)
        enough = max(phase + write, self.least - self.before - self.after)
        computed = output if self.is_fixed else output + _round_up(enough - output, step)
        return _Layout(write, origin, step, computed, self.before, self.after, None)

    def _lay_out_padded(self) -> _Layout:
        """Read the whole reach of the network, but beyond the volume only the voxels that it loses."""
        step, margin = self.step, _round_up(self.before, self.step)
        most = _round_up(self.raw_extent, step) + margin + _round_up(self.after, step)
        before = _round_up(max(self.halo, self.before), step)
        # A block as small as its context would mostly compute values that are discarded.
        usual = max(self.size - self.before - self.after, 2 * before, step) // step * step
        write = min(usual if self.asked is None else _round_up(self.asked, step), self.extent)
        computed = _round_up((self.begin - self.raw_begin) % step + write, step)
        read = self._complete(max(before + computed + max(self.halo, self.after), self.least))
        after = read - before - computed
        volume = (self.raw_begin - margin, self._complete(most))
        return _Layout(write, self.raw_begin, step, computed, before, after, volume)

    def _complete(self, size: int) -> int:
        """Return the smallest size from the given one on that the network accepts."""
        return size + (self.size - size) % self.step


@attrs.frozen
class _Layout:
    """A `BlockPlan` along one axis; the volume as its begin and extent."""

    write: int
    origin: int
    step: int
    computed: int
    before: int
    after: int
    volume: tuple[int, int] | None


def plan_blocks(
    model: Model, raw: Array, output_roi: Roi | None = None, write_shape: Coordinate | None = None
) -> BlockPlan:
    """Lay out the blocks of a prediction.

    Args:
        model: The network.
        raw: The input.
        output_roi: The region to predict in world units, by default the whole of ``raw``.
        write_shape: Extent that a block writes, in world units; it is rounded to a multiple of the network's step, and
            limited to the region. By default it follows from the input shape of the network in evaluation.

    Raises:
        ConfigError: If the number of axes differs from the network's, the network predicts more than its input covers,
            or it does not accept the blocks.
        RoiError: If ``output_roi`` is empty, lies outside ``raw`` or is not aligned to the output's voxels.
        InputTooSmallError: If ``raw`` is smaller than the input of the network.
        ChannelMismatchError: If the number of channels of ``raw`` differs from the network's.
    """
    check_input(model, raw)
    output_voxel_size = model.scale(raw.voxel_size)
    output_roi = _check_output_roi(raw, output_roi, output_voxel_size)
    layouts = [axis.lay_out() for axis in _axes(model, raw, output_roi, write_shape)]
    plan = BlockPlan(
        output_roi=output_roi,
        output_voxel_size=output_voxel_size,
        write_shape=Coordinate(layout.write for layout in layouts),
        origin=Coordinate(layout.origin for layout in layouts),
        step=Coordinate(layout.step for layout in layouts),
        computed_shape=Coordinate(layout.computed for layout in layouts),
        before=Coordinate(layout.before for layout in layouts),
        after=Coordinate(layout.after for layout in layouts),
        volume=_volume(layouts, output_roi),
    )
    _check_blocks(model, raw, plan)
    return plan


def _axes(model: Model, raw: Array, output_roi: Roi, write_shape: Coordinate | None) -> list[_Axis]:
    """Return the network and the volume along each axis."""
    voxel_size, stride, is_fixed = raw.voxel_size, model.architecture.stride, model.architecture.has_fixed_shape
    increase = model.eval_input_shape - model.input_shape
    # An input that is larger by a fraction of a step would lose a different number of voxels than in training.
    size = model.input_shape + (increase if is_fixed else increase / stride * stride)
    before, after = model.context(voxel_size)
    columns = zip(
        output_roi.begin,
        output_roi.shape,
        raw.roi.begin,
        raw.roi.shape,
        voxel_size,
        model.input_shape * voxel_size,
        size * voxel_size,
        stride * voxel_size,
        before,
        after,
        model.receptive_halo * voxel_size,
        model.padded_axes,
        (is_fixed,) * stride.dims,
        write_shape or (None,) * stride.dims,
        strict=True,
    )
    return [_Axis(*column) for column in columns]


def _volume(layouts: list[_Layout], output_roi: Roi) -> Roi | None:
    """Return the limit of the region that is read, None if no axis has one."""
    if not any(layout.volume for layout in layouts):
        return None
    ends = []
    for layout, begin, end in zip(layouts, output_roi.begin, output_roi.end, strict=True):
        around = layout.before + layout.computed + layout.after
        ends.append(layout.volume or (begin - around, end - begin + 2 * around))  # more than any block reads
    return Roi(tuple(begin for begin, _ in ends), tuple(extent for _, extent in ends))


def _check_blocks(model: Model, raw: Array, plan: BlockPlan) -> None:
    """Check that the output of the network for a block matches the plan.

    Raises:
        ConfigError: If it does not.
    """
    shape = plan.read_shape / raw.voxel_size
    before, after = model.context(raw.voxel_size)
    expected = (plan.read_shape - before - after) / plan.output_voxel_size
    advice = (
        "its stride may differ from the architecture's, or it may accept only inputs of a certain shape "
        "(has_fixed_shape); give it an eval_shape_increase that fits, or other blocks"
    )
    name = f"the network, which is trained with inputs of {tuple(model.input_shape)} voxels,"
    try:
        _, got = model.compute_output_shape(shape)
    except Exception as error:
        raise ConfigError(
            f"{name} cannot be used for a block of {tuple(shape)} voxels: {type(error).__name__}: {error}; {advice}"
        ) from error
    if got != expected:
        raise ConfigError(
            f"{name} returns {tuple(got)} voxels for a block of {tuple(shape)}, where {tuple(expected)} are expected "
            f"if it loses as many as in training; {advice}"
        )


def check_input(model: Model, raw: Array) -> None:
    """Check that an array is suitable as the input of a network.

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
            f"the network takes {in_channels(model.num_in_channels, 'input')}, "
            f"the array has {channels} (axes {raw.axes})"
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


def round_up(value: Coordinate, step: Coordinate) -> Coordinate:
    """Return the smallest multiples of ``step`` that are not below ``value``."""
    return Coordinate(_round_up(v, s) for v, s in zip(value, step, strict=True))


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def snap_outwards(roi: Roi, origin: Coordinate, step: Coordinate) -> Roi:
    """Return the smallest region on a grid that covers another one."""
    begin = Coordinate(o + (b - o) // s * s for b, o, s in zip(roi.begin, origin, step, strict=True))
    return Roi(begin, round_up(roi.end - begin, step))
