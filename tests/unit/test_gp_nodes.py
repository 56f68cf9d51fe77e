"""The gunpowder nodes, each run in a real pipeline."""

from __future__ import annotations

import math
from typing import Any

import gunpowder as gp
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from scipy.ndimage import distance_transform_edt

from dacapo.errors import ConfigError
from dacapo.experiments.arraytypes import EmbeddingArray
from dacapo.experiments.datasplits.datasets.arrays import Array, NumpyArray
from dacapo.experiments.tasks.predictors import Predictor
from dacapo.gp import (
    CopyMask,
    DaCapoArraySource,
    DaCapoTargetFilter,
    ElasticAugment,
    GammaAugment,
    GraphSource,
    Product,
    RejectIfEmpty,
    SimpleAugment,
)

RAW, LABELS, MASK = gp.ArrayKey("RAW"), gp.ArrayKey("LABELS"), gp.ArrayKey("MASK")


def array(data: np.ndarray, voxel_size: tuple[int, ...], offset: tuple[int, ...] | None = None) -> NumpyArray:
    """Wrap data; one axis more than there are voxel sizes is channels."""
    dims = len(voxel_size)
    axes = ["c"] * (data.ndim - dims) + ["z", "y", "x"][-dims:]
    shape = Coordinate(data.shape[-dims:]) * Coordinate(voxel_size)
    return NumpyArray.from_np_array(data, Roi(offset or (0,) * dims, shape), Coordinate(voxel_size), axes)


def get(pipeline: Any, rois: dict[Any, Roi], seed: int | None = 0) -> gp.Batch:
    """Request one batch."""
    with gp.build(pipeline):
        return pipeline.request_batch(request_of(rois, seed))


def request_of(rois: dict[Any, Roi], seed: int | None = 0) -> gp.BatchRequest:
    request = gp.BatchRequest(random_seed=seed)
    for key, roi in rois.items():
        request[key] = gp.GraphSpec(roi=roi) if isinstance(key, gp.GraphKey) else gp.ArraySpec(roi=roi)
    return request


def all_padded(*arrays: tuple[Array, gp.ArrayKey, str, bool]) -> Any:
    modes = {"zero": "constant", "reflect": "reflect"}
    sources = tuple(
        DaCapoArraySource(a, key, interpolatable=i) + gp.Pad(key, None, modes[padding]) for a, key, padding, i in arrays
    )
    return sources + gp.MergeProvider()


# --- sources ---


def test_array_source_reads_a_region_with_channels_in_front() -> None:
    data = np.random.default_rng(0).random((6, 8, 3)).astype(np.float32)
    source = DaCapoArraySource(
        NumpyArray.from_np_array(data, Roi((8, 4), (48, 32)), Coordinate(8, 4), ["y", "x", "c"]), RAW
    )
    batch = get(gp.Pipeline(source), {RAW: Roi((16, 12), (24, 8))})
    np.testing.assert_array_equal(batch[RAW].data, np.moveaxis(data, -1, 0)[:, 1:4, 2:4])
    assert batch[RAW].spec.voxel_size == Coordinate(8, 4)


def test_graph_source_provides_the_points_of_a_region() -> None:
    key = gp.GraphKey("POINTS")
    nodes = [gp.Node(i, np.array(location, dtype=np.float32)) for i, location in enumerate([(1, 1), (5, 5), (9, 9)])]
    graph = gp.Graph(nodes, [], gp.GraphSpec(roi=Roi((0, 0), (10, 10)), directed=False))
    batch = get(gp.Pipeline(GraphSource(key, graph)), {key: Roi((4, 4), (4, 4))})
    assert [node.id for node in batch[key].nodes] == [1]
    assert graph.num_vertices() == 3


def test_graph_source_cuts_edges_where_the_region_ends() -> None:
    key = gp.GraphKey("POINTS")
    nodes = [gp.Node(i, np.array(location, dtype=np.float32)) for i, location in enumerate([(1, 5), (5, 5), (6, 5)])]
    graph = gp.Graph(nodes, [gp.Edge(0, 1), gp.Edge(1, 2)], gp.GraphSpec(roi=Roi((0, 0), (10, 10)), directed=False))
    roi = Roi((3, 3), (5, 5))
    part = get(gp.Pipeline(GraphSource(key, graph)), {key: roi})[key]
    assert part.spec.roi == roi
    assert all(roi.contains(node.location) for node in part.nodes)
    places = {node.id: node.location for node in part.nodes}
    lines = sorted(sorted(float(places[end][0]) for end in (edge.u, edge.v)) for edge in part.edges)
    np.testing.assert_allclose(lines, [[3, 5], [5, 6]], atol=1e-3)


# --- copies and products ---


@pytest.mark.parametrize("drop_channels", [False, True])
def test_copy_mask(drop_channels: bool) -> None:
    copy_key = gp.ArrayKey("COPY")
    data = np.zeros((2, 4, 4), dtype=np.uint8)
    data[0, 1, 1] = data[1, 2, 2] = 1
    pipeline = DaCapoArraySource(array(data, (1, 1)), MASK) + CopyMask(MASK, copy_key, drop_channels)
    batch = get(pipeline, {copy_key: Roi((1, 1), (3, 3)), MASK: Roi((0, 0), (2, 2))})
    expected = data[:, 1:, 1:].any(axis=0) if drop_channels else data[:, 1:, 1:]
    np.testing.assert_array_equal(batch[copy_key].data, expected)
    np.testing.assert_array_equal(batch[MASK].data, data[:, :2, :2])


def test_copy_mask_is_independent_of_its_source() -> None:
    copy_key = gp.ArrayKey("COPY")
    data = np.ones((4, 4), dtype=np.uint8)
    pipeline = DaCapoArraySource(array(data, (1, 1)), MASK) + CopyMask(MASK, copy_key)
    batch = get(pipeline, {copy_key: Roi((0, 0), (4, 4)), MASK: Roi((0, 0), (4, 4))})
    batch[copy_key].data[:] = 0
    assert batch[MASK].data.all()
    assert data.all()


def test_product() -> None:
    product = gp.ArrayKey("PRODUCT")
    rng = np.random.default_rng(0)
    weight, mask = rng.random((2, 5, 5)).astype(np.float32), rng.integers(0, 2, (5, 5)).astype(np.uint8)
    sources = (DaCapoArraySource(array(weight, (2, 2)), RAW), DaCapoArraySource(array(mask, (2, 2)), MASK))
    pipeline = sources + gp.MergeProvider() + Product(RAW, MASK, product)
    batch = get(pipeline, {product: Roi((2, 2), (6, 6))})
    np.testing.assert_array_equal(batch[product].data, (weight * mask)[:, 1:4, 1:4])


# --- choice of samples ---


def _sparse(p: float) -> Any:
    """Return a pipeline with foreground in every tenth sample or so."""
    data = np.zeros((1, 100), dtype=np.uint64)
    data[:, ::10] = 7
    return DaCapoArraySource(array(data, (1, 1)), LABELS) + gp.RandomLocation() + RejectIfEmpty(LABELS, p=p)


@pytest.mark.parametrize(("p", "expected"), [(0.0, 0.1), (0.5, 0.1 / 0.55), (1.0, 1.0)])
def test_reject_if_empty_rejects_at_the_given_rate(p: float, expected: float) -> None:
    pipeline, roi = _sparse(p), Roi((0, 0), (1, 1))
    with gp.build(pipeline):
        hits = [
            pipeline.request_batch(request_of({LABELS: roi}, seed))[LABELS].data.any()
            for seed in range(50 if p == 1 else 400)
        ]
    assert np.mean(hits) == pytest.approx(expected, abs=0.06)


def test_reject_if_empty_knows_other_backgrounds() -> None:
    pipeline = DaCapoArraySource(array(np.full((2, 2), 5), (1, 1)), LABELS) + RejectIfEmpty(LABELS, 1.0, background=5)
    pipeline.output.max_attempts = 3
    with gp.build(pipeline), pytest.raises(Exception, match="background"):
        pipeline.request_batch(request_of({LABELS: Roi((0, 0), (2, 2))}))


def test_reject_if_empty_needs_labels() -> None:
    pipeline = DaCapoArraySource(array(np.zeros((2, 2)), (1, 1)), RAW) + RejectIfEmpty()
    with pytest.raises(Exception, match="RejectIfEmpty") as caught, gp.build(pipeline):
        pass
    assert isinstance(caught.value.__cause__, ConfigError)


# --- values ---


def test_gamma_needs_floating_point_values() -> None:
    pipeline = DaCapoArraySource(array(np.arange(4, dtype=np.uint8)[None], (1, 1)), RAW) + GammaAugment([RAW], 2, 2)
    with pytest.raises(Exception, match="only floating point"):
        get(pipeline, {RAW: Roi((0, 0), (1, 4))})


def test_gamma_acts_on_all_of_its_arrays_alike() -> None:
    data = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    other = gp.ArrayKey("OTHER")
    sources = tuple(DaCapoArraySource(array(data * scale, (1, 1)), key) for key, scale in ((RAW, 1), (other, 4)))
    pipeline = sources + gp.MergeProvider() + GammaAugment([RAW, other], 0.5, 2)
    batch = get(pipeline, {RAW: Roi((0, 0), (8, 8)), other: Roi((0, 0), (8, 8))})
    assert not np.allclose(batch[RAW].data, data)
    np.testing.assert_allclose(batch[other].data, batch[RAW].data * 4, rtol=1e-4)


def test_gamma_draws_from_all_of_its_range() -> None:
    data = np.array([[0, 0.5, 1]], dtype=np.float32)
    pipeline, roi = DaCapoArraySource(array(data, (1, 1)), RAW) + GammaAugment([RAW], 0.5, 2), Roi((0, 0), (1, 3))
    with gp.build(pipeline):
        batches = [pipeline.request_batch(request_of({RAW: roi}, seed)) for seed in range(100)]
    powers = np.log([batch[RAW].data[0, 1] for batch in batches]) / np.log(0.5)
    assert 0.5 <= powers.min() < 0.6
    assert 1.9 < powers.max() <= 2
    assert np.mean(powers) == pytest.approx(1.25, abs=0.15)


# --- targets ---


class _DistancePredictor(Predictor):
    """Distance to background, clipped at 3 voxels; counts how often it was asked for a weight."""

    def create_model(self, architecture: Any) -> Any:
        raise AssertionError

    def create_target(self, gt: Array) -> Array:
        distances = np.minimum(distance_transform_edt(gt.data), 3)[None].astype(np.float32)
        return NumpyArray.from_np_array(distances, gt.roi, gt.voxel_size, ["c", *gt.axes])

    def create_weight(
        self, gt: Array, target: Array, mask: Array, moving_class_counts: Any = None
    ) -> tuple[Array, Any]:
        count = (moving_class_counts or 0) + 1
        weight = (mask.data * count).astype(np.float32)[None]
        return NumpyArray.from_np_array(weight, target.roi, target.voxel_size, target.axes), count

    @property
    def output_array_type(self) -> EmbeddingArray:
        return EmbeddingArray(1)

    def gt_region_for_roi(self, target_spec: Any) -> Any:
        spec = target_spec.copy()
        spec.roi = spec.roi.grow(spec.voxel_size * 3, spec.voxel_size * 3)
        return spec


TARGET, WEIGHT = gp.ArrayKey("TARGET"), gp.ArrayKey("WEIGHT")


@pytest.mark.parametrize("with_mask", [True, False])
def test_target_filter_gives_the_predictor_the_context_it_asks_for(with_mask: bool) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((30, 30)) > 0.1).astype(np.uint64)
    mask = rng.integers(0, 2, labels.shape).astype(np.uint8)
    predictor = _DistancePredictor()
    node = DaCapoTargetFilter(predictor, LABELS, TARGET, WEIGHT, MASK if with_mask else None)
    sources = (array(labels, (2, 2)), LABELS, "zero", False), (array(mask, (2, 2)), MASK, "zero", False)
    pipeline = all_padded(*sources) + node
    roi = Roi((20, 20), (16, 24))
    with gp.build(pipeline):
        for count in (1, 2):
            batch = pipeline.request_batch(request_of({TARGET: roi, WEIGHT: roi, LABELS: roi}))
            part = (slice(10, 18), slice(10, 22))
            whole = predictor.create_target(array(labels, (2, 2))).data
            np.testing.assert_array_equal(batch[TARGET].data, whole[(slice(None), *part)])
            np.testing.assert_array_equal(batch[WEIGHT].data[0], (mask[part] if with_mask else 1) * np.float32(count))
            np.testing.assert_array_equal(batch[LABELS].data, labels[part])
    assert node.moving_class_counts == 2


def test_target_filter_makes_no_weight_unless_asked() -> None:
    node = DaCapoTargetFilter(_DistancePredictor(), LABELS, TARGET, WEIGHT)
    pipeline = all_padded((array(np.ones((20, 20), dtype=np.uint8), (1, 1)), LABELS, "zero", False)) + node
    batch = get(pipeline, {TARGET: Roi((5, 5), (4, 4))})
    assert batch[TARGET].data.shape == (1, 4, 4)
    assert node.moving_class_counts is None


# --- geometry ---

UNCHANGED = {"control_point_displacement_sigma": (0.0, 0.0), "rotation_interval": (0.0, 0.0)}


def _grid(shape: tuple[int, ...], voxel_size: tuple[int, ...]) -> NumpyArray:
    """Return an array whose values are the world coordinates of the voxels' centers, one channel per axis."""
    axes = [(np.arange(n) + 0.5) * v for n, v in zip(shape, voxel_size, strict=True)]
    return array(np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32), voxel_size)


def test_elastic_without_strength_changes_nothing() -> None:
    data = np.random.default_rng(0).random((3, 24, 24)).astype(np.float32)
    augment = ElasticAugment((10, 10), **UNCHANGED)  # type: ignore[arg-type]
    batch = get(all_padded((array(data, (4, 2)), RAW, "zero", True)) + augment, {RAW: Roi((16, 8), (40, 24))})
    np.testing.assert_allclose(batch[RAW].data, data[:, 4:14, 4:16], atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16), (5, 16, 16)])
def test_elastic_rotation_by_a_right_angle_is_exact(shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).integers(0, 2**63, shape).astype(np.uint64)
    dims = len(shape)
    augment = ElasticAugment((10,) * dims, (0.0,) * dims, (math.pi / 2, math.pi / 2))
    pipeline = all_padded((array(data, (2,) * dims), LABELS, "zero", False)) + augment
    batch = get(pipeline, {LABELS: Roi((0,) * dims, Coordinate(shape) * 2)})
    # More digits than a double holds: labels may only ever be copied.
    np.testing.assert_array_equal(batch[LABELS].data, np.rot90(data, -1, axes=(-2, -1)))


@pytest.mark.parametrize("voxel_size", [(4, 4, 4), (8, 4, 4), (2, 4, 8)])
def test_uniform_rotation_keeps_distances_in_the_world(voxel_size: tuple[int, ...]) -> None:
    shape = tuple(240 // v for v in voxel_size)
    augment = ElasticAugment((40,) * 3, (0.0,) * 3, (0.0, 0.0), uniform_3d_rotation=True)
    pipeline = all_padded((_grid(shape, voxel_size), RAW, "zero", True)) + augment
    roi = Roi((80, 80, 80), (80, 80, 80))
    matrices = []
    for seed in range(6):
        source = get(pipeline, {RAW: roi}, seed)[RAW].data.reshape(3, -1) - 120
        place = _grid(shape, voxel_size)[roi].reshape(3, -1) - 120
        matrix = np.linalg.lstsq(place.T, source.T, rcond=None)[0].T
        np.testing.assert_allclose(matrix @ place, source, atol=1e-2)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-4)
        assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-4)
        matrices.append(matrix)
    assert np.std(matrices, axis=0).min() > 0.1  # into all directions


@pytest.mark.parametrize("subsample", [1, 4])
@pytest.mark.parametrize(
    ("raw_voxel", "label_voxel"), [((2, 2), (2, 2)), ((4, 2), (4, 2)), ((2, 2, 2), (2, 2, 2)), ((4, 4), (2, 2))]
)
def test_elastic_deforms_all_arrays_alike(
    raw_voxel: tuple[int, ...], label_voxel: tuple[int, ...], subsample: int
) -> None:
    dims = len(raw_voxel)
    size = 160 if dims == 2 else 80
    raw = _grid(tuple(size // v for v in raw_voxel), raw_voxel)
    # Labels name the voxel they stand for, so the region a label came from can be told from its value.
    label_shape = tuple(size // v for v in label_voxel)
    labels = np.arange(math.prod(label_shape)).reshape(label_shape)
    sources = (
        (raw, RAW, "reflect", True),
        (array(labels, label_voxel), LABELS, "zero", False),
        (array((labels % 7 > 0).astype(np.uint8), label_voxel), MASK, "zero", False),
    )
    augment = ElasticAugment((24,) * dims, (3.0,) * dims, (0.0, 1.0), subsample, uniform_3d_rotation=dims == 3)
    center = Coordinate((size // 2,) * dims)
    raw_roi, roi = Roi(center - 16, (32,) * dims), Roi(center - 8, (16,) * dims)
    batch = get(all_padded(*sources) + augment, {RAW: raw_roi, LABELS: roi, MASK: roi}, seed=3)
    assert batch[LABELS].data.dtype == labels.dtype
    np.testing.assert_array_equal(batch[MASK].data, batch[LABELS].data % 7 > 0)
    voxels = np.stack(np.unravel_index(batch[LABELS].data, label_shape))
    column = (dims, *(1,) * dims)
    source = (voxels + 0.5) * np.reshape(label_voxel, column)
    middle = batch[RAW].crop(roi).data
    factor = [r // v for r, v in zip(raw_voxel, label_voxel, strict=True)]
    # Where raw voxels are larger, compare the mean of the labels' places in each.
    for axis, n in enumerate(factor, start=1):
        source = source.reshape(*source.shape[:axis], -1, n, *source.shape[axis + 1 :]).mean(axis=axis + 1)
    tolerance = np.reshape(label_voxel, column) * (0.51 if max(factor) == 1 else 1.0)
    assert (np.abs(source - middle) <= tolerance).all()
    assert np.abs(middle - raw[roi]).max() > 4  # and it is deformed at all


def test_elastic_displaces_control_points_by_sigma() -> None:
    voxels, spacing, sigma = 4, 40, (3.0, 6.0)
    raw = _grid((200, 200), (voxels, voxels))
    augment = ElasticAugment((spacing, spacing), sigma, (0.0, 0.0))
    # Control points lie half a spacing from the corner of the request, between voxels, hence the mean of neighbors.
    roi = Roi((100, 100), (600, 600))
    displacements = []
    for seed in range(4):
        moved = get(all_padded((raw, RAW, "reflect", True)) + augment, {RAW: roi}, seed)[RAW].data - raw[roi]
        at_corners = (moved[:, 1:, 1:] + moved[:, :-1, 1:] + moved[:, 1:, :-1] + moved[:, :-1, :-1]) / 4
        displacements.append(at_corners[:, 4::10, 4::10].reshape(2, -1))
        steps = np.abs(np.diff(moved, axis=2)).max()
        assert steps < max(sigma)  # smooth: independent ones would differ by several sigma somewhere
    assert np.concatenate(displacements, axis=1).std(axis=1) == pytest.approx(sigma, rel=0.06)


def test_elastic_subsampling_comes_close() -> None:
    raw = _grid((100, 100), (2, 2))
    roi = Roi((60, 60), (80, 82))  # no multiple of the step
    results = []
    for subsample in (1, 4):
        augment = ElasticAugment((40, 40), (4.0, 4.0), (0.0, 1.0), subsample)
        results.append(get(all_padded((raw, RAW, "reflect", True)) + augment, {RAW: roi}, 1)[RAW].data)
    difference = np.abs(results[0] - results[1]).max()
    assert 0 < difference < 0.5


def test_elastic_leaves_samples_alone_with_the_given_probability() -> None:
    raw = _grid((40, 40), (2, 2))
    augment = ElasticAugment((20, 20), (3.0, 3.0), (0.5, 1.0), augmentation_probability=0.3)
    pipeline, roi = all_padded((raw, RAW, "reflect", True)) + augment, Roi((20, 20), (40, 40))
    with gp.build(pipeline):
        changed = [
            not np.array_equal(pipeline.request_batch(request_of({RAW: roi}, seed))[RAW].data, raw[roi])
            for seed in range(200)
        ]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_elastic_interpolates_in_the_type_of_the_data(dtype: Any) -> None:
    ramp = np.broadcast_to(np.arange(40) * 3, (2, 40, 40)).astype(dtype)
    augment = ElasticAugment((10, 10), (0.0, 0.0), (math.pi / 4, math.pi / 4))
    pipeline = all_padded((array(ramp, (1, 1)), RAW, "reflect", True)) + augment
    changed = get(pipeline, {RAW: Roi((10, 10), (20, 20))})[RAW].data
    assert changed.dtype == dtype
    steps = np.arange(20) - 9.5
    # The slope runs along the last axis; after a rotation by 45 degrees, along the diagonal.
    expected = 3 * (19.5 + (steps[:, None] + steps[None, :]) / math.sqrt(2))
    expected = np.rint(expected) if np.issubdtype(dtype, np.integer) else expected
    np.testing.assert_allclose(
        changed, np.broadcast_to(expected, changed.shape), atol=1 if dtype != np.float64 else 1e-3
    )


def test_arrays_that_cannot_be_changed_together_are_refused() -> None:
    raw, fine = array(np.zeros((8, 8)), (4, 4)), array(np.zeros((16, 16)), (2, 2))
    pipeline = all_padded((raw, RAW, "zero", True), (fine, LABELS, "zero", True)) + SimpleAugment()
    roi = Roi((0, 0), (16, 16))
    with pytest.raises(Exception, match=r"LABELS together with arrays of voxel size \(4, 4\)"):
        get(pipeline, {RAW: roi, LABELS: roi})


def test_elastic_checks_its_parameters() -> None:
    with pytest.raises(ConfigError, match="one value per spatial axis"):
        ElasticAugment((10, 10), (1.0,), (0, 0))
    with pytest.raises(ConfigError, match="above 0"):
        ElasticAugment((10, 0), (1.0, 1.0), (0, 0))
    pipeline = all_padded((array(np.zeros((4, 4)), (1, 1)), RAW, "zero", True))
    with (
        pytest.raises(Exception, match="ElasticAugment") as caught,
        gp.build(pipeline + ElasticAugment((10,) * 3, (1.0,) * 3, (0, 0))),
    ):
        pass
    assert isinstance(caught.value.__cause__, ConfigError)


def test_simple_augment_transposes_only_axes_of_the_same_voxel_size() -> None:
    voxel_size = (8, 4, 4)
    raw = _grid((20, 40, 40), voxel_size)
    pipeline = all_padded((raw, RAW, "zero", True)) + SimpleAugment()
    roi = Roi((32, 40, 48), (64, 80, 48))
    seen = set()
    for seed in range(120):
        data = get(pipeline, {RAW: roi}, seed)[RAW].data
        # Which source axis runs along each axis of the result, and in which direction.
        along = [np.diff(data, axis=axis + 1).mean(axis=(1, 2, 3)) for axis in range(3)]
        axes = tuple(int(np.argmax(np.abs(step))) for step in along)
        signs = tuple(bool(step[axis] < 0) for step, axis in zip(along, axes, strict=True))
        assert axes[0] == 0
        steps = [abs(step[axis]) for step, axis in zip(along, axes, strict=True)]
        assert steps == pytest.approx(voxel_size)
        seen.add((axes, signs))
    assert len(seen) == 16  # two orders of axes, eight mirrorings


def test_simple_augment_keeps_arrays_of_different_size_and_voxel_size_together() -> None:
    raw = _grid((40, 40, 40), (4, 4, 4))
    fine = _grid((80, 80, 80), (2, 2, 2))
    pipeline = all_padded((raw, RAW, "zero", True), (fine, LABELS, "zero", False)) + SimpleAugment()
    raw_roi, roi = Roi((40, 40, 40), (64, 48, 72)), Roi((52, 48, 56), (40, 32, 40))
    for seed in range(30):
        batch = get(pipeline, {RAW: raw_roi, LABELS: roi}, seed)
        fine_data = batch[LABELS].data
        coarse = fine_data.reshape(3, 10, 2, 8, 2, 10, 2).mean(axis=(2, 4, 6))
        np.testing.assert_allclose(coarse, batch[RAW].crop(roi).data, atol=1e-4)


def test_simple_augment_heeds_its_choice_of_axes() -> None:
    raw = _grid((20, 20), (2, 2))
    pipeline = all_padded((raw, RAW, "zero", True)) + SimpleAugment(mirror_only=[1], transpose_only=[])
    roi = Roi((10, 10), (20, 20))
    mirrored = 0
    for seed in range(20):
        data = get(pipeline, {RAW: roi}, seed)[RAW].data
        assert (np.diff(data[0], axis=0) > 0).all()
        mirrored += bool((np.diff(data[1], axis=1) < 0).all())
    assert 0 < mirrored < 20


def test_requests_with_a_seed_repeat() -> None:
    raw = _grid((40, 40), (2, 2))
    augments = ElasticAugment((10, 10), (2.0, 2.0), (0, 1)) + SimpleAugment() + GammaAugment([RAW], 0.5, 2)
    pipeline = DaCapoArraySource(raw, RAW) + gp.RandomLocation() + augments
    roi = {RAW: Roi((0, 0), (20, 20))}
    first, again, other = (get(pipeline, roi, seed)[RAW].data for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sources_hand_out_copies() -> None:
    # Nodes such as gunpowder's IntensityAugment change values in place.
    data = np.ones((4, 4), dtype=np.float32)
    get(gp.Pipeline(DaCapoArraySource(array(data, (1, 1)), RAW)), {RAW: Roi((0, 0), (4, 4))})[RAW].data[:] = 0
    assert data.all()
