"""The picture of the demo: a section of the unseen volume, and how training went."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.apply import Applied
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.plot import Progress, Slices, save_overview
from dacapo.store.create_store import create_stats_store

from .data import DemoData


def draw_picture(run_config: RunConfig, data: DemoData, folder: Path, applied: Applied) -> Path:
    """Draw a section of the segmented volume above the progress of the training; return the file."""
    segmentation = ZarrArray.open_from_array_identifier(applied.output)
    prediction = ZarrArray.open_from_array_identifier(applied.prediction)
    roi, voxel_size = segmentation.roi, data.voxel_size
    if roi.dims == 3:  # the middle section
        depth = roi.shape[0] // voxel_size[0] // 2 * voxel_size[0]
        roi = Roi(roi.offset + Coordinate(depth, 0, 0), Coordinate(voxel_size[0], *roi.shape[1:]))
    raw = ZarrArray.open_from_array_identifier(data.unseen_raw)
    truth = build(data.unseen_truth)
    affinities = prediction[roi][: roi.dims] / (255.0 if prediction.dtype == np.uint8 else 1.0)
    slices = Slices(
        raw=_plane(raw[roi], raw.channel_axis),
        truth=_plane(truth[roi]),
        prediction=_plane(affinities.mean(axis=0)),
        segmentation=_plane(segmentation[roi]),
        voxel_size=voxel_size[-1],
        unit=data.unit,
        origin=data.origin,
    )
    path = folder / "demo.png"
    save_overview(path, slices, _progress(run_config, applied.selection.iteration))
    return path


def _plane(values: np.ndarray, channel_axis: int | None = None) -> np.ndarray:
    """Return the first channel and the only section."""
    if channel_axis is not None:
        values = values.take(0, axis=channel_axis)
    return values.reshape(values.shape[-2:])


def _progress(run_config: RunConfig, best: int) -> Progress:
    """Return losses, and for each validated iteration the scores of its best parameters."""
    stats = create_stats_store()
    scores = Run.get_validation_scores(run_config)
    split, merge = scores.criteria.index("voi_split"), scores.criteria.index("voi_merge")
    validated = stats.retrieve_validation_iteration_scores(run_config.name)
    # Infinity for what could not be scored, because nothing compares with NaN.
    rows = [min(s.scores[0], key=lambda row: np.nan_to_num(row[split] + row[merge], nan=np.inf)) for s in validated]
    return Progress(
        losses=[s.loss for s in stats.retrieve_training_stats(run_config.name).iteration_stats],
        validated=[s.iteration for s in validated],
        voi_split=[row[split] for row in rows],
        voi_merge=[row[merge] for row in rows],
        best=best,
    )
