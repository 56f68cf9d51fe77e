"""Affinities on any device; on a CPU, :mod:`dacapo.utils.affinities` is several times as fast."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .affinities import Box, pair_slices


def torch_affinities(
    objects: torch.Tensor,
    neighborhood: Sequence[Sequence[int]],
    grow_boundary_iterations: int = 0,
    *,
    unsigned: bool,
    background: bool = False,
    annotated: torch.Tensor | None = None,
    region: Box | None = None,
) -> torch.Tensor:
    """Do the same as ``grow_boundaries``, followed by ``seg_to_affgraph``, on any device.

    Args:
        objects: Labels, spatial axes only.
        neighborhood: Offsets in voxels.
        grow_boundary_iterations: By how many voxels objects are shrunk first.
        unsigned: Whether labels are bits of unsigned integers.
        background: Whether background is one more object; as after ``with_background``, without looking at values.
        annotated: Where background is known to be background, if it is an object; all by default.
        region: Return the affinities of the voxels in this part only; all by default.

    Returns:
        0 and 1 as uint8, axes offset, space.
    """
    inside = _inside(objects, unsigned, background, annotated)
    for _ in range(grow_boundary_iterations):
        boundary = ~inside
        for axis in range(objects.ndim):
            values, within, marks = (t.movedim(axis, 0) for t in (objects, inside, boundary))
            changes = (values[1:] != values[:-1]) | (within[1:] != within[:-1])
            marks[1:] |= changes
            marks[:-1] |= changes
        inside = ~boundary
    region = tuple(region or (slice(0, size) for size in objects.shape))
    shape = (len(neighborhood), *(side.stop - side.start for side in region))
    result = torch.zeros(shape, dtype=torch.uint8, device=objects.device)
    for channel, offset in zip(result, neighborhood, strict=True):
        pair = pair_slices(region, objects.shape, [int(o) for o in offset])
        if pair is None:
            continue
        place, here, there = pair
        channel[place] = (objects[here] == objects[there]) & inside[here]
        if grow_boundary_iterations or annotated is not None:  # otherwise, equal labels are both inside
            channel[place] &= inside[there]
    return result


def torch_known_affinities(
    annotated: torch.Tensor, neighborhood: Sequence[Sequence[int]], boundary_iterations: int, region: Box
) -> torch.Tensor:
    """Do the same as ``known_affinities``, on any device, for a mask with a channel axis."""
    groups = [list(neighborhood)] if len(annotated) == 1 else [[offset] for offset in neighborhood]
    known = [
        torch_affinities(channel != 0, group, boundary_iterations, unsigned=True, region=region)
        for channel, group in zip(annotated, groups, strict=True)
    ]
    return torch.cat(known).bool()


def _inside(objects: torch.Tensor, unsigned: bool, background: bool, annotated: torch.Tensor | None) -> torch.Tensor:
    """Return where objects are."""
    if not background:
        return objects != 0 if unsigned else objects > 0
    inside = torch.ones_like(objects, dtype=torch.bool) if unsigned else objects >= 0
    return inside if annotated is None else inside & (annotated | (objects != 0))
