"""A look at datasets: a sample of their voxels, and the facts that follow from it."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import DacapoError
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import Array, ArrayView, ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.channels import channels_first, read_channels_first
from dacapo.experiments.datasplits.datasets.arrays.metadata_array import MetadataArray
from dacapo.utils.seeding import seed_from

from .facts import LabelFacts, RawFacts
from .patches import Patches, choose_patches, on_grid, read_patches
from .report import Finding, Sampled

if TYPE_CHECKING:
    from dacapo.experiments.model import Model
    from dacapo.experiments.tasks import Task
    from dacapo.experiments.trainers import Trainer

ROLES = {"train": "training", "validate": "validation"}


@attrs.define(eq=False)
class DatasetLook:
    """A dataset and the facts about it.

    Attributes:
        kind: ``train`` or ``validate``.
        dataset: The dataset.
        place: Path to its config.
        raw: Facts about raw data.
        labels: Facts about ground truth; None if there is none, or it does not hold labels.
        unreadable: The error of a part that cannot be read, by the name of its config field.
    """

    kind: str
    dataset: Dataset
    place: str
    raw: RawFacts = attrs.field(factory=RawFacts)
    labels: LabelFacts | None = None
    unreadable: dict[str, str] = attrs.field(factory=dict)

    @property
    def name(self) -> str:
        """The dataset in words."""
        return f"{ROLES[self.kind]} dataset {self.dataset.name!r}"

    def field(self, name: str) -> str:
        """Return the path to a field of the dataset's config."""
        parts = (self.place, name if hasattr(self.dataset.config, name) else "")
        return ".".join(filter(None, parts))

    def finding(self, level: Any, check: str, field: str, message: str) -> Finding:
        """Return a finding about a field of the dataset."""
        return Finding(level, check, self.field(field), f"{self.name}: {message}")

    @property
    def sampled(self) -> list[Sampled]:
        """How much was read of each array."""
        raw = Sampled(self.field("raw_config"), self.raw.voxels, self.raw.of)
        labels = self.labels
        return [raw] if labels is None else [raw, Sampled(self.field("gt_config"), labels.voxels, labels.of)]


@attrs.frozen
class Look:
    """All that the checks look at.

    Attributes:
        datasets: The datasets, with the facts about them.
        task: The task, if known.
        model: The network, if known.
        trainer: The trainer, if known.
        num_iterations: Number of iterations to train for, if known.
    """

    datasets: list[DatasetLook]
    task: Task | None = None
    model: Model | None = None
    trainer: Trainer | None = None
    num_iterations: int | None = None

    def context(self, part: DatasetLook) -> tuple[Coordinate, Coordinate] | None:
        """Return how far the network sees before and after its prediction, in world units.

        None without a network, or one that does not fit the data, which is an error of the parts and not of voxels.
        """
        raw = part.dataset.raw
        if self.model is None or self.model.architecture.dims != raw.dims:
            return None
        lost = self.model.input_shape * raw.voxel_size - self.model.output_shape * self.model.scale(raw.voxel_size)
        return self.model.context(raw.voxel_size) if min(lost) >= 0 else None

    def of(self, kind: str) -> list[DatasetLook]:
        """Return the datasets for training or validation."""
        return [look for look in self.datasets if look.kind == kind]


def look_at(look: DatasetLook, context: tuple[Coordinate, Coordinate] | None, seconds: float) -> DatasetLook:
    """Sample a dataset, and note the facts in ``look``.

    Args:
        look: The dataset.
        context: How far the network sees before and after its prediction, in world units.
        seconds: Time to spend, about.
    """
    dataset = look.dataset
    rng = np.random.default_rng(seed_from(dataset.name, 0))
    raw, gt = dataset.raw, dataset.gt
    common = raw.roi if gt is None or gt.dims != raw.dims else raw.roi.intersect(gt.roi)
    if common.empty:
        return look
    points = list(dataset.sample_points or [])
    seen = common if context is None else common.grow(*context)
    until = time.monotonic() + seconds
    try:
        _look_at_raw(look.raw, raw, _patches(raw, seen, points, rng), seconds / 2)
    except DacapoError as error:
        look.unreadable["raw_config"] = str(error)
    if gt is None or gt.dtype.kind not in "biu" or gt.dims != raw.dims:
        return look
    look.labels = LabelFacts()
    try:
        _look_at_labels(look.labels, gt, dataset.mask, _patches(gt, common, points, rng), until - time.monotonic())
    except DacapoError as error:
        look.unreadable["gt_config" if dataset.mask is None else "mask_config"] = str(error)
    return look


def _patches(array: Array, region: Roi, points: Sequence[Coordinate], rng: np.random.Generator) -> Patches:
    inside = on_grid(array, region)
    return Patches([], False, 0) if inside.empty else choose_patches(array, inside, points, rng)


def _look_at_raw(facts: RawFacts, raw: Array, patches: Patches, seconds: float) -> None:
    def read(roi: Roi) -> tuple[npt.NDArray[Any], dict[Hashable, bool]]:
        return read_channels_first(raw, roi), chunks_of(raw, roi)

    facts.of = patches.of
    for values, chunks in read_patches(raw.is_stored, patches.rois, read, seconds):
        facts.add(values)
        facts.chunks.update(chunks)
    facts.whole = patches.whole and facts.voxels == facts.of


def _look_at_labels(facts: LabelFacts, gt: Array, mask: Array | None, patches: Patches, seconds: float) -> None:
    def read(roi: Roi) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        if mask is None:
            return read_channels_first(gt, roi), None
        return read_channels_first(gt, roi), channels_first(mask.read_padded(roi, "zero"), mask.channel_axis)

    facts.of = patches.of
    for labels, annotated in read_patches(gt.is_stored, patches.rois, read, seconds):
        facts.add(labels, annotated)
    facts.whole = patches.whole and facts.voxels == facts.of


def files_of(array: Array) -> Iterator[MetadataArray]:
    """Yield the arrays in files that the values of an array are computed from."""
    if isinstance(array, MetadataArray):
        yield array
    elif isinstance(array, ArrayView) and array.is_stored:
        for source in array.sources:
            yield from files_of(source)


def chunks_of(array: Array, roi: Roi) -> dict[Hashable, bool]:
    """Return for each chunk on disk that the values in a roi are read from whether it is stored."""
    found: dict[Hashable, bool] = {}
    for source, part in _files_with(array, roi):
        inside = _around(source, part)
        stored = {} if inside.empty else source.stored_chunks(inside)
        found.update({(str(source), *number): is_there for number, is_there in stored.items()})
    return found


def _files_with(array: Array, roi: Roi) -> Iterator[tuple[ZarrArray, Roi]]:
    """Yield the arrays on disk that the values in a roi are computed from, each with the region that is read."""
    if isinstance(array, ZarrArray):
        yield array, roi
    elif isinstance(array, ArrayView) and array.is_stored:
        for source in array.sources:
            yield from _files_with(source, array.source_roi(roi))


def _around(array: Array, roi: Roi) -> Roi:
    """Return the voxels of an array that overlap a region."""
    grown = (roi - array.roi.offset).snap_to_grid(array.voxel_size, mode="grow") + array.roi.offset
    return grown.intersect(array.roi)
