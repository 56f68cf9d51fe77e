"""Random samples of datasets, as tensors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Roi

from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array, NumpyArray, Read
from dacapo.experiments.datasplits.datasets.arrays.annotated_labels import AnnotatedLabels
from dacapo.experiments.datasplits.datasets.arrays.channels import read_all_channels_first
from dacapo.experiments.tasks.predictors.predictor import TargetSpec
from dacapo.experiments.tasks.predictors.sample_labels import SampleLabels
from dacapo.experiments.tasks.predictors.torch_target import TorchTarget
from dacapo.utils.attempts import Attempts
from dacapo.utils.one_thread import one_thread
from dacapo.utils.shared_memory import Transferable
from dacapo.utils.tensors import as_array, as_tensor

from .gp_augments.change import Change, SampleRois
from .locations import Location, RandomLocations
from .regions import SampleRegions
from .workers import can_be_forked

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.tasks.predictors import Predictor

    from .gp_augments import AugmentConfig

# Raw data of other types is converted to float32 before it is sent to the device.
SENT_UNCHANGED = ("uint8", "int8", "int16", "float16", "float32")


@attrs.define
class Crop(Transferable):
    """The arrays that were read for a sample, and the changes to apply to them.

    Attributes:
        raw: Raw data, axes channel and space.
        gt: Ground truth, axes channel (if any) and space, as ``as_tensor`` returns it.
        mask: Mask, likewise.
        gt_dtype: Data type of the ground truth.
        mask_dtype: Data type of the mask.
        changes: The changes of the augmentations, in order.
        mask_is_changed: Whether they have already been applied to the mask.
    """

    raw: torch.Tensor
    gt: torch.Tensor
    mask: torch.Tensor
    gt_dtype: np.dtype[Any]
    mask_dtype: np.dtype[Any]
    changes: list[Change]
    mask_is_changed: bool = False

    def to(self, send: Callable[[torch.Tensor], torch.Tensor]) -> Crop:
        """Return a crop whose tensors were passed through a function."""
        return attrs.evolve(self, raw=send(self.raw), gt=send(self.gt), mask=send(self.mask))


@attrs.frozen
class ArrayTarget:
    """The target of a sample from a predictor without tensor targets, and the arrays that its weight is made of.

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


@attrs.define
class Draw:
    """The random numbers of a sample, except for noise, and its mask if they depend on it.

    Attributes:
        location: Where the sample lies.
        changes: The changes of the augmentations, in order.
        needed: The regions to read.
        mask: The mask as read, if it has been.
        changed_mask: The mask after the changes, if they have been applied.
    """

    location: Location
    changes: list[Change]
    needed: SampleRois
    mask: npt.NDArray[Any] | None = None
    changed_mask: torch.Tensor | None = None

    def read_of_mask(self) -> Read:
        """Return how to read the mask."""
        return self.location.mask(self.needed.mask)

    def reads(self) -> list[Read]:
        """Return how to read raw data and ground truth, and the mask if it has not been read yet."""
        mask = [self.read_of_mask()] if self.mask is None else []
        return [self.location.raw(self.needed.raw), self.location.gt(self.needed.labels), *mask]

    def crop(self, raw: npt.NDArray[Any], gt: npt.NDArray[Any], mask: npt.NDArray[Any] | None = None) -> Crop:
        """Return the sample, given the arrays that were read."""
        mask = self.mask if mask is None else mask
        assert mask is not None
        dtype = raw.dtype.newbyteorder("=") if raw.dtype.name in SENT_UNCHANGED else np.dtype(np.float32)
        # A copy, because changes work in place and arrays in memory return views.
        values = torch.from_numpy(np.array(raw, dtype, order="C"))
        return Crop(
            values if raw.ndim > self.needed.dims else values[None],
            as_tensor(gt),
            as_tensor(mask) if self.changed_mask is None else self.changed_mask,
            gt.dtype,
            mask.dtype,
            self.changes,
            self.changed_mask is not None,
        )


class PatchSampler:
    """Draws samples, reads them, and makes their targets.

    All random numbers of a sample follow from its seed: first the location, then the augmentations, which determine the
    regions to read. A sample with too little annotated is drawn again, before anything but its mask is read. The
    samples of a batch are read concurrently.

    A sampler is entered as a context before it reads.

    Attributes:
        regions: The regions of a sample.
        predictor: Makes target and weight.
        wanted: The regions of raw data, ground truth and mask after all augmentations.
        can_fork: Whether forked worker processes can read the datasets.
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
        """Set the datasets and their use. Reads no voxels.

        Args:
            datasets: Datasets that can be trained on; see ``check_datasets``.
            regions: The regions of a sample.
            predictor: Makes target and weight.
            augments: Augmentations, in order.
            min_masked: Smallest annotated fraction of a sample.
            clip_raw: Whether raw data outside of the ground truth counts as missing (and is mirrored).

        Raises:
            ConfigError: If an augmentation does not fit the samples.
        """
        self.regions = regions
        self.predictor = predictor
        self.augments = list(augments)
        self.min_masked = min_masked
        self.can_fork = can_be_forked(datasets)
        target = TargetSpec(regions.target_roi, regions.target_voxel_size)
        gt_roi = predictor.gt_region_for_roi(target).roi
        # Predictors without tensor targets expect ground truth and mask of the same region.
        mask_roi = predictor.mask_region_for_roi(target).roi if predictor.works_on_tensors else gt_roi
        self.wanted = SampleRois(regions.raw_roi, gt_roi, regions.voxel_size, regions.target_voxel_size, mask_roi)
        self.locations = RandomLocations(datasets, regions, clip_raw, self.wanted.step)
        for augment in self.augments:
            problem = augment.misfit(self.wanted.dims)
            if problem is not None:
                raise ConfigError(f"{type(augment).__name__}: {problem}")
        self._prepare_augments()

    def _prepare_augments(self) -> None:
        """Prepare the augmentations, and fail if they do not fit the samples."""
        self._draw_changes(np.random.default_rng(0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def read(self, seeds: Sequence[int]) -> list[Crop]:
        """Draw and read the samples of a batch.

        Args:
            seeds: Seeds of the samples.

        Raises:
            TrainingError: If too many samples in a row have too little annotated.
        """
        rngs = [np.random.default_rng(seed) for seed in seeds]
        with one_thread():
            draws = self._draw_annotated(rngs) if self.min_masked > 0 else [self._draw(rng) for rng in rngs]
        reads = [draw.reads() for draw in draws]
        values = iter(read_all_channels_first([read for of_sample in reads for read in of_sample]))
        return [draw.crop(*itertools.islice(values, len(of))) for draw, of in zip(draws, reads, strict=True)]

    def _draw(self, rng: np.random.Generator) -> Draw:
        location = self.locations.draw(rng)
        changes = self._draw_changes(rng)
        return Draw(location, changes, changes[0].needed if changes else self.wanted)

    def _draw_annotated(self, rngs: Sequence[np.random.Generator]) -> list[Draw]:
        """Draw samples, each again until enough of it is annotated."""
        draws: dict[int, Draw] = {}
        attempts = self._attempts()
        while True:
            drawn = {number: self._draw(rng) for number, rng in enumerate(rngs) if number not in draws}
            masks = read_all_channels_first([draw.read_of_mask() for draw in drawn.values()])
            for (number, draw), mask in zip(drawn.items(), masks, strict=True):
                draw.mask = mask
                if self._accepts(draw):
                    draws[number] = draw
            if len(draws) == len(rngs):
                return [draws[number] for number in range(len(rngs))]
            attempts.reject()

    def _attempts(self) -> Attempts:
        return Attempts(
            f"less than min_masked = {self.min_masked} of each is annotated; lower min_masked or check the masks"
        )

    def _draw_changes(self, rng: np.random.Generator) -> list[Change]:
        """Draw the changes of the augmentations, the last one first, because each determines the region it needs."""
        changes: list[Change] = []
        wanted = self.wanted
        for augment in reversed(self.augments):
            changes.insert(0, augment.torch_augment(wanted, rng))
            wanted = changes[0].needed
        return changes

    def _accepts(self, draw: Draw) -> bool:
        """Return whether enough of the target is annotated; keep the changed mask if it was needed for that."""
        assert draw.mask is not None
        annotated = draw.mask != 0
        if annotated.all() or not annotated.any():
            return bool(annotated.all())
        draw.changed_mask = as_tensor(draw.mask)
        for change in draw.changes:
            draw.changed_mask = change.mask(draw.changed_mask)
        return self._is_annotated(draw.changed_mask.numpy())

    def _is_annotated(self, mask: npt.NDArray[Any]) -> bool:
        """Return whether enough of the target is annotated, given the mask after all augmentations."""
        return float((mask[self._target_in(self.wanted.mask)] != 0).mean()) >= self.min_masked

    def _target_in(self, roi: Roi) -> Any:
        """Return the index of the target in an array that covers a region."""
        return (..., *((self.regions.target_roi - roi.offset) / self.regions.target_voxel_size).to_slices())

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

    def target(self, labels: SampleLabels) -> TorchTarget | ArrayTarget:
        """Return the target of a sample, and the classes or arrays that its weight follows from."""
        if self.predictor.works_on_tensors:
            target = self.predictor.torch_target(labels)
            if target is not None:
                return target
        gt, mask = labels.as_arrays()
        gt = AnnotatedLabels.of(gt, mask)
        return ArrayTarget(gt, self.predictor.create_target(gt), mask, self.regions.target_roi)

    def shown(self, labels: SampleLabels) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return ground truth and mask in the region of the target, for snapshots."""
        return (
            as_array(labels.gt[self._target_in(self.wanted.labels)], labels.gt_dtype),
            as_array(labels.mask[self._target_in(self.wanted.mask)], labels.mask_dtype),
        )
