"""Weights at the edges of what is annotated: the definition, and both trainers on the same half-masked sample."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, LabelError
from dacapo.experiments.arraytypes import EmbeddingArray
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.model import Model
from dacapo.experiments.tasks import (
    AffinitiesTask,
    AffinitiesTaskConfig,
    DistanceTask,
    DistanceTaskConfig,
    HotDistanceTask,
    HotDistanceTaskConfig,
    OneHotTask,
    OneHotTaskConfig,
    Task,
)
from dacapo.experiments.tasks.predictors import AffinitiesPredictor, Predictor, TensorPredictor
from dacapo.experiments.tasks.predictors.class_weights import Classes, mark_unknown
from dacapo.experiments.tasks.predictors.predictor import conv_head
from dacapo.experiments.tasks.predictors.sample_labels import SampleLabels
from dacapo.experiments.trainers import GunpowderTrainer, GunpowderTrainerConfig, TorchTrainer, TorchTrainerConfig
from dacapo.experiments.trainers.weighting import TrainingBatch
from dacapo.utils.affinities import grow_boundaries, known_affinities, seg_to_affgraph, with_background
from dacapo.utils.torch_affinities import torch_affinities
from tests.helpers.datasets import VOXEL, ArrayDataset, array
from tests.helpers.networks import TinyNet

OFFSETS = [(1, 0), (0, -1), (-3, 2), (0, 40)]


def by_definition(annotated: np.ndarray, offset: Sequence[int], iterations: int) -> np.ndarray:
    """Return where all voxels in reach of a voxel, and of its partner, are annotated; outside is no boundary."""
    shape = annotated.shape

    def inside(place: Sequence[int]) -> bool:
        return all(0 <= p < n for p, n in zip(place, shape, strict=True))

    def certain(place: tuple[int, ...]) -> bool:
        steps = itertools.product(range(-iterations, iterations + 1), repeat=2)
        near = [(place[0] + a, place[1] + b) for a, b in steps if abs(a) + abs(b) <= iterations]
        return inside(place) and all(annotated[p] for p in near if inside(p))

    known = np.zeros(shape, dtype=bool)
    for place in np.ndindex(*shape):
        known[place] = certain(place) and certain((place[0] + offset[0], place[1] + offset[1]))
    return known


@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_affinities_are_known_between_annotated_voxels(iterations: int) -> None:
    annotated = np.random.default_rng(0).random((12, 14)) < 0.9
    known = known_affinities(annotated * np.uint8(7), OFFSETS, iterations)
    for channel, offset in zip(known, OFFSETS, strict=True):
        np.testing.assert_array_equal(channel, by_definition(annotated, offset, iterations))
    settings: dict[str, Any] = {"grow_boundary_iterations": iterations, "unsigned": True}
    device = torch_affinities(torch.from_numpy(annotated).to(torch.uint8), OFFSETS, **settings)
    np.testing.assert_array_equal(device.numpy(), known)
    each = np.stack([np.roll(annotated, step, 0) for step in range(len(OFFSETS))])
    apart = [known_affinities(m, [o], iterations)[0] for m, o in zip(each, OFFSETS, strict=True)]
    np.testing.assert_array_equal(known_affinities(each, OFFSETS, iterations), apart)


@pytest.mark.parametrize("iterations", [0, 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_background_that_is_not_annotated_is_no_object_on_any_device(dtype: Any, iterations: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 3, (4, 4)), np.ones((4, 4), dtype=int)).astype(dtype)
    annotated = rng.random((16, 16)) < 0.8
    objects = grow_boundaries(with_background(labels, annotated), iterations)
    expected = seg_to_affgraph(objects, OFFSETS)
    got = torch_affinities(
        torch.from_numpy(labels),
        OFFSETS,
        iterations,
        unsigned=dtype is np.uint8,
        background=True,
        annotated=torch.from_numpy(annotated),
    )
    np.testing.assert_array_equal(got.numpy(), expected)
    outside = (labels == 0) & ~annotated
    assert outside.any()
    assert not expected[:, outside].any()
    assert expected[:, (labels == 0) & annotated].any()


def test_a_mask_over_the_target_alone_decides_voxel_by_voxel() -> None:
    """As in the original, whose weights are recorded; a mask that reaches beyond it says more."""
    predictor = AffinitiesPredictor([Coordinate(0, 1)], lsds=False)
    labels = np.ones((4, 8), np.uint8)
    mask = np.ones((4, 8), np.uint8)
    mask[:, 4:6] = 0
    whole = Roi((0, 0), (4, 8))
    gt, known = (NumpyArray.from_np_array(v, whole, Coordinate(1, 1), ["y", "x"]) for v in (labels, mask))
    target = predictor.create_target(gt)
    weight = predictor.create_weight(gt, target, known)[0].data
    np.testing.assert_array_equal(weight[0, 0] > 0, [1, 1, 1, 1, 0, 0, 1, 1])
    inner = Roi((0, 0), (4, 7))
    part = NumpyArray.from_np_array(target[inner], inner, Coordinate(1, 1), ["c", "y", "x"])
    weight = predictor.create_weight(gt, part, known)[0].data
    np.testing.assert_array_equal(weight[0, 0] > 0, [1, 1, 1, 0, 0, 0, 1])


# --- in training ---

NEIGHBORHOOD = [Coordinate(1, 0), Coordinate(0, 1), Coordinate(-3, 0), Coordinate(0, -5)]


def affinities(lsds: bool = False, **changes: Any) -> Task:
    """Return a task whose predictor has some attributes of its own."""
    task = AffinitiesTask(AffinitiesTaskConfig("a", NEIGHBORHOOD, lsds=lsds))
    for name, value in {"num_voxels": 2, **changes}.items():
        setattr(task.predictor, name, value)
    return task


class OwnTensors(TensorPredictor):
    """Learns where objects are, and leaves the first row out."""

    def create_model(self, architecture: Any) -> Any:
        return Model(architecture, conv_head(architecture, 1))

    @property
    def output_array_type(self) -> EmbeddingArray:
        return EmbeddingArray(1)

    def target_of(self, labels: SampleLabels) -> torch.Tensor:
        return labels.inside(1) != 0

    def weight_classes(self, labels: SampleLabels, target: torch.Tensor) -> list[Classes]:
        known = labels.annotated(1).clone()
        known[:, 0] = False
        return [Classes(mark_unknown(target.to(torch.uint8), known))]


class OwnArrays(Predictor):
    """Does the same with arrays, and ignores the mask."""

    create_model = OwnTensors.create_model
    output_array_type = OwnTensors.output_array_type

    def create_target(self, gt: Any) -> Any:
        return array((gt.data != 0).astype(np.float32)[np.newaxis], gt.roi.offset, gt.voxel_size)

    def create_weight(self, gt: Any, target: Any, mask: Any, moving_class_counts: Any = None) -> Any:
        seen = (moving_class_counts or 0) + 1
        return array(np.full(target.data.shape, seen, np.float32), gt.roi.offset, gt.voxel_size), seen


def own(predictor: type[Predictor]) -> Task:
    task = DistanceTask(DistanceTaskConfig("d", ["a"], mask_distances=False, **DISTANCES))
    task.predictor = predictor()  # type: ignore[assignment]
    return task


DISTANCES: dict[str, Any] = {"clip_distance": 20, "tol_distance": 8, "scale_factor": 8}
TASKS = {
    "affinities": affinities,
    "descriptors": lambda: affinities(lsds=True),
    "boundaries": lambda: affinities(grow_boundary_iterations=1),
    "background": lambda: affinities(background_as_object=True),
    "background with descriptors": lambda: affinities(True, background_as_object=True),
    "distances": lambda: DistanceTask(DistanceTaskConfig("d", ["a"], mask_distances=False, **DISTANCES)),
    "trusted distances": lambda: DistanceTask(DistanceTaskConfig("d", ["a"], mask_distances=True, **DISTANCES)),
    "hot distances": lambda: HotDistanceTask(HotDistanceTaskConfig("d", ["a"], mask_distances=True, **DISTANCES)),
    "tensors of a predictor of one's own": lambda: own(OwnTensors),
    "arrays of a predictor of one's own": lambda: own(OwnArrays),
    "classes": lambda: OneHotTask(OneHotTaskConfig("c", ["a", "b"])),
}


def half_masked() -> ArrayDataset:
    """Return a dataset with a single place for a sample, of which one half is annotated."""
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 2, (6, 6)), np.ones((3, 3), dtype=int)).astype(np.uint8)
    mask = np.zeros((18, 18), np.uint8)
    mask[:, :9] = 1
    raw = rng.random((20, 20)).astype(np.float32)
    return ArrayDataset(array(raw), array(labels, tuple(VOXEL)), array(mask, tuple(VOXEL)))


def made(trainer_type: Any, config_type: Any, task: Task, count: int = 3) -> list[TrainingBatch]:
    trainer = trainer_type(config_type("trainer", 1, 1e-3, num_data_fetchers=1))
    trainer.build_batch_provider([half_masked()], task.create_model(TinyNet()), task)
    with trainer:
        return [batch for batch, _ in zip(trainer, range(count), strict=False)]


@pytest.mark.parametrize("task", TASKS)
def test_both_trainers_weigh_the_same_voxels_alike(task: str) -> None:
    ours = made(TorchTrainer, TorchTrainerConfig, TASKS[task]())
    theirs = made(GunpowderTrainer, GunpowderTrainerConfig, TASKS[task]())
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.target, other.target, atol=1e-6)
        np.testing.assert_allclose(one.weight, other.weight, rtol=1e-6)
        assert one.weight.any()
        assert not one.weight[..., 9:].any()


def test_arrays_follow_from_what_a_predictor_says_of_tensors() -> None:
    gt, mask = np.eye(4, dtype=np.uint8), np.ones((4, 4), np.uint8)
    mask[:, 3] = 0
    predictor = OwnTensors()
    target = predictor.create_target(array(gt))
    weight, counts = predictor.create_weight(array(gt), target, array(mask))
    np.testing.assert_array_equal(target.data, gt[np.newaxis] != 0)
    known = mask[1:] != 0
    assert not weight.data[0, 0].any()
    np.testing.assert_array_equal(weight.data[0, 1:] > 0, known)
    assert counts == [[(7, 10), (2, 10)]]
    _, counts = predictor.create_weight(array(gt), target, array(mask), counts)
    assert counts == [[(14, 19), (4, 19)]]
    with pytest.raises(ConfigError, match="start without counts"):
        predictor.create_weight(array(gt), target, array(mask), counts * 2)
    with pytest.raises(LabelError, match="some are 3"):
        predictor.create_weight(array(gt), array(np.full((1, 4, 4), 3, np.uint8)), array(mask))


def test_own_arrays_are_trained_on_where_annotated() -> None:
    batches = made(TorchTrainer, TorchTrainerConfig, own(OwnArrays))
    assert [batch.weight.max() for batch in batches] == [1, 2, 3]
    assert all(batch.weight[..., :9].all() for batch in batches)


@pytest.mark.parametrize("trainer", [(GunpowderTrainer, GunpowderTrainerConfig), (TorchTrainer, TorchTrainerConfig)])
@pytest.mark.parametrize("background", [False, True])
def test_affinities_to_what_is_not_annotated_weigh_nothing(trainer: Any, background: bool) -> None:
    task = affinities(background_as_object=background)
    (batch,) = made(*trainer, task, 1)
    weight, target = batch.weight[0], batch.target[0]
    places = np.indices((18, 18))
    for channel, offset in enumerate(NEIGHBORHOOD):
        row, column = places[0] + offset[0], places[1] + offset[1]
        known = (row >= 0) & (row < 18) & (column >= 0) & (column < 9) & (places[1] < 9)
        np.testing.assert_array_equal(weight[channel] > 0, known)
        # Classes are balanced over what counts: together, either weighs as much as the other.
        ones = target[channel] == 1
        counts = [np.count_nonzero(known & ones), np.count_nonzero(known & ~ones)]
        for count, found in zip(counts, (weight[channel][known & ones], weight[channel][known & ~ones]), strict=True):
            fraction = min(max(count / (sum(counts) + 1), 0.05), 0.95)
            np.testing.assert_allclose(found, 1 / (2 * fraction), rtol=1e-5)
        if background:  # nothing outside is an object
            assert not target[channel][(row < 0) | (row >= 18) | (column < 0) | (column >= 18)].any()
