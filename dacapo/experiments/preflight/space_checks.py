"""Checks of where arrays lie: coverage, context, voxel sizes and units."""

from __future__ import annotations

from collections.abc import Iterator

from .look import Look, files_of
from .report import Finding


def coverage(look: Look) -> Iterator[Finding]:
    """Find ground truth without raw data, which is not used."""
    for part in look.datasets:
        gt, raw = part.dataset.gt, part.dataset.raw
        if gt is None or gt.dims != raw.dims or raw.roi.contains(gt.roi):
            continue
        used = raw.roi.intersect(gt.roi).size / gt.roi.size
        message = (
            f"only {used:.0%} of ground truth at {gt.roi} has raw data, which is at {raw.roi}; use larger raw data, or "
            "check the offsets"
        )
        yield part.finding("warning", "coverage", "raw_config", message)


def context(look: Look) -> Iterator[Finding]:
    """Find datasets in which the network sees mirrored raw data, because there is none around the ground truth."""
    for part in look.datasets:
        gt, raw, sides = part.dataset.gt, part.dataset.raw, look.context(part)
        if gt is None or gt.dims != raw.dims or sides is None:
            continue
        before, after = sides
        wanted = raw.roi.intersect(gt.roi)
        seen = raw.roi.grow(-before, -after) if min(raw.roi.shape - before - after) > 0 else None
        whole = 0.0 if seen is None else seen.intersect(wanted).size / max(1, wanted.size)
        if whole < 1:
            message = (
                f"the network sees {tuple(before)} before and {tuple(after)} after its prediction, in world units, and "
                f"{whole:.0%} of the ground truth has that much raw data around it; elsewhere raw data is mirrored, "
                "or blocks are moved inwards; raw data that reaches further than the ground truth avoids that"
            )
            yield part.finding("note" if whole > 0 else "warning", "context", "raw_config", message)


def voxel_sizes(look: Look) -> Iterator[Finding]:
    """Find validation data of another voxel size than training data."""
    training = {part.dataset.raw.voxel_size for part in look.of("train")}
    for part in look.of("validate"):
        size = part.dataset.raw.voxel_size
        if training and size not in training:
            learned = " and ".join(str(tuple(other)) for other in training)
            message = (
                f"raw data has voxels of {tuple(size)}, raw data for training of {learned}; use the same scale level, "
                "or resample with a ResampledArrayConfig in raw_config"
            )
            yield part.finding("warning", "voxel size", "raw_config", message)


def units(look: Look) -> Iterator[Finding]:
    """Find files that state no unit where others do, so that their numbers count as being in that of the others."""
    stated: list[str] = []
    silent = []
    for part in look.datasets:
        arrays = (("raw_config", part.dataset.raw), ("gt_config", part.dataset.gt), ("mask_config", part.dataset.mask))
        for field, array in arrays:
            for file in () if array is None else files_of(array):
                known = [unit for unit in file.world.shown if unit]
                stated += known
                if not known:
                    silent.append((part, field, file))
    if not stated:
        return
    others = ", ".join(dict.fromkeys(stated))
    for part, field, file in silent:
        message = (
            f"{file} states no unit, but other files do ({others}); its voxel size and offset count as if they were in "
            "that unit; write the unit into its attributes"
        )
        yield part.finding("warning", "units", field, message)
