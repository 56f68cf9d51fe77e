"""The choice of where a training sample lies."""

from __future__ import annotations

import random
from collections.abc import Sequence

import gunpowder as gp
import numpy as np
from funlib.geometry import Coordinate, Roi


class RandomTargetLocation(gp.BatchFilter):  # type: ignore[misc]
    """Move every request to a random place.

    Only the region that the network predicts decides about the place: it lies inside the ground truth. The input around
    it, and what a deformation needs in addition, may reach beyond the data and is padded by the source. So a
    sample can lie anywhere in the ground truth, however much augmentation widens the request.
    """

    def __init__(self, target_roi: Roi, bounds: Roi, points: Sequence[Coordinate] | None = None) -> None:
        """Set where samples may lie, all in the coordinates of the pipeline.

        Args:
            target_roi: The region that is predicted, as it stands in the request at the end of the pipeline.
            bounds: Where ``target_roi`` is moved to. Along an axis where the bounds are the smaller of the two,
                ``target_roi`` is moved such that it contains them.
            points: If given, the centre of ``target_roi`` is moved to one of these instead.
        """
        self.target_roi = target_roi
        self.bounds = bounds
        self.points = None if points is None else [Coordinate(point) for point in points]
        self.shift = Coordinate((0,) * target_roi.dims)

    def setup(self) -> None:
        """Lift the bounds of all arrays: any request is moved."""
        for key, spec in self.spec.items():
            if spec.roi is not None:
                spec = spec.copy()
                spec.roi = Roi((None,) * spec.roi.dims, (None,) * spec.roi.dims)
                self.updates(key, spec)

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Draw a place and ask for the data there."""
        self.shift = self.draw(self.spec.get_lcm_voxel_size(request.array_specs.keys()))
        for _, spec in request.items():
            spec.roi = spec.roi.shift(self.shift)
        return request

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> None:
        """Give the data the place it was asked for at."""
        for key, spec in request.items():
            batch[key].spec.roi = spec.roi
        for key in request.graph_specs:
            batch[key].shift(-np.array(self.shift))

    def draw(self, step: Coordinate) -> Coordinate:
        """Return by how much to move a request, a multiple of a step."""
        if self.points is not None:
            wanted = random.choice(self.points) - self.target_roi.center
            return Coordinate(round(w / s) * s for w, s in zip(wanted, step, strict=True))
        shift = []
        for axis, size in enumerate(step):
            lower, upper = self._range(axis, int(size))
            shift.append(random.randint(lower, upper) * size)
        return Coordinate(shift)

    def _range(self, axis: int, step: int) -> tuple[int, int]:
        """Return the smallest and largest shift along an axis, in steps."""
        to_begin = self.bounds.begin[axis] - self.target_roi.begin[axis]
        to_end = self.bounds.end[axis] - self.target_roi.end[axis]
        smaller, larger = min(to_begin, to_end), max(to_begin, to_end)
        lower, upper = -(-smaller // step), larger // step
        if lower > upper:  # no place on the grid fits; the nearest one leaves out less than a step
            lower = upper = round((smaller + larger) / 2 / step)
        return int(lower), int(upper)
