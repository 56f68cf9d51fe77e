"""The source of made-up data, in real pipelines."""

from __future__ import annotations

from typing import Any

import gunpowder as gp
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from scipy.ndimage import distance_transform_edt, gaussian_filter, generate_binary_structure
from scipy.ndimage import label as components

from dacapo.errors import ConfigError, DtypeError
from dacapo.utils.pipeline import (
    CreatePoints,
    DilatePoints,
    ExpandLabels,
    MakeRaw,
    RandomDilateLabels,
    Relabel,
    ZerosSource,
    random_source_pipeline,
)

RAW, LABELS = gp.ArrayKey("RAW"), gp.ArrayKey("LABELS")
VOXEL = Coordinate(8, 4, 4)
SHAPE = Coordinate(12, 20, 24)


class Values(gp.BatchProvider):
    """Provides fixed labels."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def setup(self) -> None:
        roi = Roi((0, 0, 0), Coordinate(self.values.shape) * VOXEL)
        self.provides(LABELS, gp.ArraySpec(roi=roi, voxel_size=VOXEL, dtype=self.values.dtype))

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        batch, spec = gp.Batch(), self.spec[LABELS].copy()
        spec.roi = request[LABELS].roi
        index = tuple(slice(b, e) for b, e in zip(spec.roi.begin / VOXEL, spec.roi.end / VOXEL, strict=True))
        batch[LABELS] = gp.Array(self.values[index].copy(), spec)
        return batch


def zeros(dtype: Any = np.uint16) -> ZerosSource:
    return ZerosSource(LABELS, gp.ArraySpec(roi=Roi((None,) * 3, (None,) * 3), voxel_size=VOXEL, dtype=np.dtype(dtype)))


def get(pipeline: Any, *keys: gp.ArrayKey, seed: int = 1) -> list[np.ndarray]:
    request = gp.BatchRequest(random_seed=seed)
    for key in keys:
        request.add(key, SHAPE * VOXEL)
    with gp.build(pipeline):
        batch = pipeline.request_batch(request)
    return [batch[key].data for key in keys]


def labels_of(pipeline: Any, seed: int = 1) -> np.ndarray:
    return get(pipeline, LABELS, seed=seed)[0]


@pytest.fixture
def blobs() -> np.ndarray:
    return labels_of(zeros() + CreatePoints(LABELS, (9, 9)) + RandomDilateLabels(LABELS))


def test_zeros() -> None:
    values = labels_of(zeros(np.int32))
    assert (values.shape, values.dtype) == (SHAPE, np.int32)
    assert not values.any()
    with pytest.raises(ConfigError, match="voxel_size and dtype"):
        ZerosSource(LABELS, gp.ArraySpec(roi=Roi((0, 0, 0), (8, 8, 8))))


def test_points_are_single_voxels_of_labels_of_their_own() -> None:
    counts = set()
    for seed in range(30):
        values = labels_of(zeros() + CreatePoints(LABELS, (2, 5)), seed)
        kinds, sizes = np.unique(values[values > 0], return_counts=True)
        assert kinds.tolist() == list(range(1, len(kinds) + 1))
        assert set(sizes) == {1}
        counts.add(len(kinds))
    assert counts == {2, 3, 4, 5}


def test_points_are_added_to_what_is_there_and_no_more_than_fit() -> None:
    start = np.zeros(SHAPE, np.uint16)
    start[:, :, 1:] = 7
    values = labels_of(Values(start) + CreatePoints(LABELS, (1000, 1000)))
    np.testing.assert_array_equal(values[:, :, 1:], 7)
    assert sorted(values[:, :, 0].ravel()) == list(range(8, 8 + SHAPE[0] * SHAPE[1]))


def test_a_type_that_is_too_small_is_an_error() -> None:
    with pytest.raises(gp.PipelineRequestError, match=r"DtypeError.*uint8, which cannot hold"):
        labels_of(zeros(np.uint8) + CreatePoints(LABELS, (300, 300)))


def test_points_grow_to_balls_of_one_size() -> None:
    start = np.zeros(SHAPE, np.uint16)
    start[6, 10, 12] = 3
    seen = set()
    for seed in range(20):
        values = labels_of(Values(start) + DilatePoints(LABELS, [2, 4]), seed)
        distance = distance_transform_edt(start == 0, sampling=(2, 1, 1))
        radius = int(distance[values == 3].max())
        np.testing.assert_array_equal(values, np.where(distance <= radius, 3, 0))
        seen.add(radius)
    assert seen == {2, 3, 4}


def test_labels_grow_each_by_its_own_size() -> None:
    start = np.zeros((12, 20, 80), np.uint16)
    start[6, 10, 10::20] = [1, 2, 3, 4]
    pipeline = Values(start) + RandomDilateLabels(LABELS, [1, 6])
    request = gp.BatchRequest(random_seed=3)
    request.add(LABELS, Coordinate(start.shape) * VOXEL)
    with gp.build(pipeline):
        values = pipeline.request_batch(request)[LABELS].data
    sizes = {int((values == kind).sum()) for kind in (1, 2, 3, 4)}
    assert len(sizes) > 1
    assert set(np.unique(values)) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("connectivity", [1, 2, 3])
def test_parts_get_labels_of_their_own(blobs: np.ndarray, connectivity: int) -> None:
    blobs[:, ::3] = 0
    values = labels_of(Values(blobs) + Relabel(LABELS, connectivity))
    structure = generate_binary_structure(3, connectivity)
    parts = sum(components(blobs == kind, structure)[1] for kind in np.unique(blobs[blobs > 0]))
    assert sorted(np.unique(values)) == list(range(parts + 1))
    np.testing.assert_array_equal(values == 0, blobs == 0)
    for kind in range(1, parts + 1):
        assert components(values == kind, structure)[1] == 1
        assert len(np.unique(blobs[values == kind])) == 1


def test_labels_expand_to_all_of_the_background(blobs: np.ndarray) -> None:
    values = labels_of(Values(blobs) + ExpandLabels(LABELS))
    places = distance_transform_edt(blobs == 0, sampling=(2, 1, 1), return_distances=False, return_indices=True)
    np.testing.assert_array_equal(values, blobs[tuple(places)])
    assert values.all()


def borders(labels: np.ndarray, thickness: float) -> np.ndarray:
    """Return what lies in an object within a distance of anything else."""
    found = np.zeros(labels.shape, bool)
    for kind in np.unique(labels[labels > 0]):
        inside = labels == kind
        found |= inside & (distance_transform_edt(inside, sampling=(2, 1, 1)) <= thickness)
    return found


@pytest.mark.parametrize("membrane_like", [True, False])
def test_images_are_what_they_are_defined_as(blobs: np.ndarray, membrane_like: bool) -> None:
    node = MakeRaw(RAW, LABELS, (0, 0), (0, 0), membrane_like, 2, 0.25)
    raw, labels = get(Values(blobs) + node, RAW, LABELS)
    expected = np.where(labels > 0, 0.25, 0)
    if membrane_like:
        expected[borders(labels, 2)] = 1
        assert {0, 0.25, 1} == set(np.unique(expected))
    assert raw.dtype == np.float32
    np.testing.assert_array_equal(raw, expected.astype(np.float32))


def test_images_are_blurred_in_world_units(blobs: np.ndarray) -> None:
    sharp, _ = get(Values(blobs) + MakeRaw(gaussian_noise_args=(0, 0), gaussian_blur_args=(0, 0)), RAW, LABELS)
    (blurred,) = get(Values(blobs) + MakeRaw(gaussian_noise_args=(0, 0), gaussian_blur_args=(1.5, 1.5)), RAW)
    np.testing.assert_allclose(blurred, gaussian_filter(sharp, (0.75, 1.5, 1.5)), atol=1e-5)


def test_noise_has_its_mean_and_deviation() -> None:
    pipeline = zeros() + MakeRaw(gaussian_noise_args=(0.5, 0.1), gaussian_blur_args=(0, 0))
    (raw,) = get(pipeline, RAW)
    assert raw.mean() == pytest.approx(0.5, abs=0.01)
    assert raw.std() == pytest.approx(0.1, abs=0.01)
    (loud,) = get(zeros() + MakeRaw(gaussian_noise_args=(0.5, 5)), RAW)
    assert loud.min() >= 0
    assert loud.max() <= 1


@pytest.mark.parametrize(
    ("voxel_size", "shape"), [((8, 8, 8), (30, 30, 30)), ((40, 4, 4), (10, 40, 40)), ((3, 5), (40, 50))]
)
@pytest.mark.parametrize("options", [{}, {"expand_labels": True}, {"random_dilate": False, "membrane_like": False}])
def test_source(voxel_size: tuple[int, ...], shape: tuple[int, ...], options: dict[str, Any]) -> None:
    pipeline, request = random_source_pipeline(voxel_size, shape, dtype=np.uint16, num_points=(5, 10), **options)
    with gp.build(pipeline):
        batch = pipeline.request_batch(request)
    raw, labels = batch[gp.ArrayKeys.RAW], batch[gp.ArrayKeys.LABELS]
    for array in (raw, labels):
        assert array.spec.voxel_size == voxel_size
        assert array.spec.roi == Roi((0,) * len(shape), Coordinate(shape) * Coordinate(voxel_size))
        assert array.data.shape == shape
    assert (raw.data.dtype, labels.data.dtype) == (np.float32, np.uint16)
    assert labels.data.max() >= 3
    assert (labels.data == 0).any() != options.get("expand_labels", False)


def test_source_by_default() -> None:
    pipeline, request = random_source_pipeline()
    assert request[gp.ArrayKeys.RAW].roi.shape == (1184, 1184, 1184)
    assert request[gp.ArrayKeys.LABELS].roi.shape == (1184, 1184, 1184)
    with gp.build(pipeline):
        assert pipeline.spec[gp.ArrayKeys.LABELS].dtype == np.uint8


def test_objects_can_be_seen() -> None:
    raw, labels = get(random_source_pipeline(VOXEL, SHAPE, num_points=(6, 6), membrane_like=False)[0], RAW, LABELS)
    assert raw[labels > 0].mean() > raw[labels == 0].mean() + 0.2


def test_a_seed_repeats_and_another_does_not() -> None:
    def both(seed: int, *keys: gp.ArrayKey) -> list[np.ndarray]:
        return get(random_source_pipeline(VOXEL, SHAPE, num_points=(5, 9))[0], *keys, seed=seed)

    first, again, other = both(1, RAW, LABELS), both(1, RAW, LABELS), both(2, RAW, LABELS)
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert (one != three).any()


def test_every_request_is_another_volume_without_a_seed() -> None:
    pipeline, request = random_source_pipeline(VOXEL, SHAPE)
    with gp.build(pipeline):
        one, two = (pipeline.request_batch(request.copy())[LABELS].data for _ in range(2))
    assert (one != two).any()


def test_a_region_elsewhere_can_be_asked_for() -> None:
    pipeline, _ = random_source_pipeline(VOXEL, SHAPE)
    request = gp.BatchRequest()
    request[RAW] = gp.ArraySpec(roi=Roi((800, -400, 40), (80, 80, 80)))
    with gp.build(pipeline):
        assert pipeline.request_batch(request)[RAW].data.shape == (10, 20, 20)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"voxel_size": (8, 8)}, ConfigError),
        ({"input_shape": (0, 8, 8)}, ConfigError),
        ({"dtype": np.float32}, DtypeError),
        ({"num_points": (20, 300)}, DtypeError),
        ({"num_points": (20, 10)}, ConfigError),
        ({"gaussian_blur_args": (1,)}, ConfigError),
        ({"gaussian_noise_args": (0, -1)}, ConfigError),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        random_source_pipeline(**arguments)
