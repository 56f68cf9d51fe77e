"""The picture of the demo: a section of the unseen volume, and the course of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.apply import Applied
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.plot import Progress, Slices, save_overview
from dacapo.store.create_store import create_stats_store
from dacapo.utils.ranking import first_best

from .data import DemoData


def draw_picture(run_config: RunConfig, data: DemoData, folder: Path, applied: Applied) -> Path:
    """Draw a section of the segmented volume and the progress of training; return the file."""
    segmentation = ZarrArray.open_from_array_identifier(applied.output)
    prediction = ZarrArray.open_from_array_identifier(applied.prediction)
    roi, voxel_size = segmentation.roi, data.facts.voxel_size
    if roi.dims == 3:  # the middle section
        depth = roi.shape[0] // voxel_size[0] // 2 * voxel_size[0]
        roi = Roi(roi.offset + Coordinate(depth, 0, 0), Coordinate(voxel_size[0], *roi.shape[1:]))
    raw = ZarrArray.open_from_array_identifier(data.unseen_raw)
    truth = build(data.unseen_truth)
    affinities = prediction[roi][: roi.dims] / (255.0 if prediction.dtype == np.uint8 else 1.0)
    slices = Slices(
        raw=_plane(read_channels_first(raw, roi)[0]),
        truth=_plane(truth[roi]),
        prediction=_plane(affinities.mean(axis=0)),
        segmentation=_plane(segmentation[roi]),
        voxel_size=segmentation.spacing[-1],
        unit=data.unit,
        origin=data.origin,
    )
    path = folder / "demo.png"
    save_overview(path, slices, _progress(run_config, applied.selection.iteration))
    return path


def _plane(values: np.ndarray) -> np.ndarray:
    """Return the only section."""
    return values.reshape(values.shape[-2:])


def _progress(run_config: RunConfig, best: int) -> Progress:
    """Return the losses, and the scores of the best parameters at each validated iteration."""
    stats = create_stats_store()
    scores = Run.get_validation_scores(run_config)
    split, merge = scores.criteria.index("voi_split"), scores.criteria.index("voi_merge")
    validated = stats.retrieve_validation_iteration_scores(run_config.name)
    rows = [s.scores[0][_best([row[split] + row[merge] for row in s.scores[0]])] for s in validated]
    return Progress(
        losses=[s.loss for s in stats.retrieve_training_stats(run_config.name).iteration_stats],
        validated=[s.iteration for s in validated],
        voi_split=[row[split] for row in rows],
        voi_merge=[row[merge] for row in rows],
        best=best,
    )


def _best(voi: list[float]) -> int:
    """Return the position of the lowest variation of information."""
    index, _ = first_best(voi, higher_is_better=False)
    return int(index)
