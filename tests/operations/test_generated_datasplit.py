"""A run on a datasplit made from a table trains and validates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr

from dacapo.experiments.datasplits import DataSplitGenerator
from dacapo.experiments.tasks import DistanceTaskConfig
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store
from dacapo.train import train
from tests.helpers.runs import affinities_run_config
from tests.helpers.volumes import cells


def test_a_table_becomes_scores(options: DaCapoConfig, tmp_path: Path) -> None:
    """Raw data in voxels of 8, labels of a part in voxels of 2, of which some are not annotated."""
    raw, labels = cells((48, 48, 48))
    group = zarr.open_group(str(tmp_path / "cell.zarr"))
    for level in (0, 1):
        values = raw[(slice(None, None, 2**level),) * 3]
        group.create_dataset(f"em/s{level}", data=values).attrs.update(
            {"axes": ["z", "y", "x"], "resolution": [4 * 2**level] * 3, "offset": [0, 0, 0]}
        )
    ids = np.kron(labels[8:40, 8:40, 8:40] % 3, np.ones((2, 2, 2), np.uint32)).astype(np.uint32)
    state = {"present": True, "annotated": True}
    group.create_dataset("crop", data=ids).attrs.update(
        {
            "axes": ["z", "y", "x"],
            "resolution": [2, 2, 2],
            "offset": [31, 32, 34],
            "labels": [
                {"name": name, "value": value, "annotationState": state} for name, value in (("er", 2), ("mito", 1))
            ],
        }
    )
    table = tmp_path / "cells.csv"
    row = f"{tmp_path}/cell.zarr, em, {tmp_path}/cell.zarr, crop/[mito&er]\n"
    table.write_text(f"train, {row}val, {row}")
    split = DataSplitGenerator.generate_from_csv(table, (4, 4, 4), (4, 4, 4)).compute()
    task = DistanceTaskConfig("distances", channels=["mito", "er"], clip_distance=40, tol_distance=8, scale_factor=40)
    config = affinities_run_config(tmp_path, task_config=task, num_iterations=2, validation_interval=2)
    config.datasplit_config = split
    create_config_store().store_run_config(config)
    run = train(config.name)
    assert run.datasplit.validate[0].mask is not None
    scores = run.validation_scores
    jaccard = [i for i, name in enumerate(scores.criteria) if name in ("mito__jaccard", "er__jaccard")]
    assert np.isfinite(np.array(scores.scores[0].scores)[..., jaccard]).all()
