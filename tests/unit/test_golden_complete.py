"""Recorded items that no test of a module takes up: errors, and what did not run when it was recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ChannelMismatchError, ConfigError, LabelError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.tasks.losses import HotDistanceLoss
from dacapo.experiments.tasks.post_processors import ThresholdPostProcessor, ThresholdPostProcessorParameters
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.affinities import seg_to_affgraph
from dacapo.utils.balance_weights import balance_weights
from tests.helpers.golden_data import item_arrays, items


def test_affinities_of_four_dimensions_are_refused() -> None:
    item = items("affinities")["dims_4"]
    with pytest.raises(ConfigError):
        seg_to_affgraph(np.ones((2, 2, 2, 2), np.uint64), item["neighborhood"])


def test_labels_beyond_the_classes_are_refused() -> None:
    assert items("balance_weights")["label_out_of_range"]["raises"]["message"].startswith("Labels [0 2]")
    with pytest.raises(LabelError, match=r"\[0 2\]"):
        balance_weights(np.array([[0, 2]]), 2, slab=(-1, -1), masks=[])


def test_an_odd_number_of_channels_is_refused() -> None:
    assert "[1, 3, 2, 2]" in items("losses")["hot_distance_odd"]["raises"]["message"]
    odd = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ChannelMismatchError, match="even"):
        HotDistanceLoss().compute(odd, odd, odd)


def test_a_threshold_without_workers_equals_that_with_workers(tmp_path: Path) -> None:
    # Recorded is a failure of the call itself; the item says that it should equal threshold_plain.
    item, data = items("post_processors")["threshold_in_process"], item_arrays("post_processors", "threshold_plain")
    values, voxel_size = data["prediction"], Coordinate(item["voxel_size"])
    prediction, output = (LocalArrayIdentifier(tmp_path / "volumes.zarr", name) for name in ("prediction", "output"))
    roi = Roi(item["offset"], Coordinate(values.shape) * voxel_size)
    array = ZarrArray.create_from_array_identifier(prediction, item["axes"], roi, None, voxel_size, values.dtype)
    array[roi] = values
    post_processor = ThresholdPostProcessor()
    post_processor.set_prediction(prediction)
    parameters = ThresholdPostProcessorParameters(id=0, threshold=item["threshold"])
    result = post_processor.process(parameters, output, num_workers=1, block_size=Coordinate(item["chunks"]))
    np.testing.assert_array_equal(result[roi], data["output"])
