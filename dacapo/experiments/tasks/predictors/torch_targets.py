"""Targets and classes of samples as tensors, and the weights that follow from the classes.

A predictor turns the labels of one sample into a target and into classes: 0 and 1 where voxels are counted, and
``UNKNOWN`` where not. Samples are independent of each other, so they can be made anywhere and in any order. Weights
depend on how frequent classes were in all samples so far, so they follow where samples come together, batch by batch.

Tensors on a CPU are computed on with numpy, which takes a fraction of the time that torch takes for comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ChannelMismatchError, DtypeError
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.utils.affinities import grow_boundaries, known_affinities, padding, seg_to_affgraph
from dacapo.utils.balance_weights import inverse_frequencies
from dacapo.utils.shared_memory import Transferable
from dacapo.utils.tensors import as_array

if TYPE_CHECKING:
    from funlib.geometry import Roi

UNKNOWN = 2
"""The class of voxels that are not annotated, which have weight 0 and are not counted."""


@attrs.frozen
class SampleLabels:
    """The labels of one sample.

    Attributes:
        gt: Ground truth, axes channel (where there is one) and space, as ``as_tensor`` returns it.
        mask: Not 0 where annotated, likewise.
        gt_dtype: Data type of the ground truth.
        mask_dtype: Data type of the mask.
        roi: Where the ground truth lies, world units.
        target_roi: Where the target lies, inside of that.
        voxel_size: World units.
        mask_roi: Where the mask lies, which holds the target; as the ground truth by default.
    """

    gt: torch.Tensor
    mask: torch.Tensor
    gt_dtype: np.dtype[Any]
    mask_dtype: np.dtype[Any]
    roi: Roi
    target_roi: Roi
    voxel_size: Coordinate
    mask_roi: Roi = attrs.field()

    @mask_roi.default
    def _roi(self) -> Roi:
        return self.roi

    @property
    def inner(self) -> tuple[slice, ...]:
        """The region of the target as an index into the spatial axes of ground truth."""
        return self._place_of_target(self.roi)

    @property
    def mask_place(self) -> tuple[slice, ...]:
        """The region of the target as an index into the spatial axes of the mask."""
        return self._place_of_target(self.mask_roi)

    def annotated_around(self, roi: Roi) -> torch.Tensor | None:
        """Return where a region, such as that of ground truth, is annotated, as bool, spatial axes only.

        Voxels that the mask does not reach are not. None if it covers no more than the target, which says nothing
        about what lies around.
        """
        if self.mask_roi == self.target_roi:
            return None
        mask = self.mask if self.mask.ndim > self.roi.dims else self.mask[None]
        part = (mask != 0).any(dim=0)
        whole = torch.zeros(tuple(roi.shape / self.voxel_size), dtype=torch.bool, device=mask.device)
        common = roi.intersect(self.mask_roi)
        to, source = (((common - r.offset) / self.voxel_size).to_slices() for r in (roi, self.mask_roi))
        whole[to] = part[source]
        return whole

    @property
    def mask_inner(self) -> torch.Tensor:
        """The mask in the region of the target, with its channel axis in front."""
        mask = self.mask if self.mask.ndim > self.roi.dims else self.mask[None]
        return mask[(slice(None), *self.mask_place)]

    def _place_of_target(self, roi: Roi) -> tuple[slice, ...]:
        place: tuple[slice, ...] = ((self.target_roi - roi.offset) / self.voxel_size).to_slices()
        return place

    def channels(self, expected: int) -> torch.Tensor:
        """Return ground truth with its channel axis in front.

        Raises:
            DtypeError: If it is neither of integers nor of bool.
            ChannelMismatchError: If there is another number of channels.
        """
        if self.gt_dtype.kind not in "biu":
            raise DtypeError(
                f"ground truth has data type {self.gt_dtype}; labels must be integers or bool, convert them"
            )
        labels = self.gt if self.gt.ndim > self.roi.dims else self.gt[None]
        if len(labels) != expected:
            raise ChannelMismatchError(
                f"ground truth has {len(labels)} channels, but the task is about {expected}; "
                "make them the same, for example with a BinarizeArrayConfig that has one grouping per channel"
            )
        return labels

    def annotated(self, channels: int) -> torch.Tensor:
        """Return where the target is annotated, as bool, with one channel or as many as given.

        Raises:
            ChannelMismatchError: If the mask has another number of channels.
        """
        mask = self.mask_inner
        if len(mask) not in (1, channels):
            raise ChannelMismatchError(f"the mask has {len(mask)} channels; expected one, or {channels} as the target")
        return mask != 0

    def foreground(self, labels: torch.Tensor) -> torch.Tensor:
        """Return where labels are above 0."""
        return labels != 0 if self.gt_dtype.kind in "bu" else labels > 0

    def as_arrays(self) -> tuple[NumpyArray, NumpyArray]:
        """Return ground truth and mask as arrays."""
        gt, mask = as_array(self.gt, self.gt_dtype), as_array(self.mask, self.mask_dtype)
        return self._wrap(gt, self.roi), self._wrap(mask, self.mask_roi)

    def _wrap(self, values: npt.NDArray[Any], roi: Roi) -> NumpyArray:
        spatial = ["z", "y", "x"][-self.roi.dims :]
        axes = ["c", *spatial] if values.ndim > self.roi.dims else spatial
        return NumpyArray.from_np_array(values, roi, self.voxel_size, axes)


@attrs.frozen
class Classes(Transferable):
    """The classes of some channels of a target.

    Attributes:
        codes: 0, 1 or ``UNKNOWN``, uint8, axes (batch,) channel, space.
        balanced: Whether weights make both classes count alike; otherwise class 1 has weight 1 and class 0 none.
        clipmin: Lower limit of the fraction of a class when weights are balanced.
        clipmax: Upper limit of it.
        repeat: Number of channels of the target that each channel of ``codes`` stands for.
    """

    codes: torch.Tensor
    balanced: bool = True
    clipmin: float = 0.05
    clipmax: float = 0.95
    repeat: int = 1


@attrs.frozen
class TorchTarget(Transferable):
    """What a network is to predict for a sample, or for the samples of a batch.

    Attributes:
        target: Float32, axes (batch,) channel, space.
        classes: What the weights of the channels, in this order, follow from.
    """

    target: torch.Tensor
    classes: list[Classes]

    def tensors(self) -> Iterator[torch.Tensor]:
        """Return all tensors."""
        yield self.target
        yield from (group.codes for group in self.classes)


def stack_targets(targets: Sequence[TorchTarget]) -> TorchTarget:
    """Return the targets of several samples as those of a batch."""
    together = zip(*(target.classes for target in targets), strict=True)
    return TorchTarget(
        torch.stack([target.target for target in targets]),
        [attrs.evolve(alike[0], codes=torch.stack([c.codes for c in alike])) for alike in together],
    )


def mark_unknown(classes: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return 0 and 1 (bool or uint8) as codes, with ``UNKNOWN`` where not known; both channels first."""
    if classes.device.type == "cpu":
        codes, annotated = classes.numpy().view(np.uint8), known.numpy()
        if not annotated.all():
            codes = np.where(annotated, codes, np.uint8(UNKNOWN))
        return torch.from_numpy(np.ascontiguousarray(codes))
    return mark_on_device(classes, known)


def mark_on_device(classes: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Do what :func:`mark_unknown` does, on any device."""
    return classes.to(torch.uint8).masked_fill(~known, UNKNOWN)


def affinity_classes(
    labels: SampleLabels, neighborhood: Sequence[Sequence[int]], grow_boundary_iterations: int, background: bool
) -> torch.Tensor:
    """Return the affinities in the region of the target, 0 and 1 as uint8; see ``seg_to_affgraph``.

    Args:
        labels: Ground truth of one channel.
        neighborhood: Offsets in voxels.
        grow_boundary_iterations: By how many voxels objects are shrunk first.
        background: Whether background is one more object.
    """
    objects = labels.channels(1)[0]
    box, inner = _reach(labels.inner, objects.shape, neighborhood, grow_boundary_iterations)
    objects = objects[box]
    annotated = labels.annotated_around(labels.roi) if background else None
    if annotated is not None:
        annotated = annotated[box]
    if objects.device.type == "cpu":
        values = objects.numpy()
        if labels.gt_dtype.kind == "u":  # where 0 is the smallest number
            values = values.view(f"u{values.dtype.itemsize}")
        if background:
            values = with_background(values, None if annotated is None else annotated.numpy())
        shrunk = grow_boundaries(values, grow_boundary_iterations)
        affinities = seg_to_affgraph(shrunk, neighborhood, dtype=np.uint8)
        return torch.from_numpy(np.ascontiguousarray(affinities[(slice(None), *inner)]))
    return torch_affinities(
        objects,
        neighborhood,
        grow_boundary_iterations,
        unsigned=labels.gt_dtype.kind in "bu",
        background=background,
        annotated=annotated,
    )[(slice(None), *inner)]


def affinities_known(
    labels: SampleLabels, neighborhood: Sequence[Sequence[int]], grow_boundary_iterations: int
) -> torch.Tensor:
    """Return where affinities are known in the region of the target, as bool; see ``known_affinities``.

    Where the mask covers no more than the target, nothing is known of partners, and a voxel itself decides.

    Raises:
        ChannelMismatchError: If the mask has neither one channel nor one per affinity.
    """
    annotated = labels.annotated(len(neighborhood))
    if labels.mask_roi == labels.target_roi:
        return annotated
    mask = labels.mask if labels.mask.ndim > labels.roi.dims else labels.mask[None]
    box, inner = _reach(labels.mask_place, mask.shape[1:], neighborhood, grow_boundary_iterations)
    mask = (mask[(slice(None), *box)] != 0).to(torch.uint8)
    place = (slice(None), *inner)
    if mask.device.type == "cpu":
        known = known_affinities(mask.numpy(), neighborhood, grow_boundary_iterations)
        return torch.from_numpy(np.ascontiguousarray(known[place]))
    settings: dict[str, Any] = {"grow_boundary_iterations": grow_boundary_iterations, "unsigned": True}
    if len(mask) == 1:
        return torch_affinities(mask[0], neighborhood, **settings)[place].bool()
    each = [torch_affinities(m, [o], **settings)[0] for m, o in zip(mask, neighborhood, strict=True)]
    return torch.stack(each)[place].bool()


def _reach(
    target: Sequence[slice], shape: Sequence[int], neighborhood: Sequence[Sequence[int]], iterations: int
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the box around a target that partners and boundaries can lie in, and the target as a part of it."""
    reach = padding(neighborhood, Coordinate((1,) * len(shape)))
    box, inner = [], []
    for side, before, after, size in zip(target, *reach, shape, strict=True):
        begin = max(0, side.start + int(before) - iterations)
        box.append(slice(begin, min(size, side.stop + int(after) + iterations)))
        inner.append(slice(side.start - begin, side.stop - begin))
    return tuple(box), tuple(inner)


def with_background(labels: npt.NDArray[Any], annotated: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[Any]:
    """Return labels in which background is one more object: 1 more than before, in a wider type if there is need.

    The largest number of 64 bits, for which there is no wider type, becomes another one that no label has.

    Args:
        labels: Labels.
        annotated: Where background is known to be background; elsewhere it stays 0, which is no object. All by default.
    """
    objects = _background_as_object(labels)
    if annotated is not None:
        objects[(labels == 0) & ~annotated] = 0
    return objects


def _background_as_object(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    kind, size = labels.dtype.kind, labels.dtype.itemsize
    if kind == "b":
        return _background_as_object(labels.astype(np.uint8))
    largest = np.iinfo(labels.dtype).max
    overflows = labels.max(initial=0) == largest
    if overflows and size < 8:
        return _background_as_object(labels.astype(f"{kind}{2 * size}"))
    objects: npt.NDArray[Any] = labels + labels.dtype.type(1)
    if overflows:
        free = largest
        while (objects == free).any():
            free -= 1
        objects[labels == largest] = free
    return objects


def torch_affinities(
    objects: torch.Tensor,
    neighborhood: Sequence[Sequence[int]],
    grow_boundary_iterations: int = 0,
    *,
    unsigned: bool,
    background: bool = False,
    annotated: torch.Tensor | None = None,
) -> torch.Tensor:
    """Do what ``grow_boundaries`` and then ``seg_to_affgraph`` do, on any device.

    Args:
        objects: Labels, spatial axes only.
        neighborhood: Offsets in voxels.
        grow_boundary_iterations: By how many voxels objects are shrunk first.
        unsigned: Whether labels are bits of unsigned integers.
        background: Whether background is one more object; as after ``with_background``, without looking at values.
        annotated: Where background is known to be background, if it is an object; all by default.

    Returns:
        0 and 1 as uint8, axes offset, space.
    """
    if not background:
        inside = objects != 0 if unsigned else objects > 0
    else:
        inside = torch.ones_like(objects, dtype=torch.bool) if unsigned else objects >= 0
        if annotated is not None:
            inside &= annotated | (objects != 0)
    for _ in range(grow_boundary_iterations):
        boundary = ~inside
        for axis in range(objects.ndim):
            values, within, marks = (t.movedim(axis, 0) for t in (objects, inside, boundary))
            changes = (values[1:] != values[:-1]) | (within[1:] != within[:-1])
            marks[1:] |= changes
            marks[:-1] |= changes
        inside = ~boundary
    result = torch.zeros((len(neighborhood), *objects.shape), dtype=torch.uint8, device=objects.device)
    for channel, offset in zip(result, neighborhood, strict=True):
        sides = list(zip((int(o) for o in offset), objects.shape, strict=True))
        if any(abs(o) >= size for o, size in sides):
            continue
        here = tuple(slice(max(0, -o), size - max(0, o)) for o, size in sides)
        there = tuple(slice(max(0, o), size - max(0, -o)) for o, size in sides)
        channel[here] = (objects[here] == objects[there]) & inside[here]
        if grow_boundary_iterations or annotated is not None:  # otherwise, equal labels are both inside
            channel[here] &= inside[there]
    return result


# Weights

# For each entry of ``TorchTarget.classes``: voxels of either class and all voxels plus one, shape (channel, 3).
TensorCounts = list[torch.Tensor]


def no_counts(classes: Sequence[Classes]) -> TensorCounts:
    """Return the counts before the first batch, on the device of the classes."""
    counts = []
    for group in classes:
        channels, device = group.codes.shape[1], group.codes.device
        counts.append(torch.tensor([[0.0, 0.0, 1.0]] * channels, dtype=torch.float64, device=device))
    return counts


def count_classes(classes: Sequence[Classes]) -> TensorCounts:
    """Count the classes in a batch; channels that are not balanced are not counted."""
    return [_count(group) for group in classes]


def _count(group: Classes) -> torch.Tensor:
    channels = group.codes.transpose(0, 1)
    if not group.balanced:
        return torch.zeros((len(channels), 3), dtype=torch.float64, device=channels.device)
    if channels.device.type == "cpu":
        counted = [[np.count_nonzero(c == code) for code in (0, 1)] for c in channels.numpy()]
        found = torch.tensor(counted, dtype=torch.float64)
    else:
        found = count_on_device(channels)
    return torch.cat([found, found.sum(dim=1, keepdim=True)], dim=1)


def count_on_device(channels: torch.Tensor) -> torch.Tensor:
    """Return how often the codes 0 and 1 occur in each channel, float64, shape (channel, 2), on any device."""
    flat = channels.flatten(start_dim=1)
    return torch.stack([(flat == code).sum(dim=1) for code in (0, 1)], dim=1).to(torch.float64)


def class_weights(classes: Sequence[Classes], counts: TensorCounts) -> torch.Tensor:
    """Return the weights of a batch, float32, axes batch, channel, space.

    Weights are those of ``balance_weights``, with the fractions of the classes among all voxels counted so far.

    Args:
        classes: Classes of the batch.
        counts: Counts so far, those of the batch included.
    """
    weights = []
    for group, counted in zip(classes, counts, strict=True):
        looked_up = _look_up(group.codes, _table(group, counted))
        weights.append(looked_up.repeat_interleave(group.repeat, dim=1) if group.repeat > 1 else looked_up)
    return weights[0] if len(weights) == 1 else torch.cat(weights, dim=1)


def _table(group: Classes, counts: torch.Tensor) -> torch.Tensor:
    """Return the weights of the codes 0, 1 and 2, float32, shape (channel, 3)."""
    if not group.balanced:
        return torch.tensor([[0.0, 1.0, 0.0]], device=counts.device).expand(len(counts), 3)
    weights = inverse_frequencies(counts[:, :2], counts[:, 2:], group.clipmin, group.clipmax)
    return torch.nn.functional.pad(weights, (0, 1)).to(torch.float32)


def _look_up(codes: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    if codes.device.type == "cpu":
        weights = np.empty(codes.shape, dtype=np.float32)
        for sample, found in zip(codes.numpy(), weights, strict=True):
            for values, channel, out in zip(table.numpy(), sample, found, strict=True):
                np.take(values, channel, out=out, mode="clip")  # other modes copy the output
        return torch.from_numpy(weights)
    return look_up_on_device(codes, table)


def look_up_on_device(codes: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Return the entries of codes (axes batch, channel, space) in a table (axes channel, code), on any device."""
    channel = torch.arange(len(table), device=codes.device).reshape(1, -1, *(1,) * (codes.ndim - 2))
    return table[channel, codes.long()]
