"""Where samples lie, and how the nodes of users and the rejection of samples take part in it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import attrs
import gunpowder as gp
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import TrainingError
from dacapo.experiments import config as config_module
from dacapo.experiments.trainers import AugmentConfig, SimpleAugmentConfig
from dacapo.experiments.trainers.gunpowder_sampler import GunpowderSampler
from dacapo.experiments.trainers.locations import DatasetLocations, RandomLocations
from dacapo.experiments.trainers.regions import SampleRegions
from dacapo.experiments.trainers.sampler import PatchSampler
from dacapo.gp import RejectIfEmpty
from dacapo.utils.attempts import Attempts
from tests.helpers.datasets import VOXEL, ArrayDataset, array, zeros
from tests.helpers.networks import affinities

STEP = Coordinate(4, 4)


def dataset(shape: Sequence[int], offset: Sequence[int] = (0, 0), **attributes: Any) -> ArrayDataset:
    """Return a dataset with plenty of raw data and ground truth in a part of it."""
    return ArrayDataset(zeros((80, 80), (-80, -80)), zeros(shape, offset), **attributes)


def regions(target: Roi) -> SampleRegions:
    return SampleRegions(Roi((0, 0), target.shape + target.offset * 2), target, VOXEL, VOXEL)


def targets(data: ArrayDataset, target: Roi, count: int = 400) -> list[Roi]:
    """Return the regions of the target, in the world, of many samples."""
    locations = DatasetLocations(data, regions(target), clip_raw=False)
    rng = np.random.default_rng(0)
    return [locations.draw(rng, STEP).gt(target).roi for _ in range(count)]


def test_targets_reach_every_place_in_the_ground_truth_and_no_other() -> None:
    data = dataset((5, 10), (8, 16))
    found = targets(data, Roi((8, 12), (8, 16)))
    assert all(data.gt is not None and data.gt.roi.contains(roi) for roi in found)
    columns, rows = (np.bincount([int(roi.offset[axis]) // 4 for roi in found]) for axis in (1, 0))
    assert (np.flatnonzero(columns).tolist(), np.flatnonzero(rows).tolist()) == ([*range(4, 11)], [2, 3, 4, 5])
    for counts in (columns, rows):
        assert counts.max() < 2 * counts[counts > 0].min()


def test_targets_contain_ground_truth_that_is_smaller() -> None:
    data = dataset((10, 4), (0, 40))
    for roi in targets(data, Roi((0, 0), (24, 32)), 40):
        assert data.gt is not None
        assert roi.begin[1] <= 40 <= 56 <= roi.end[1]


def test_targets_are_centered_on_sample_points() -> None:
    points = [Coordinate(20, 20), Coordinate(40, 24)]
    data = dataset((20, 20), sample_points=points)
    assert {roi.center for roi in targets(data, Roi((0, 0), (8, 8)), 40)} == set(points)


def test_arrays_of_a_sample_are_read_in_the_same_place() -> None:
    data = ArrayDataset(zeros((20, 20), (2, 6)), zeros((10, 10), (22, 26)))
    location = RandomLocations([data], regions(Roi((8, 8), (16, 16))), True, STEP).draw(np.random.default_rng(1))
    roi = Roi((8, 8), (16, 16))
    raw, gt, mask = (read(roi) for read in (location.raw, location.gt, location.mask))
    assert raw.roi == gt.roi == mask.roi
    assert (raw.padding, gt.padding, mask.padding) == ("reflect", "zero", "zero")
    assert raw.inside == gt.inside == mask.inside == data.gt.roi  # type: ignore[union-attr]


# --- rejected samples ---

SAMPLE = SampleRegions(Roi((0, 0), (24, 24)), Roi((4, 4), (16, 16)), VOXEL, VOXEL)


@pytest.mark.parametrize("kind", [PatchSampler, GunpowderSampler])
def test_a_search_without_an_end_is_an_error(kind: type[PatchSampler], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dacapo.experiments.trainers.sampler.Attempts", partial(Attempts, limit=5))
    data = ArrayDataset(zeros(), zeros(), zeros())
    sampler = kind([data], SAMPLE, affinities().predictor, [], 0.1, False)
    with sampler, pytest.raises(TrainingError, match=r"rejected 5 samples in a row: less than min_masked = 0\.1"):
        sampler.read([0])


def test_a_long_search_is_reported(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    times = iter([0.0, 9.0, 11.0, 11.0, 60.0, 72.0, 72.0])  # asked for once more after each report
    monkeypatch.setattr("dacapo.utils.attempts.time", SimpleNamespace(monotonic=lambda: next(times)))
    attempts = Attempts("they are empty")
    for _ in range(4):
        attempts.reject()
    assert caplog.messages == [f"rejected {count} samples in a row, still looking: they are empty" for count in (2, 4)]


# --- nodes of users ---


def test_nodes_that_request_again_get_another_location(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "_registry", dict(config_module._registry))

    @attrs.define
    class Foreground(AugmentConfig):
        def node(self, raw_key: gp.ArrayKey, gt_key: gp.ArrayKey, mask_key: gp.ArrayKey) -> Any:
            return RejectIfEmpty(gt_key, p=1.0)

    labels = np.zeros((40, 40), np.uint8)
    labels[:6] = 1  # one sample of five or so
    data = ArrayDataset(array(np.indices((40, 40))[0].astype(np.float32)), array(labels))
    augments = [SimpleAugmentConfig(), Foreground()]
    sampler = GunpowderSampler([data], SAMPLE, affinities().predictor, augments, 0.0, False)
    with sampler:
        first, again = sampler.read(range(20)), sampler.read(range(20))
    assert all((crop.gt != 0).any() for crop in first)
    assert len({float(crop.raw.min()) for crop in first}) > 3
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.raw, other.raw)


def test_nodes_that_change_requests_and_arrays_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "_registry", dict(config_module._registry))

    class Shift(gp.BatchFilter):  # type: ignore[misc]
        """Read raw data from a row further down, and invert it in place."""

        def __init__(self, key: gp.ArrayKey) -> None:
            self.key = key

        def setup(self) -> None:
            self.updates(self.key, self.spec[self.key])

        def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
            dependencies = gp.BatchRequest()
            dependencies[self.key] = gp.ArraySpec(roi=request[self.key].roi.shift(Coordinate(4, 0)))
            return dependencies

        def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
            array = batch[self.key]
            array.data *= -1
            array.spec.roi = request[self.key].roi
            output = gp.Batch()
            output[self.key] = array
            return output

    @attrs.define
    class Shifted(AugmentConfig):
        def node(self, raw_key: gp.ArrayKey, gt_key: gp.ArrayKey, mask_key: gp.ArrayKey) -> Any:
            return Shift(raw_key)

    rows = np.indices((40, 40))[0]
    data = ArrayDataset(array(rows.astype(np.float32)), array(rows + 1))
    sampler = GunpowderSampler([data], SAMPLE, affinities().predictor, [Shifted()], 0.0, False)
    plain = GunpowderSampler([data], SAMPLE, affinities().predictor, [], 0.0, False)
    for one in (sampler, plain):
        with one:
            (crop,) = one.read([3])
        if one is sampler:
            shifted = crop
    np.testing.assert_array_equal(shifted.gt, crop.gt)
    np.testing.assert_array_equal(shifted.raw[:, :-1], -crop.raw[:, 1:])
    assert data.raw.data.min() == 0
