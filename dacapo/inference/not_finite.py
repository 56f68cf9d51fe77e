"""Where the NaN in a prediction comes from."""

from __future__ import annotations

import numpy as np
from funlib.geometry import Roi

from dacapo.errors import NotFiniteError
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.datasplits.datasets.arrays.axes import spatial_axes_of


def not_finite(raw: Array, read_roi: Roi, write_roi: Roi) -> NotFiniteError:
    """Return the error that says where raw data, or else a prediction, is not finite.

    One NaN in raw data becomes NaN in all of the prediction that depends on it, which integers would store as 0.

    Args:
        raw: The input of the network.
        read_roi: Region that the network has read, in world units; it may extend outside of ``raw``.
        write_roi: Region of the prediction that holds NaN.
    """
    inside = read_roi.intersect(raw.roi)
    wrong = ~np.isfinite(np.asarray(raw[inside]))
    if "c" in raw.axes:
        wrong = wrong.any(axis=raw.axes.index("c"))
    count = int(np.count_nonzero(wrong))
    if not count:
        return NotFiniteError(
            f"the network predicts NaN in {write_roi}, although the raw data of {raw} is finite there; check the "
            "weights, or predict with those of another iteration"
        )
    first = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    begin = inside.begin
    place = ", ".join(
        f"{axis}={begin[number] + int(first[number]) * raw.voxel_size[number]}"
        for number, axis in enumerate(spatial_axes_of(raw.axes))
    )
    return NotFiniteError(
        f"{count} voxels of {raw} in {inside} are NaN or infinite, the first at {place} in world units, and make the "
        "prediction around them NaN; replace them in the raw data, for example by 0"
    )
