"""The arrays of a dataset at random places."""

from __future__ import annotations

from collections.abc import Sequence

import gunpowder as gp
from funlib.geometry import Roi

from dacapo.experiments.datasplits.datasets.arrays import read_all

from .padded_array_source import PaddedArraySource
from .random_target_location import RandomTargetLocation


class SampleSource(gp.BatchProvider):  # type: ignore[misc]
    """Provide arrays at a random place, all read at the same time.

    It does what ``sources + gp.MergeProvider() + location`` does, in one node and with the same places.
    """

    def __init__(self, sources: Sequence[PaddedArraySource], location: RandomTargetLocation) -> None:
        """Set what is read, and where.

        Args:
            sources: Each provides one array.
            location: Draws the place. It is not made part of the pipeline.
        """
        self.sources = {source.key: source for source in sources}
        self.location = location

    def setup(self) -> None:
        """Announce arrays without bounds."""
        for key, source in self.sources.items():
            self.provides(key, source.provided_spec())

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Draw a place, and read the arrays there."""
        shift = self.location.draw(self.spec.get_lcm_voxel_size(request.array_specs.keys()))
        rois: dict[gp.ArrayKey, Roi] = {key: spec.roi for key, spec in request.array_specs.items()}
        values = read_all(self.sources[key].to_read(roi.shift(shift)) for key, roi in rois.items())
        batch = gp.Batch()
        for (key, roi), data in zip(rois.items(), values, strict=True):
            batch[key] = self.sources[key].wrap(data, roi)
        return batch
