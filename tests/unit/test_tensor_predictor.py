"""Targets and weights as tensors are those that predictors make of arrays."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ChannelMismatchError, DtypeError
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.tasks.predictors import (
    AffinitiesPredictor,
    DistancePredictor,
    DummyPredictor,
    HotDistancePredictor,
    InnerDistancePredictor,
    OneHotPredictor,
    Predictor,
)
from dacapo.experiments.tasks.predictors import class_weights as weights_module
from dacapo.experiments.tasks.predictors.class_weights import (
    Classes,
    class_weights,
    count_classes,
    count_on_device,
    look_up_on_device,
    mark_on_device,
    mark_unknown,
    no_counts,
)
from dacapo.experiments.tasks.predictors.sample_labels import SampleLabels
from dacapo.experiments.tasks.predictors.torch_target import TorchTarget, stack_targets
from dacapo.utils.affinities import grow_boundaries, known_affinities, seg_to_affgraph, with_background
from dacapo.utils.balance_weights import balance_weights
from dacapo.utils.tensors import as_array, as_tensor
from dacapo.utils.torch_affinities import torch_affinities, torch_known_affinities

OFFSETS = [Coordinate(1, 0, 0), Coordinate(0, -2, 0), Coordinate(0, 0, 3), Coordinate(-1, 1, 0), Coordinate(0, 40, 0)]
FLAT = [Coordinate(1, 0), Coordinate(0, -2)]


def cells(shape: tuple[int, ...], dtype: Any = np.uint64, seed: int = 0, count: int = 5) -> np.ndarray:
    """Return labels of a few cells, 0 to ``count``; those of 64 bits are large numbers."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, count + 1, [-(-n // 4) for n in shape])
    labels = np.kron(coarse, np.ones((4,) * len(shape), dtype=int))[tuple(map(slice, shape))]
    return labels.astype(dtype) * np.array(2**61 if dtype == np.uint64 else 1, dtype)


def sample(gt: np.ndarray, mask: np.ndarray, dims: int, margin: int = 0) -> tuple[SampleLabels, NumpyArray, NumpyArray]:
    """Return labels as tensors, with the target inside of a margin, and as arrays."""
    voxel_size = Coordinate((4, 2, 2)[-dims:])
    roi = Roi(Coordinate((8,) * dims), Coordinate(gt.shape[-dims:]) * voxel_size)
    grow = voxel_size * -margin
    axes = ["z", "y", "x"][-dims:]
    gt_array, mask_array = (
        NumpyArray.from_np_array(v, roi, voxel_size, ["c"] * (v.ndim - dims) + axes) for v in (gt, mask)
    )
    labels = SampleLabels(as_tensor(gt), as_tensor(mask), gt.dtype, mask.dtype, roi, roi.grow(grow, grow), voxel_size)
    return labels, gt_array, mask_array


def masks(shape: tuple[int, ...]) -> list[np.ndarray]:
    partly = np.ones(shape, np.uint8)
    partly[..., : shape[-1] // 3] = 0
    return [np.ones(shape, np.uint8), partly * 200]


CASES: list[tuple[Predictor, np.ndarray]] = [
    *((AffinitiesPredictor(OFFSETS, lsds=False), cells((12, 16, 20), dtype)) for dtype in (np.uint64, np.int64, bool)),
    (AffinitiesPredictor(OFFSETS, lsds=False), cells((12, 16, 20), np.int16) - 2),
    (AffinitiesPredictor(OFFSETS, lsds=False), cells((1, 12, 16, 20), np.uint16)),
    (AffinitiesPredictor(OFFSETS, lsds=False, grow_boundary_iterations=2), cells((12, 16, 20), np.uint32)),
    (AffinitiesPredictor(OFFSETS, lsds=False, background_as_object=True), cells((12, 16, 20), np.uint8)),
    (AffinitiesPredictor(OFFSETS, lsds=False, background_as_object=True), cells((12, 16, 20), bool)),
    (AffinitiesPredictor(OFFSETS, num_voxels=2, lsd_weight_clipmin=0.2), cells((12, 16, 20))),
    (AffinitiesPredictor(FLAT, num_voxels=2, background_as_object=True), cells((16, 20))),
    (AffinitiesPredictor(FLAT, lsds=False, affs_weight_clipmin=0.3, affs_weight_clipmax=0.6), cells((16, 20))),
    (OneHotPredictor(["a", "b", "c"]), cells((12, 16, 20), np.uint8)),
    (OneHotPredictor(["a", "b"]), cells((12, 16, 20), bool)),
    (OneHotPredictor([str(i) for i in range(300)]), cells((8, 9), np.uint8, count=255)),
    (DummyPredictor(3), cells((12, 16, 20), np.uint8)),
    (DistancePredictor(["a"], 6.0, mask_distances=False, clipmin=0.2), cells((12, 16, 20), np.uint8, count=1)),
    (DistancePredictor(["a", "b"], 6.0, mask_distances=True), cells((2, 12, 16, 20), np.uint64)),
    (HotDistancePredictor(["a", "b"], 6.0, mask_distances=True), cells((2, 16, 20), bool)),
    (HotDistancePredictor(["a"], 6.0, mask_distances=False), cells((12, 16, 20))),
    (InnerDistancePredictor(["a"], 6.0), cells((16, 20))),
]


def dims_of(predictor: Predictor, gt: np.ndarray) -> int:
    channels = getattr(predictor, "channels", None)
    return gt.ndim - (gt.ndim == 4 or (channels is not None and gt.shape[0] == len(channels)))


@pytest.mark.parametrize(("predictor", "gt"), CASES)
def test_target_and_weight_are_those_of_arrays(predictor: Predictor, gt: np.ndarray) -> None:
    dims = dims_of(predictor, gt)
    assert predictor.works_on_tensors
    counts: Any = None
    moving: Any = None
    for mask in masks(gt.shape[-dims:]):
        labels, gt_array, mask_array = sample(gt, mask, dims)
        made = predictor.torch_target(labels)
        assert made is not None
        target = predictor.create_target(gt_array)
        np.testing.assert_array_equal(made.target.numpy(), target.data)
        assert made.target.dtype == torch.float32
        weight, moving = predictor.create_weight(gt_array, target, mask_array, moving)
        batch = stack_targets([made])
        before = no_counts(batch.classes) if counts is None else counts
        counts = [a + b for a, b in zip(before, count_classes(batch.classes), strict=True)]
        got = class_weights(batch.classes, counts)[0]
        # What is not annotated is left out in training, whatever the predictor says.
        np.testing.assert_array_equal(got.numpy(), np.where(mask != 0, weight.data, 0))
        assert got.dtype == torch.float32
        assert got.any()


@pytest.mark.parametrize(("predictor", "gt"), CASES)
def test_a_target_inside_is_the_middle_of_the_whole(predictor: Predictor, gt: np.ndarray) -> None:
    dims = dims_of(predictor, gt)
    mask = masks(gt.shape[-dims:])[1]
    # A mask that covers no more than the target says nothing about partners outside.
    whole, _, _ = sample(gt, mask, dims, margin=1)
    part, _, _ = sample(gt, mask, dims, margin=3)
    expected, got = predictor.torch_target(whole), predictor.torch_target(part)
    assert expected is not None
    assert got is not None
    inner = (..., *(slice(2, -2),) * dims)
    torch.testing.assert_close(got.target, expected.target[inner], atol=1e-6, rtol=0)
    for a, b in zip(got.classes, expected.classes, strict=True):
        np.testing.assert_array_equal(a.codes.numpy(), b.codes[inner].numpy())


@pytest.mark.parametrize(("predictor", "gt"), [case for case in CASES if case[0].targets_on_device])
def test_operations_for_other_devices_give_the_same_shapes(predictor: Predictor, gt: np.ndarray) -> None:
    """On the device ``meta``, tensors have no values."""
    dims = dims_of(predictor, gt)
    labels, _, _ = sample(gt, masks(gt.shape[-dims:])[1], dims, margin=1)
    elsewhere = attrs.evolve(labels, gt=labels.gt.to("meta"), mask=labels.mask.to("meta"))
    expected, got = (stack_targets([predictor.torch_target(one)]) for one in (labels, elsewhere))
    for here, there in zip(expected.tensors(), got.tensors(), strict=True):
        assert (there.device.type, there.shape, there.dtype) == ("meta", here.shape, here.dtype)
    counts = count_classes(got.classes)
    assert [part.shape for part in counts] == [part.shape for part in no_counts(expected.classes)]
    assert class_weights(got.classes, counts).shape == got.target.shape


@pytest.mark.parametrize("iterations", [0, 1])
@pytest.mark.parametrize("channels", [1, len(OFFSETS)])
def test_known_affinities_of_a_part_on_any_device_are_those_of_arrays(iterations: int, channels: int) -> None:
    mask = (np.random.default_rng(0).random((channels, 9, 10, 12)) < 0.9).astype(np.uint8)
    region = (slice(2, 7), slice(0, 8), slice(3, 12))
    whole = known_affinities(mask, OFFSETS, iterations)
    expected = whole[(slice(None), *region)]
    np.testing.assert_array_equal(known_affinities(mask, OFFSETS, iterations, region), expected)
    got = torch_known_affinities(torch.from_numpy(mask), OFFSETS, iterations, region)
    np.testing.assert_array_equal(got.numpy(), expected)


@pytest.mark.parametrize("iterations", [0, 2])
@pytest.mark.parametrize("dtype", [np.uint64, np.int32, bool])
def test_affinities_on_any_device_are_those_of_arrays(dtype: Any, iterations: int) -> None:
    labels = cells((10, 12, 14), dtype) if dtype != np.int32 else cells((10, 12, 14), dtype) - 1
    offsets = [tuple(offset) for offset in OFFSETS]
    got = torch_affinities(as_tensor(labels), offsets, iterations, unsigned=np.dtype(dtype).kind in "bu")
    expected = seg_to_affgraph(grow_boundaries(labels, iterations), offsets, dtype=np.uint8)
    np.testing.assert_array_equal(got.numpy(), expected)


@pytest.mark.parametrize("iterations", [0, 2])
@pytest.mark.parametrize("lsds", [False, True])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_the_largest_label_stays_an_object_beside_background(dtype: str, lsds: bool, iterations: int) -> None:
    """Also beside labels as large as that almost, and as an object that touches background."""
    largest = int(np.iinfo(dtype).max)
    numbers = np.kron(cells((18, 24), np.uint8), np.ones((2, 2), np.uint8))  # large enough to be shrunk
    values = np.array([0, 1, largest, largest - 1, largest - 2, -1 if dtype[0] == "i" else 2], dtype)
    meant = np.array([1, 2, 3, 4, 5, 0 if dtype[0] == "i" else 6])
    labels, objects = values[numbers], meant[numbers]
    assert (grow_boundaries(labels, iterations) == largest).any()
    settings: Any = {"lsds": lsds, "num_voxels": 2, "grow_boundary_iterations": iterations}
    predictor = AffinitiesPredictor(FLAT, **settings, background_as_object=True)
    tensors, array, _ = sample(labels, np.ones_like(labels), 2)
    expected = AffinitiesPredictor(FLAT, **settings).create_target(sample(objects, objects, 2)[1]).data
    np.testing.assert_array_equal(predictor.create_target(array).data, expected)
    np.testing.assert_array_equal(predictor.torch_target(tensors).target.numpy(), expected)
    offsets = [tuple(offset) for offset in FLAT]
    on_device = torch_affinities(tensors.gt, offsets, iterations, unsigned=dtype[0] == "u", background=True)
    np.testing.assert_array_equal(on_device.numpy(), expected[:2])


@pytest.mark.parametrize("dtype", ["i1", "u1", "u2", "i8", "u8", "bool"])
def test_background_becomes_an_object_that_no_other_is(dtype: str) -> None:
    if dtype == "bool":
        labels = np.array([False, True])
    else:
        limits = np.iinfo(dtype)
        low, high = (int(limits.min), int(limits.max)) if dtype[1] == "1" else (0, int(limits.max))
        labels = np.array([*range(low, min(high, 256)), *range(high - 3, high + 1)], dtype)
    objects = with_background(labels)
    assert len(np.unique(objects)) == len(np.unique(labels))
    np.testing.assert_array_equal(objects > 0, labels >= 0)
    assert with_background(np.zeros((0, 3), np.uint8)).shape == (0, 3)


def test_counts_and_weights_by_operations_for_any_device_are_those_of_arrays() -> None:
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (2, 3, 5, 6)).astype(np.uint8))
    groups = [Classes(codes, clipmin=0.1), Classes(codes[:, :1], balanced=False, repeat=2)]
    counts = [a + b for a, b in zip(no_counts(groups), count_classes(groups), strict=True)]
    expected = class_weights(groups, counts)
    table = weights_module._table(groups[0], counts[0])
    torch.testing.assert_close(look_up_on_device(codes, table), expected[:, :3], rtol=0, atol=0)
    torch.testing.assert_close(count_on_device(codes.transpose(0, 1)), counts[0][:, :2], rtol=0, atol=0)
    classes, known = codes[0] == 1, codes[0, :1] != 2
    torch.testing.assert_close(mark_on_device(classes, known), mark_unknown(classes, known), rtol=0, atol=0)
    assert expected.shape == (2, 5, 5, 6)
    np.testing.assert_array_equal(expected[:, 3:].numpy(), np.repeat(codes[:, :1] == 1, 2, axis=1))


def test_weights_of_a_batch_count_all_of_its_samples() -> None:
    codes = np.random.default_rng(0).integers(0, 3, (3, 2, 8, 9)).astype(np.uint8)
    classes = [Classes(torch.from_numpy(codes))]
    counts = [a + b for a, b in zip(no_counts(classes), count_classes(classes), strict=True)]
    for channel in range(2):
        values = codes[:, channel]
        expected, (moving,) = balance_weights(values.clip(0, 1), 2, [(values < 2)])
        np.testing.assert_array_equal(class_weights(classes, counts)[:, channel].numpy(), expected)
        np.testing.assert_array_equal(counts[0][channel].numpy(), [moving[0][0], moving[1][0], moving[0][1]])


@pytest.mark.parametrize("known", [np.ones((1, 3), bool), np.array([[True, False, True]])])
def test_unknown_voxels_are_marked(known: np.ndarray) -> None:
    codes = mark_unknown(torch.tensor([[0, 1, 1], [1, 0, 0]], dtype=torch.uint8), torch.from_numpy(known))
    np.testing.assert_array_equal(codes.numpy(), np.where(known, [[0, 1, 1], [1, 0, 0]], 2))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int64", "bool", ">u4", "float32"])
def test_arrays_become_tensors_and_arrays_again(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (3, 4)).astype(dtype)
    values.flags.writeable = False
    np.testing.assert_array_equal(as_array(as_tensor(values), values.dtype), values)
    np.testing.assert_array_equal(as_array(as_tensor(values.T), values.dtype), values.T)


def test_wrong_labels_and_masks_are_refused() -> None:
    ones = np.ones((8, 8), np.uint8)
    labels, _, _ = sample(ones.astype(np.float32), ones, 2)
    with pytest.raises(DtypeError, match="float32"):
        OneHotPredictor(["a"]).torch_target(labels)
    labels, _, _ = sample(np.ones((2, 8, 8), np.uint8), ones, 2)
    with pytest.raises(ChannelMismatchError, match="2 channels, but the task is about 1"):
        AffinitiesPredictor(FLAT, lsds=False).torch_target(labels)
    labels, _, _ = sample(ones, np.ones((3, 8, 8), np.uint8), 2)
    with pytest.raises(ChannelMismatchError, match="the mask has 3"):
        AffinitiesPredictor(FLAT, lsds=False).torch_target(labels)


def test_subclasses_that_change_targets_of_arrays_only_are_noticed() -> None:
    class Other(OneHotPredictor):
        def create_target(self, gt: Any) -> Any:
            return super().create_target(gt)

    class Again(Other):
        def torch_target(self, labels: Any) -> TorchTarget:
            return super().torch_target(labels)

    class Named(AffinitiesPredictor):
        pass

    class Mixin:
        def create_weight(self, *arguments: Any) -> Any:
            return super().create_weight(*arguments)  # type: ignore[misc]

    class Mixed(Mixin, OneHotPredictor):
        pass

    class Declared(Other):
        works_on_tensors = True

    assert not Mixed(["a"]).works_on_tensors
    assert Declared(["a"]).works_on_tensors
    assert not Other(["a"]).works_on_tensors
    assert Again(["a"]).works_on_tensors
    assert Named(FLAT).works_on_tensors
