"""Samples of datasets as tensors: where they lie, what is read for them, and what is made of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from logging import getLogger
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import TrainingError
from dacapo.experiments.datasplits.datasets.arrays import Array, NumpyArray, OnesArray, Read, read_all
from dacapo.experiments.tasks.predictors.torch_targets import SampleLabels, TorchTarget, as_array, as_tensor

from .regions import DatasetRegions, SampleRegions, dataset_regions
from .torch_augments import Change, SampleRois, one_thread

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.tasks.predictors import Predictor

    from .gp_augments import AugmentConfig

logger = getLogger(__name__)

MOST_ATTEMPTS = 10_000

# Types of raw data that are sent to a device as they are, and become float32 there.
SENT_AS_THEY_ARE = ("uint8", "int8", "int16", "float16", "float32")


@attrs.define
class TargetSpec:
    """The region of a target, as predictors are asked about it."""

    roi: Roi
    voxel_size: Coordinate
    dtype: Any = None

    def copy(self) -> TargetSpec:
        """Return a copy."""
        return TargetSpec(self.roi, self.voxel_size, self.dtype)


@attrs.define
class Crop:
    """What was read for one sample, and what is to be done with it.

    Attributes:
        raw: Raw data, axes channel and space.
        gt: Ground truth, axes channel (where there is one) and space, as ``as_tensor`` returns it.
        mask: Mask, likewise.
        gt_dtype: Data type of the ground truth.
        mask_dtype: Data type of the mask.
        changes: What the augmentations do, in this order.
        mask_is_changed: Whether this was already done to the mask.
    """

    raw: torch.Tensor
    gt: torch.Tensor
    mask: torch.Tensor
    gt_dtype: np.dtype[Any]
    mask_dtype: np.dtype[Any]
    changes: list[Change]
    mask_is_changed: bool = False

    def to(self, send: Callable[[torch.Tensor], torch.Tensor]) -> Crop:
        """Return the same with tensors as a function returns them."""
        return attrs.evolve(self, raw=send(self.raw), gt=send(self.gt), mask=send(self.mask))


@attrs.frozen
class PlainTarget:
    """The target of a sample from a predictor that works on arrays only; its weights are still to be made.

    Attributes:
        gt: Ground truth.
        target: Target.
        mask: Mask.
        target_roi: The region that is predicted, world units.
    """

    gt: NumpyArray
    target: Array
    mask: NumpyArray
    target_roi: Roi


class DatasetCrops:
    """Crops of one dataset.

    Where a sample lies is decided by the region that the network predicts: it is inside of the ground truth. The input
    around it, and what a deformation needs in addition, may reach beyond the data. There raw data is mirrored, and
    nothing is annotated.
    """

    def __init__(self, dataset: Dataset, regions: SampleRegions, clip_raw: bool) -> None:
        """Set the dataset.

        Args:
            dataset: Was found to be fit for training.
            regions: The regions of a sample.
            clip_raw: Whether raw data outside of the ground truth counts as missing.
        """
        place: DatasetRegions = dataset_regions(dataset, regions)
        gt = dataset.gt
        assert gt is not None
        self.origin = place.origin
        self.target = regions.target_roi
        self.bounds = place.labelled - place.origin
        self.raw, self.gt = dataset.raw, gt
        self.mask = OnesArray.like(gt) if dataset.mask is None else dataset.mask
        whole = self.bounds.snap_to_grid(regions.voxel_size, mode="grow") + place.origin
        self.raw_inside = whole if clip_raw else None
        # Ground truth beyond the raw data would be compared with mirrored data, so it counts as not annotated.
        self.labelled = place.labelled
        self.points = [Coordinate(point) - place.origin for point in dataset.sample_points or []]

    def draw_shift(self, rng: np.random.Generator, step: Coordinate) -> Coordinate:
        """Draw how far a sample is moved, a multiple of ``step``."""
        if self.points:
            wanted = self.points[int(rng.integers(len(self.points)))] - self.target.center
            return Coordinate(round(w / s) * s for w, s in zip(wanted, step, strict=True))
        ranges = [self._range(axis, int(size)) for axis, size in enumerate(step)]
        return Coordinate(
            int(rng.integers(lower, upper, endpoint=True)) * size
            for (lower, upper), size in zip(ranges, step, strict=True)
        )

    def _range(self, axis: int, step: int) -> tuple[int, int]:
        """Return the smallest and the largest shift along an axis, in steps.

        Where the ground truth is the smaller of the two, the target is moved such that it contains all of it.
        """
        to_begin = self.bounds.begin[axis] - self.target.begin[axis]
        to_end = self.bounds.end[axis] - self.target.end[axis]
        smaller, larger = min(to_begin, to_end), max(to_begin, to_end)
        lower, upper = -(-smaller // step), larger // step
        if lower > upper:  # no place on the grid fits; the nearest one leaves out less than a step
            lower = upper = round((smaller + larger) / 2 / step)
        return int(lower), int(upper)

    def raw_in(self, roi: Roi) -> Read:
        """Return what to read for raw values, mirrored where there are none."""
        return Read(self.raw, roi + self.origin, "reflect", self.raw_inside)

    def gt_in(self, roi: Roi) -> Read:
        """Return what to read for labels, 0 where there are none."""
        return Read(self.gt, roi + self.origin, "zero", self.labelled)

    def mask_in(self, roi: Roi) -> Read:
        """Return what to read for the mask, 0 where there is none."""
        return Read(self.mask, roi + self.origin, "zero", self.labelled)


@attrs.frozen
class Draw:
    """All that is random in a sample but for noise.

    Attributes:
        crops: The dataset.
        shift: How far the sample is moved.
        changes: What the augmentations do.
        needed: What has to be read.
    """

    crops: DatasetCrops
    shift: Coordinate
    changes: list[Change]
    needed: SampleRois


class SampleMaker:
    """Makes the samples of a training, in any process.

    All that is random in a sample follows from its seed. First a dataset is chosen by weight and a place in it by
    chance; the augmentations are drawn, which decides about what has to be read; and all this is drawn again if too
    little is annotated there, before anything but the mask was read.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        regions: SampleRegions,
        predictor: Predictor,
        augments: Sequence[AugmentConfig],
        min_masked: float,
        clip_raw: bool,
    ) -> None:
        """Set what samples are made of. Read no voxels yet.

        Args:
            datasets: Where samples come from.
            regions: The regions of a sample.
            predictor: Makes target and weight.
            augments: What changes samples, in this order.
            min_masked: Smallest annotated part of a sample.
            clip_raw: Whether raw data outside of the ground truth counts as missing (and is mirrored).

        Raises:
            ConfigError: If an augmentation does not fit the samples.
        """
        self.regions = regions
        self.predictor = predictor
        self.augments = list(augments)
        self.min_masked = min_masked
        self.crops = [DatasetCrops(dataset, regions, clip_raw) for dataset in datasets]
        weights = np.array([dataset.weight for dataset in datasets], dtype=float)
        self.chances = weights / weights.sum()
        spec = predictor.gt_region_for_roi(TargetSpec(regions.target_roi, regions.target_voxel_size))
        self.wanted = SampleRois(regions.raw_roi, spec.roi, regions.voxel_size, regions.target_voxel_size)
        self._draw_changes(np.random.default_rng(0))  # what cannot work fails here

    @property
    def inner(self) -> Any:
        """The region of the target as an index into labels."""
        roi = self.regions.target_roi - self.wanted.labels.offset
        return (..., *(roi / self.regions.target_voxel_size).to_slices())

    def read(self, seed: int) -> Crop:
        """Read what a sample needs.

        Args:
            seed: Decides about all that is random in the sample.

        Raises:
            TrainingError: If too little is annotated everywhere.
        """
        rng = np.random.default_rng(seed)
        mask, changed = None, None
        with one_thread():
            if self.min_masked > 0:
                draw, mask, changed = self._draw_annotated(rng)
            else:
                draw = self._draw(rng)
        crops, rois, shift = draw.crops, draw.needed, draw.shift
        reads = [crops.raw_in(rois.raw + shift), crops.gt_in(rois.labels + shift)]
        if mask is None:
            reads.append(crops.mask_in(rois.labels + shift))
        values = [channels_first(*pair) for pair in zip(read_all(reads), reads, strict=True)]
        raw, gt = values[:2]
        mask = values[2] if mask is None else mask
        return Crop(
            _own(raw if raw.ndim > self.wanted.dims else raw[np.newaxis]),
            as_tensor(gt),
            as_tensor(mask) if changed is None else changed,
            gt.dtype,
            mask.dtype,
            draw.changes,
            changed is not None,
        )

    def _draw(self, rng: np.random.Generator) -> Draw:
        crops = self.crops[int(rng.choice(len(self.crops), p=self.chances))]
        shift = crops.draw_shift(rng, self.wanted.step)
        changes = self._draw_changes(rng)
        return Draw(crops, shift, changes, changes[0].needed if changes else self.wanted)

    def _draw_annotated(self, rng: np.random.Generator) -> tuple[Draw, npt.NDArray[Any], torch.Tensor | None]:
        """Draw samples until enough of one is annotated; return its mask, and the changed one if that was needed."""
        warn_at = time.monotonic() + 10
        for attempt in range(1, MOST_ATTEMPTS + 1):
            draw = self._draw(rng)
            read = draw.crops.mask_in(draw.needed.labels + draw.shift)
            mask = channels_first(read_all([read])[0], read)
            accepted, changed = self._check(mask, draw.changes)
            if accepted:
                return draw, mask, changed
            if time.monotonic() > warn_at:
                logger.warning("%d samples in a row had too little annotated; looking on", attempt)
                warn_at = time.monotonic() + 60
        raise TrainingError(
            f"{MOST_ATTEMPTS} samples in a row were rejected: less than min_masked = {self.min_masked} of each was "
            "masked in; lower min_masked or check the masks"
        )

    def _draw_changes(self, rng: np.random.Generator) -> list[Change]:
        """Draw the augmentations, from the last to the first, because each decides about what it needs."""
        changes: list[Change] = []
        wanted = self.wanted
        for augment in reversed(self.augments):
            changes.insert(0, augment.torch_augment(wanted, rng))
            wanted = changes[0].needed
        return changes

    def _check(self, mask: npt.NDArray[Any], changes: Sequence[Change]) -> tuple[bool, torch.Tensor | None]:
        """Return whether enough of the target is annotated, and the changed mask if it was needed to find out."""
        annotated = mask != 0
        if annotated.all() or not annotated.any():
            return bool(annotated.all()), None
        changed = as_tensor(mask)
        for change in changes:
            changed = change.labels(changed)
        return float((changed[self.inner].numpy() != 0).mean()) >= self.min_masked, changed

    def raw(self, crop: Crop) -> torch.Tensor:
        """Return the raw data of a sample, float32, axes channel and space."""
        values = crop.raw.to(torch.float32)
        for change in crop.changes:
            values = change.raw(values)
        return values

    def labels(self, crop: Crop) -> SampleLabels:
        """Return ground truth and mask of a sample."""
        gt, mask = crop.gt, crop.mask
        for change in crop.changes:
            gt = change.labels(gt)
            mask = mask if crop.mask_is_changed else change.labels(mask)
        return SampleLabels(
            gt,
            mask,
            crop.gt_dtype,
            crop.mask_dtype,
            self.wanted.labels,
            self.regions.target_roi,
            self.regions.target_voxel_size,
        )

    def target(self, labels: SampleLabels) -> TorchTarget | PlainTarget:
        """Return the target of a sample, and what its weights follow from."""
        if self.predictor.has_torch_target():
            target = self.predictor.torch_target(labels)
            if target is not None:
                return target
        gt, mask = labels.as_arrays()
        return PlainTarget(gt, self.predictor.create_target(gt), mask, self.regions.target_roi)

    def shown(self, labels: SampleLabels) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return ground truth and mask in the region of the target, for a snapshot."""
        return (
            as_array(labels.gt[self.inner], labels.gt_dtype),
            as_array(labels.mask[self.inner], labels.mask_dtype),
        )


def channels_first(values: npt.NDArray[Any], read: Read) -> npt.NDArray[Any]:
    """Return what was read of an array with its channels in front."""
    axis = read.array.channel_axis
    return values if axis is None else np.moveaxis(values, axis, 0)


def _own(raw: npt.NDArray[Any]) -> torch.Tensor:
    """Return raw values in memory of their own, since augmentations overwrite them, of a type that can be sent."""
    return torch.from_numpy(np.array(raw, raw.dtype if raw.dtype.name in SENT_AS_THEY_ARE else np.float32, order="C"))
