"""Nuclei without learning, by scikit-image: a threshold, and a watershed of the distances to the background."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt, label
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

from .data import Fold, Nuclei, Result
from .scores import of_instances

# All in pixels, but the factor of Otsu's threshold.
PARAMETERS = {
    "smoothing": (0.5, 1.0, 2.0, 3.0),
    "factor": (0.6, 0.7, 0.8, 0.9, 1.0),
    "distance_smoothing": (0.5, 1.0, 2.0),
    "seed_distance": (3, 5, 7, 10),
}


def watershed_of_distances(
    raw: np.ndarray, smoothing: float, factor: float, distance_smoothing: float, seed_distance: int
) -> np.ndarray:
    """Return segments: a region above the threshold is divided where it is narrow."""
    smooth = gaussian(raw.astype(np.float64), smoothing)
    mask = smooth > threshold_otsu(smooth) * factor
    distances = gaussian(distance_transform_edt(mask), distance_smoothing)
    peaks = peak_local_max(distances, min_distance=seed_distance, labels=label(mask)[0], exclude_border=False)
    seeds = np.zeros(raw.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-distances, seeds, mask=mask))


def choices() -> list[dict[str, Any]]:
    """Return all combinations of parameters."""
    return [dict(zip(PARAMETERS, values, strict=True)) for values in itertools.product(*PARAMETERS.values())]


def segmented(nuclei: Nuclei, fold: Fold) -> Result:
    """Choose parameters on one band, and segment the one that is left out."""
    chosen = nuclei.band(fold.chosen)
    begin = time.process_time()

    def score(parameters: Mapping[str, Any]) -> float:
        return of_instances(watershed_of_distances(chosen.raw, **parameters), chosen.labels)["VOI"]

    best = min(choices(), key=score)
    segments = watershed_of_distances(nuclei.band(fold.scored).raw, **best)
    return Result(segments, time.process_time() - begin, ", ".join(f"{name} {value}" for name, value in best.items()))
