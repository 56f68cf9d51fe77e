"""Sections of a volume to leaf through, with labels over them: one block of HTML, without a server or a kernel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, RoiError

from .array import Array
from .axes import spatial_axes_of
from .sections import SIDE, in_words, sampled
from .world import common_unit

SLICES = 24
"""Most pictures along an axis."""
WIDTH = 420
"""Width or height of the larger side on the screen, in pixels."""

_PAGE = Template((Path(__file__).parent / "slice_viewer.html").read_text(encoding="utf-8"))


class SliceViewer:
    """Pictures of sections along each axis, which a notebook shows with controls to leaf through.

    All pictures are part of it, some megabytes, so it works in a stored or exported notebook, and in a file. It is
    limited to the middle of a large volume, 256 voxels along each axis, and to 24 sections, evenly spaced.

    Args:
        raw: The image.
        labels: Labels to lay over it, such as truth or a segmentation; 0 is transparent. They may have other voxels.
        roi: The region to show, in world units.
        channel: The channel of ``raw`` to show, or three of them as red, green and blue.

    Raises:
        ConfigError: If the arrays differ in their axes, do not overlap, or count different units; if there is no such
            channel.
        RoiError: If the region is no ``Roi`` of as many axes.
    """

    def __init__(
        self, raw: Array, labels: Array | None = None, roi: Roi | None = None, channel: int | Sequence[int] = 0
    ) -> None:
        if labels is not None and labels.dims != raw.dims:
            raise ConfigError(
                f"the image has {raw.dims} axes in space, the labels have {labels.dims}; give both the same"
            )
        if labels is not None and common_unit([raw.world, labels.world]) is not None:
            raise ConfigError(f"the image counts {raw.world}, the labels count {labels.world}; give both the same unit")
        if roi is not None and (not isinstance(roi, Roi) or roi.dims != raw.dims):
            raise RoiError(f"the region is {roi!r}; expected a Roi of {raw.dims} axes, in world units")
        self.raw, self.labels, self._channels = raw, labels, _channels_of(raw, channel)
        wanted = raw.roi if roi is None else roi.intersect(raw.roi)
        if wanted.empty:
            raise ConfigError(f"the region {roi} does not overlap the image, which spans {raw.roi}")
        if labels is not None and wanted.intersect(labels.roi).empty:
            raise ConfigError(f"the labels, which span {labels.roi}, do not overlap the image, which spans {wanted}")
        self.roi = _middle(wanted, raw)

    def __repr__(self) -> str:
        return f"SliceViewer({self.raw}, {in_words(self.raw, self.roi)})"

    def page(self) -> str:
        """Return the HTML of a page."""
        stacks = [self._stack(axis) for axis in range(self.raw.dims)] if self.raw.dims > 2 else [self._stack(None)]
        return _PAGE.substitute(
            title=escape(str(self.raw)), stacks=json.dumps(stacks), has_labels=self.labels is not None
        )

    def _repr_html_(self) -> str:
        # A frame keeps names and styles apart from those of the notebook, and of other viewers in it.
        return (
            f'<iframe srcdoc="{escape(self.page())}" sandbox="allow-scripts" '
            f'style="width:100%;max-width:{WIDTH + 40}px;height:{WIDTH + 130}px;border:0"></iframe>'
        )

    def save(self, path: Path | str) -> None:
        """Write the page to a file, which any browser opens."""
        Path(path).expanduser().write_text(self.page(), encoding="utf-8")

    def _stack(self, axis: int | None) -> dict[str, Any]:
        """Return the pictures along an axis, and how large to show them."""
        from dacapo.utils.images import gray_image, overlay_image, png_address, value_range

        voxel = self.raw.voxel_size
        rows, columns = (number for number in range(self.raw.dims) if number != axis)
        extent = [self.roi.shape[rows], self.roi.shape[columns]]
        names = spatial_axes_of(self.raw.axes)
        stack: dict[str, Any] = {
            "axis": names[axis] if axis is not None else "",
            "width": round(WIDTH * extent[1] / max(extent)),
            "height": round(WIDTH * extent[0] / max(extent)),
            "slices": [],
        }
        places = self._places(axis)
        images = [self._image(roi, axis) for roi in places]
        low, high = value_range(np.stack(images))
        for roi, image in zip(places, images, strict=True):
            shown = {"raw": png_address(gray_image(image, low, high)), "place": ""}
            if axis is not None:
                shown["place"] = in_words(self.raw, Roi(roi.begin, voxel)).split(", ")[axis]
            if self.labels is not None:
                labels = sampled(self.labels, roi, roi.shape / voxel).reshape(image.shape[:2])
                shown["labels"] = png_address(overlay_image(labels))
            stack["slices"].append(shown)
        return stack

    def _image(self, roi: Roi, axis: int | None) -> npt.NDArray[Any]:
        """Return a section of the raw data: rows and columns, and red, green and blue if three channels are shown."""
        shape = roi.shape / self.raw.voxel_size
        rows, columns = (length for number, length in enumerate(shape) if number != axis)
        planes = [sampled(self.raw, roi, shape, channel).reshape(rows, columns) for channel in self._channels]
        return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)

    def _places(self, axis: int | None) -> list[Roi]:
        """Return the regions of the pictures along an axis, one voxel deep."""
        if axis is None:
            return [self.roi]
        depth, voxel = self.roi.shape[axis] // self.raw.voxel_size[axis], self.raw.voxel_size
        depths = np.unique(np.linspace(0, depth - 1, min(depth, SLICES)).round().astype(int))
        places = []
        for number in depths:
            begin, shape = list(self.roi.begin), list(self.roi.shape)
            begin[axis] += int(number) * voxel[axis]
            shape[axis] = voxel[axis]
            places.append(Roi(begin, shape))
        return places


def _channels_of(array: Array, channel: int | Sequence[int]) -> list[int]:
    """Return the channels to show, one or three.

    Raises:
        ConfigError: If the array does not have them.
    """
    channels = [channel] if isinstance(channel, int | np.integer) else list(channel)
    count = array.num_channels if array.channel_axis is not None else 1
    if len(channels) not in (1, 3) or not all(0 <= number < (count or 1) for number in channels):
        raise ConfigError(
            f"channel is {channel!r}; expected a number below {count}, or three as red, green and blue: {array} has "
            f"{'no axis of channels' if array.channel_axis is None else f'{count} channels'}"
        )
    return [int(number) for number in channels]


def _middle(roi: Roi, array: Array) -> Roi:
    """Return the middle of a region, of limited size and on the voxel grid of an array."""
    voxel, origin = array.voxel_size, array.roi.offset
    on_grid = (roi - origin).snap_to_grid(voxel, mode="grow")  # multiples of the voxel size, from the origin
    size = on_grid.shape / voxel
    shape = Coordinate(min(length, SIDE) for length in size)
    return Roi(origin + on_grid.begin + (size - shape) / 2 * voxel, shape * voxel)
