"""Samples of datasets as tensors: where they lie, what is read for them, and what is made of it."""

from __future__ import annotations

import itertools
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
from dacapo.experiments.datasplits.datasets.arrays.annotated_labels import AnnotatedLabels
from dacapo.experiments.datasplits.datasets.arrays.channels import channels_first
from dacapo.experiments.tasks.predictors.predictor import TargetSpec
from dacapo.experiments.tasks.predictors.sample_labels import SampleLabels
from dacapo.experiments.tasks.predictors.torch_target import TorchTarget
from dacapo.utils.one_thread import one_thread
from dacapo.utils.shared_memory import Transferable
from dacapo.utils.tensors import as_array, as_tensor

from .gp_augments.change import Change, SampleRois
from .regions import DatasetRegions, SampleRegions, dataset_regions

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.tasks.predictors import Predictor

    from .gp_augments import AugmentConfig

logger = getLogger(__name__)

MOST_ATTEMPTS = 10_000

# Types of raw data that are sent to a device as they are, and become float32 there.
SENT_AS_THEY_ARE = ("uint8", "int8", "int16", "float16", "float32")


@attrs.define
class Crop(Transferable):
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


@attrs.define
class Draw:
    """All that is random in a sample but for noise, and its mask if that decided about it.

    Attributes:
        crops: The dataset.
        shift: How far the sample is moved.
        changes: What the augmentations do.
        needed: What has to be read.
        mask: The mask as it was read, where that was needed.
        changed_mask: What the augmentations made of it, where that was needed.
    """

    crops: DatasetCrops
    shift: Coordinate
    changes: list[Change]
    needed: SampleRois
    mask: npt.NDArray[Any] | None = None
    changed_mask: torch.Tensor | None = None

    def mask_to_read(self) -> Read:
        """Return what to read for the mask."""
        return self.crops.mask_in(self.needed.mask + self.shift)

    def to_read(self) -> list[Read]:
        """Return what to read for raw data and ground truth, and for the mask if it is not there yet."""
        mask = [self.mask_to_read()] if self.mask is None else []
        raw, gt = self.crops.raw_in(self.needed.raw + self.shift), self.crops.gt_in(self.needed.labels + self.shift)
        return [raw, gt, *mask]

    def crop(self, raw: npt.NDArray[Any], gt: npt.NDArray[Any], mask: npt.NDArray[Any] | None = None) -> Crop:
        """Return the sample, given what was read for it."""
        mask = self.mask if mask is None else mask
        assert mask is not None
        changed = self.changed_mask
        return Crop(
            _own(raw if raw.ndim > self.needed.dims else raw[np.newaxis]),
            as_tensor(gt),
            as_tensor(mask) if changed is None else changed,
            gt.dtype,
            mask.dtype,
            self.changes,
            changed is not None,
        )


class PatchSampler:
    """Makes the samples of a training, in any process.

    All that is random in a sample follows from its seed. First a dataset is chosen by weight and a place in it by
    chance; the augmentations are drawn, which decides about what has to be read; and all this is drawn again if too
    little is annotated there, before anything but the mask was read. The samples of a batch are read at the same time.
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
        target = TargetSpec(regions.target_roi, regions.target_voxel_size)
        spec = predictor.gt_region_for_roi(target)
        # Without a target of tensors, arrays of ground truth and mask are handed on that cover the same.
        mask_roi = predictor.mask_region_for_roi(target).roi if predictor.works_on_tensors else spec.roi
        self.wanted = SampleRois(regions.raw_roi, spec.roi, regions.voxel_size, regions.target_voxel_size, mask_roi)
        self._draw_changes(np.random.default_rng(0))  # what cannot work fails here

    def inner(self, roi: Roi) -> Any:
        """Return the region of the target as an index into what covers a region."""
        return (..., *((self.regions.target_roi - roi.offset) / self.regions.target_voxel_size).to_slices())

    def read(self, seeds: Sequence[int]) -> list[Crop]:
        """Read what the samples of a batch need.

        Args:
            seeds: One per sample, which decides about all that is random in it.

        Raises:
            TrainingError: If too little is annotated everywhere.
        """
        rngs = [np.random.default_rng(seed) for seed in seeds]
        with one_thread():
            draws = self._draw_annotated(rngs) if self.min_masked > 0 else [self._draw(rng) for rng in rngs]
        reads = [draw.to_read() for draw in draws]
        values = iter(_read_channels_first([read for of_sample in reads for read in of_sample]))
        return [draw.crop(*itertools.islice(values, len(of))) for draw, of in zip(draws, reads, strict=True)]

    def _draw(self, rng: np.random.Generator) -> Draw:
        crops = self.crops[int(rng.choice(len(self.crops), p=self.chances))]
        shift = crops.draw_shift(rng, self.wanted.step)
        changes = self._draw_changes(rng)
        return Draw(crops, shift, changes, changes[0].needed if changes else self.wanted)

    def _draw_annotated(self, rngs: Sequence[np.random.Generator]) -> list[Draw]:
        """Draw samples, each again until enough of it is annotated."""
        draws: dict[int, Draw] = {}
        warn_at = time.monotonic() + 10
        for attempt in range(1, MOST_ATTEMPTS + 1):
            drawn = {number: self._draw(rng) for number, rng in enumerate(rngs) if number not in draws}
            masks = _read_channels_first([draw.mask_to_read() for draw in drawn.values()])
            for (number, draw), mask in zip(drawn.items(), masks, strict=True):
                draw.mask = mask
                if self._accepts(draw):
                    draws[number] = draw
            if len(draws) == len(rngs):
                return [draws[number] for number in range(len(rngs))]
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

    def _accepts(self, draw: Draw) -> bool:
        """Return whether enough of the target is annotated; keep the changed mask if it was needed to find out."""
        assert draw.mask is not None
        annotated = draw.mask != 0
        if annotated.all() or not annotated.any():
            return bool(annotated.all())
        draw.changed_mask = as_tensor(draw.mask)
        for change in draw.changes:
            draw.changed_mask = change.mask(draw.changed_mask)
        inner = draw.changed_mask[self.inner(self.wanted.mask)]
        return float((inner.numpy() != 0).mean()) >= self.min_masked

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
            mask = mask if crop.mask_is_changed else change.mask(mask)
        return SampleLabels(
            gt,
            mask,
            crop.gt_dtype,
            crop.mask_dtype,
            self.wanted.labels,
            self.regions.target_roi,
            self.regions.target_voxel_size,
            self.wanted.mask,
        )

    def target(self, labels: SampleLabels) -> TorchTarget | PlainTarget:
        """Return the target of a sample, and what its weights follow from."""
        if self.predictor.works_on_tensors:
            target = self.predictor.torch_target(labels)
            if target is not None:
                return target
        gt, mask = labels.as_arrays()
        gt = AnnotatedLabels.of(gt, mask)
        return PlainTarget(gt, self.predictor.create_target(gt), mask, self.regions.target_roi)

    def shown(self, labels: SampleLabels) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return ground truth and mask in the region of the target, for a snapshot."""
        return (
            as_array(labels.gt[self.inner(self.wanted.labels)], labels.gt_dtype),
            as_array(labels.mask[self.inner(self.wanted.mask)], labels.mask_dtype),
        )


def _read_channels_first(reads: Sequence[Read]) -> list[npt.NDArray[Any]]:
    """Read arrays, and return each with its channels in front."""
    pairs = zip(read_all(reads), reads, strict=True)
    return [channels_first(values, read.array.channel_axis, add_missing=False) for values, read in pairs]


def _own(raw: npt.NDArray[Any]) -> torch.Tensor:
    """Return raw values in memory of their own, since augmentations overwrite them, of a type that can be sent."""
    dtype = raw.dtype.newbyteorder("=") if raw.dtype.name in SENT_AS_THEY_ARE else np.dtype(np.float32)
    return torch.from_numpy(np.array(raw, dtype, order="C"))
