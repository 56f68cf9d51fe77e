"""Random locations of samples in datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import OnesArray, Read

from .regions import SampleRegions, dataset_regions

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset


class DatasetLocations:
    """The locations of samples in one dataset.

    The region that the network predicts lies inside the ground truth. The input around it, and the surroundings that a
    deformation needs, may extend beyond the data. Raw data is mirrored there, and nothing is annotated.
    """

    def __init__(self, dataset: Dataset, regions: SampleRegions, clip_raw: bool) -> None:
        """Set the dataset.

        Args:
            dataset: A dataset that can be trained on; see ``check_datasets``.
            regions: The regions of a sample.
            clip_raw: Whether raw data outside of the ground truth counts as missing.
        """
        place = dataset_regions(dataset, regions)
        assert dataset.gt is not None
        self.origin = place.origin
        self.target = regions.target_roi
        self.bounds = place.labeled - place.origin
        self.raw, self.gt = dataset.raw, dataset.gt
        self.mask = OnesArray.like(dataset.gt) if dataset.mask is None else dataset.mask
        whole = self.bounds.snap_to_grid(regions.voxel_size, mode="grow") + place.origin
        self.raw_inside = whole if clip_raw else None
        # Ground truth without raw data would be compared with mirrored data, so it counts as not annotated.
        self.labeled = place.labeled
        self.points = [Coordinate(point) - place.origin for point in dataset.sample_points or []]

    def draw(self, rng: np.random.Generator, step: Coordinate) -> Location:
        """Draw a location whose distance from the origin is a multiple of ``step``."""
        if self.points:
            wanted = self.points[int(rng.integers(len(self.points)))] - self.target.center
            return Location(self, Coordinate(round(w / s) * s for w, s in zip(wanted, step, strict=True)))
        ranges = [self._range(axis, int(size)) for axis, size in enumerate(step)]
        return Location(
            self,
            Coordinate(
                int(rng.integers(lower, upper, endpoint=True)) * size
                for (lower, upper), size in zip(ranges, step, strict=True)
            ),
        )

    def _range(self, axis: int, step: int) -> tuple[int, int]:
        """Return the smallest and the largest shift along an axis, in steps.

        If the ground truth is smaller than the target, the target is moved such that it contains all of it.
        """
        to_begin = self.bounds.begin[axis] - self.target.begin[axis]
        to_end = self.bounds.end[axis] - self.target.end[axis]
        smaller, larger = min(to_begin, to_end), max(to_begin, to_end)
        lower, upper = -(-smaller // step), larger // step
        if lower > upper:  # nothing on the grid fits; the nearest shift leaves out less than a step
            lower = upper = round((smaller + larger) / 2 / step)
        return int(lower), int(upper)


@attrs.frozen
class Location:
    """A location of a sample.

    Attributes:
        dataset: The dataset.
        shift: Distance from the origin of the dataset to the input of the network, world units.
    """

    dataset: DatasetLocations
    shift: Coordinate

    def raw(self, roi: Roi) -> Read:
        """Return how to read raw data in a region of the sample, mirrored outside of the data."""
        return Read(self.dataset.raw, self._in_world(roi), "reflect", self.dataset.raw_inside)

    def gt(self, roi: Roi) -> Read:
        """Return how to read ground truth in a region of the sample, 0 outside of the data."""
        return Read(self.dataset.gt, self._in_world(roi), "zero", self.dataset.labeled)

    def mask(self, roi: Roi) -> Read:
        """Return how to read the mask in a region of the sample, 0 outside of the data."""
        return Read(self.dataset.mask, self._in_world(roi), "zero", self.dataset.labeled)

    def _in_world(self, roi: Roi) -> Roi:
        return roi + self.shift + self.dataset.origin


class RandomLocations:
    """Draws locations of samples: a dataset by its weight, and a location in it."""

    def __init__(self, datasets: Sequence[Dataset], regions: SampleRegions, clip_raw: bool, step: Coordinate) -> None:
        """Set the datasets.

        Args:
            datasets: Datasets that can be trained on; see ``check_datasets``.
            regions: The regions of a sample.
            clip_raw: Whether raw data outside of the ground truth counts as missing.
            step: Locations are multiples of this distance apart, a multiple of all voxel sizes.
        """
        self.datasets = [DatasetLocations(dataset, regions, clip_raw) for dataset in datasets]
        self.step = step
        weights = np.array([dataset.weight for dataset in datasets], dtype=float)
        self._probabilities = weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> Location:
        """Draw a location."""
        return self.datasets[int(rng.choice(len(self.datasets), p=self._probabilities))].draw(rng, self.step)
