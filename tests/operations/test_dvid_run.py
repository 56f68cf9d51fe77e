"""A run whose data is on a DVID server is the run whose data is on disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch

from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import DVIDArrayConfig, IntensitiesArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.inference.inputs import open_raw
from dacapo.options import DaCapoConfig
from dacapo.train import train_run
from dacapo.utils import http
from tests.helpers.dvid_server import UUID, Instance, serve
from tests.helpers.runs import affinities_run_config
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, cells, write_array


def instances() -> dict[str, Instance]:
    begin = tuple(int(n) for n in (OFFSET / VOXEL_SIZE)[::-1])
    extended = {"VoxelSize": [int(n) for n in VOXEL_SIZE[::-1]], "BlockSize": [16, 16, 16]}
    found = {}
    for seed, part in enumerate(("train", "validate")):
        raw, labels = cells((40, 40, 40), seed)
        found[f"{part}_raw"] = Instance(raw, begin, "uint8blk", extended)
        found[f"{part}_labels"] = Instance(labels.astype(np.uint64), begin, "labelmap", extended)
    return found


def remote(address: str, part: str) -> RawGTDatasetConfig:
    raw, labels = (DVIDArrayConfig(f"{part}_{what}", (address, UUID, f"{part}_{what}")) for what in ("raw", "labels"))
    return RawGTDatasetConfig(part, raw_config=IntensitiesArrayConfig("raw", raw, 0, 255), gt_config=labels)


@pytest.mark.parametrize("trainer", [None, TorchTrainerConfig("torch", 1, 1e-3, 1)], ids=["gunpowder", "torch"])
def test_training_and_validation_are_the_same(options: DaCapoConfig, tmp_path: Path, trainer: Any) -> None:
    config = affinities_run_config(tmp_path, num_iterations=2, validation_interval=2, trainer_config=trainer)
    with serve(**instances()) as server:
        split = TrainValidateDataSplitConfig(
            "split", [remote(server.address, "train")], [remote(server.address, "validate")]
        )
        weights, scores = [], []
        for datasplit in (config.datasplit_config, split):
            # In the same place under the same name, which decides about all chance.
            run = train_run(Run(attrs.evolve(config, datasplit_config=datasplit)))
            weights.append(run.model.state_dict())
            scores.append(run.validation_scores.scores[-1].scores)
            shutil.rmtree(options.runs_base_dir)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    np.testing.assert_array_equal(scores[0], scores[1])
    assert any("/validate_labels/raw/" in path for path in server.requests)


def test_new_volumes_are_scaled_as_the_data_of_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.001)
    raw, _ = cells((40, 40, 40), 7)
    identifier = write_array(tmp_path / "new.zarr", "raw", raw)
    with serve(**instances()) as server:
        split = TrainValidateDataSplitConfig("split", [remote(server.address, "train")], [])
        config = attrs.evolve(affinities_run_config(tmp_path), datasplit_config=split)
        found = open_raw(config, identifier)
    # The data is where it was trained, and no longer to be reached.
    again = open_raw(config, identifier)
    assert not caplog.messages
    for array in (found, again):
        np.testing.assert_allclose(array[array.roi], raw / 255, rtol=1e-6)
