"""The gunpowder pipeline that makes the samples of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from funlib.geometry import Coordinate

from dacapo.experiments.datasplits.datasets.arrays import Array, OnesArray

from .regions import DatasetRegions, SampleRegions, dataset_regions

if TYPE_CHECKING:
    import gunpowder as gp
    from funlib.geometry import Roi

    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.tasks.predictors import Predictor
    from dacapo.gp import DaCapoTargetFilter

    from .gp_augments import AugmentConfig


@attrs.frozen
class Keys:
    """The keys of the arrays in the pipeline, by what they hold."""

    raw: Any
    gt: Any
    mask: Any
    target: Any
    weight: Any

    @classmethod
    def create(cls) -> Keys:
        """Return the keys."""
        import gunpowder as gp

        return cls(*(gp.ArrayKey(name.upper()) for name in ("raw", "gt", "mask", "target", "weight")))


@attrs.frozen
class Pipeline:
    """A pipeline and what is needed to use it.

    Attributes:
        provider: The pipeline; what it makes is one sample, without a batch axis.
        target_filter: The node in it that keeps moving class counts.
        keys: Keys of its arrays.
        regions: Regions to request.
        can_fork: Whether a forked process can read the datasets.
    """

    provider: gp.Pipeline
    target_filter: DaCapoTargetFilter
    keys: Keys
    regions: SampleRegions
    can_fork: bool

    def request(self, seed: int, everything: bool = False) -> gp.BatchRequest:
        """Return a request for a sample.

        Args:
            seed: Decides about all that is random in it.
            everything: Whether to ask for ground truth and mask as well, which is what snapshots show.
        """
        from dacapo.gp import Request, Spec

        request = Request(random_seed=seed)
        request[self.keys.raw] = Spec(roi=self.regions.raw_roi)
        shown = (self.keys.gt, self.keys.mask) if everything else ()
        for key in (self.keys.target, self.keys.weight, *shown):
            request[key] = Spec(roi=self.regions.target_roi)
        return request


def build_pipeline(
    datasets: Sequence[Dataset],
    regions: SampleRegions,
    predictor: Predictor,
    augments: Sequence[AugmentConfig],
    min_masked: float,
    clip_raw: bool,
) -> Pipeline:
    """Build the pipeline.

    A dataset is chosen by weight, a place in it by chance or among its sample points. Augmentations act on raw data,
    ground truth and mask together. Samples with too little annotated are dropped before targets are made.

    Args:
        datasets: Where samples come from.
        regions: The regions of a sample.
        predictor: Makes target and weight.
        augments: What changes samples, in this order.
        min_masked: Smallest annotated part of a sample.
        clip_raw: Whether raw data outside of the ground truth counts as missing (and is mirrored).
    """
    import gunpowder as gp

    from dacapo.gp import DaCapoTargetFilter, RejectMasked

    keys = Keys.create()
    sources = tuple(_dataset_source(dataset, regions, keys, clip_raw) for dataset in datasets)
    provider = sources + gp.RandomProvider([dataset.weight for dataset in datasets])
    for augment in augments:
        provider += augment.node(keys.raw, keys.gt, keys.mask)
    if min_masked > 0:
        provider += RejectMasked(keys.mask, min_masked, regions.target_roi)
    target_filter = DaCapoTargetFilter(predictor, keys.gt, keys.target, keys.weight, keys.mask)
    provider += target_filter
    can_fork = not any(
        uses_tensorstore(array) for dataset in datasets for array in (dataset.raw, dataset.gt, dataset.mask)
    )
    return Pipeline(provider, target_filter, keys, regions, can_fork)


def uses_tensorstore(value: Any) -> bool:
    """Return whether an array, or one that it is made from, is read by TensorStore.

    TensorStore works with threads, which a forked process does not have; it ends the process.
    """
    if type(value).__module__.partition(".")[0] == "tensorstore":
        return True
    if isinstance(value, Array):
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list | tuple) and any(map(uses_tensorstore, value))


def _whole_voxels(place: DatasetRegions, voxel_size: Coordinate) -> Roi:
    """Return the labelled region grown to whole voxels of another size."""
    return (place.labelled - place.origin).snap_to_grid(voxel_size, mode="grow") + place.origin


def _dataset_source(dataset: Dataset, regions: SampleRegions, keys: Keys, clip_raw: bool) -> Any:
    from dacapo.gp import PaddedArraySource, RandomTargetLocation, SampleSource

    place: DatasetRegions = dataset_regions(dataset, regions)
    gt = dataset.gt
    assert gt is not None
    mask = OnesArray.like(gt) if dataset.mask is None else dataset.mask
    # Ground truth beyond the raw data would be compared with mirrored data, so it counts as not annotated.
    inside = {"roi": place.labelled, "origin": place.origin, "interpolatable": False}
    sources = (
        PaddedArraySource(
            dataset.raw,
            keys.raw,
            "reflect",
            roi=_whole_voxels(place, regions.voxel_size) if clip_raw else None,
            origin=place.origin,
            dtype=np.float32,
            interpolatable=True,
        ),
        PaddedArraySource(gt, keys.gt, "zero", **inside),
        PaddedArraySource(mask, keys.mask, "zero", **inside),
    )
    points = dataset.sample_points and [Coordinate(point) - place.origin for point in dataset.sample_points]
    location = RandomTargetLocation(regions.target_roi, place.labelled - place.origin, points or None)
    return SampleSource(sources, location)
