"""Augmentations of tensors against their definitions, and against the nodes of gunpowder."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import attrs
import gunpowder as gp
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi
from scipy.ndimage import map_coordinates
from scipy.stats import chisquare, kstest

from dacapo.errors import ConfigError, TrainingError
from dacapo.experiments import config as config_module
from dacapo.experiments.trainers.gp_augments import (
    AugmentConfig,
    ElasticAugmentConfig,
    GammaAugmentConfig,
    IntensityAugmentConfig,
    IntensityScaleShiftAugmentConfig,
    NoiseAugmentConfig,
    SimpleAugmentConfig,
)
from dacapo.experiments.trainers.gp_augments.change import SampleRois, value_range
from dacapo.experiments.trainers.gp_augments.elastic_config import Deformation, draw_deformation
from dacapo.experiments.trainers.gp_augments.simple_config import Flip, _before_flip, _transposable
from dacapo.utils.deformation import keys_kernel
from dacapo.utils.one_thread import one_thread
from dacapo.utils.sampling import _sample_grid, interpolate_linearly, take_nearest
from tests.helpers.augments import ALL_AUGMENTS
from tests.helpers.golden_data import item_arrays, items


def rois(
    raw: tuple[int, ...] = (16, 20, 18),
    labels: tuple[int, ...] = (8, 10, 9),
    at: tuple[int, ...] = (4, 5, 4),
    voxel_size: tuple[int, ...] = (4, 4, 4),
    label_voxel_size: tuple[int, ...] | None = None,
) -> SampleRois:
    """Return regions of a sample, given in voxels of raw data."""
    size = Coordinate(voxel_size)
    return SampleRois(
        Roi(Coordinate((0,) * len(raw)), Coordinate(raw) * size),
        Roi(Coordinate(at) * size, Coordinate(labels) * size),
        size,
        Coordinate(label_voxel_size or voxel_size),
    )


def flat(dims: int) -> SampleRois:
    return rois((20, 16)[:dims], (10, 9)[:dims], (4, 5)[:dims], (4, 4)[:dims])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- intensities ---


def apply(config: AugmentConfig, data: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return raw data as a change leaves it."""
    roi = Roi((0,) * data.ndim, data.shape)
    wanted = SampleRois(roi, roi, Coordinate((1,) * data.ndim), Coordinate((1,) * data.ndim))
    changed = config.torch_augment(wanted, rng(seed)).raw(torch.from_numpy(data[np.newaxis].astype(np.float32)))
    assert changed.dtype == torch.float32
    return changed[0].numpy()


FIXED = [item for item, record in items("augments").items() if record["config"] == "IntensityScaleShiftAugmentConfig"]


@pytest.mark.parametrize("item", FIXED)
def test_values_are_those_recorded(item: str) -> None:
    record, arrays = items("augments")[item], item_arrays("augments", item)
    config = IntensityScaleShiftAugmentConfig(**record["parameters"])
    np.testing.assert_allclose(apply(config, arrays["input"]), arrays["output"], atol=1e-5)


@pytest.mark.parametrize("values", [rng().random((9, 8, 7)) * 3 - 1, np.full((4, 4), 0.3)])
def test_gamma_is_a_power_between_smallest_and_largest(values: np.ndarray) -> None:
    changed = apply(GammaAugmentConfig((0.5, 2.0)), values)
    gamma = rng().uniform(0.5, 2.0)
    low, high = values.min(), values.max()
    expected = ((values - low) / (high - low)) ** gamma * (high - low) + low if high > low else values
    np.testing.assert_allclose(changed, expected, atol=1e-5)


@pytest.mark.parametrize("clip", [True, False])
def test_intensity_scales_around_the_mean(clip: bool) -> None:
    values = rng().random((9, 8))
    config = IntensityAugmentConfig((0.5, 1.9), (-0.4, 0.4), clip)
    draws = rng(3)
    scale, shift = draws.uniform(0.5, 1.9), draws.uniform(-0.4, 0.4)
    expected = values.mean() + (values - values.mean()) * scale + shift
    np.testing.assert_allclose(apply(config, values, 3), expected.clip(0, 1) if clip else expected, atol=1e-5)
    assert expected.max() > 1 or expected.min() < 0


@pytest.mark.parametrize("value", [255.0, -0.5, np.nan])
def test_intensities_beyond_what_is_clipped_say_what_to_do(value: float) -> None:
    data = np.full((4, 4), 0.5)
    data[1, 1] = value
    with pytest.raises(TrainingError, match="IntensitiesArrayConfig around the raw array, or set clip to false"):
        apply(IntensityAugmentConfig((0.9, 1.1), (0.0, 0.1)), data)
    assert np.isnan(value) or np.isfinite(apply(IntensityAugmentConfig((0.9, 1.1), (0.0, 0.1), clip=False), data)).all()
    if value != -0.5:
        with pytest.raises(TrainingError, match="NoiseAugmentConfig"):
            apply(NoiseAugmentConfig(), data)


def test_noise_is_normal_with_the_given_variance() -> None:
    noise = apply(NoiseAugmentConfig(variance=0.04, clip=False), np.full((50, 50), 0.5)) - 0.5
    assert kstest(noise.ravel() / 0.2, "norm").pvalue > 0.01
    assert not np.array_equal(noise, apply(NoiseAugmentConfig(variance=0.04, clip=False), np.full((50, 50), 0.5), 1))
    high = apply(NoiseAugmentConfig(variance=0.04), np.full((50, 50), 0.9))
    assert (high.min() > 0, high.max()) == (True, 1)
    assert apply(NoiseAugmentConfig(variance=0.04), np.full((50, 50), 0.02)).min() == 0
    assert apply(NoiseAugmentConfig(variance=0.04), np.full((50, 50), -0.95)).min() == -1


def test_range_is_found() -> None:
    assert value_range(torch.tensor([[3.0, -1.5], [0.0, 2.0]])) == (-1.5, 3.0)
    assert np.isnan(value_range(torch.tensor([1.0, np.nan]))).all()


# --- mirroring and transposing ---


def node_and_change(node: Any, wanted: SampleRois, change: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return raw data and labels as a node of gunpowder and as the change of the same draws make them."""
    keys = [gp.ArrayKey(name) for name in ("RAW", "GT")]
    sizes = [wanted.raw_voxel_size, wanted.label_voxel_size]
    places = [wanted.raw, wanted.labels]

    def values(roi: Roi, size: Coordinate) -> np.ndarray:
        """Return values that name their voxel, anywhere."""
        grids = np.meshgrid(
            *(np.arange(b, e, s) for b, e, s in zip(roi.begin, roi.end, size, strict=True)), indexing="ij"
        )
        return sum(grid * 1000**axis for axis, grid in enumerate(grids)).astype(np.float64)

    class Source(gp.BatchProvider):  # type: ignore[misc]
        def setup(self) -> None:
            for key, size in zip(keys, sizes, strict=True):
                everywhere = Roi((None,) * wanted.dims, (None,) * wanted.dims)
                self.provides(key, gp.ArraySpec(roi=everywhere, voxel_size=size, interpolatable=False))

        def provide(self, request: gp.BatchRequest) -> gp.Batch:
            batch = gp.Batch()
            for key, size in zip(keys, sizes, strict=True):
                roi = request[key].roi
                spec = gp.ArraySpec(roi=roi, voxel_size=size, interpolatable=False)
                batch[key] = gp.Array(values(roi, size), spec)
            return batch

    pipeline = Source() + node
    request = gp.BatchRequest(random_seed=1)
    for key, roi in zip(keys, places, strict=True):
        request[key] = gp.ArraySpec(roi=roi)
    with gp.build(pipeline):
        batch = pipeline.request_batch(request)
    change = change(node)
    ours = [
        change.raw(torch.from_numpy(values(change.needed.raw, sizes[0]))[None])[0],
        change.labels(torch.from_numpy(values(change.needed.labels, sizes[1]))),
    ]
    return [batch[key].data for key in keys], [tensor.numpy() for tensor in ours]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "wanted",
    [
        rois((12, 12, 12), (6, 6, 6), (3, 3, 3)),
        rois((12, 16, 20), (6, 5, 9), (2, 5, 4)),
        rois((12, 12), (6, 6), (3, 3), (4, 4), (2, 2)),
        rois((8, 12, 12), (5, 5, 3), (-1, 3, 3), (8, 4, 4)),
    ],
)
def test_mirroring_and_transposing_are_those_of_gunpowder(wanted: SampleRois, seed: int) -> None:
    config = SimpleAugmentConfig()

    def same(node: Any) -> Flip:
        mirrored, order = [bool(m) for m in node.mirror], node.transpose
        return Flip(_before_flip(wanted, mirrored, order), mirrored, order)

    node = gp.SimpleAugment(transpose_only=_transposable(wanted, None))
    from_node, ours = node_and_change(node, wanted, same)
    for expected, got in zip(from_node, ours, strict=True):
        np.testing.assert_array_equal(got, expected)
    # What is drawn here may only be what the node can draw.
    drawn = config.torch_augment(wanted, rng(seed))
    assert isinstance(drawn, Flip)
    sizes = wanted.raw_voxel_size
    assert all(sizes[axis] == sizes[source] for axis, source in enumerate(drawn.order))


def test_all_ways_to_mirror_and_transpose_are_as_likely() -> None:
    wanted = rois((8, 8, 8), (4, 4, 4), (2, 2, 2))
    generator = rng()
    counts: dict[Any, int] = {}
    for _ in range(960):
        flip = SimpleAugmentConfig().torch_augment(wanted, generator)
        assert isinstance(flip, Flip)
        way = (*flip.mirrored, *flip.order)
        counts[way] = counts.get(way, 0) + 1
    assert len(counts) == 48
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_axes_and_probabilities_of_flips_are_kept_to() -> None:
    wanted = rois((8, 8, 8), (4, 4, 4), (2, 2, 2))
    only = SimpleAugmentConfig(mirror_only=[1], transpose_only=[0, 2], mirror_probs=[1.0, 1.0, 0.0])
    for seed in range(10):
        flip = only.torch_augment(wanted, rng(seed))
        assert isinstance(flip, Flip)
        assert list(flip.mirrored) == [False, True, False]
        assert flip.order[1] == 1
    with pytest.raises(ConfigError, match="mirror_probs"):
        SimpleAugmentConfig(mirror_probs=[0.5]).torch_augment(wanted, rng())


# --- deformation ---


def plain_positions(change: Deformation, labels: bool) -> np.ndarray:
    """Return the positions that raw data or labels are read from, by definition and in double precision."""
    wanted = change.wanted
    roi, size = (wanted.labels, wanted.label_voxel_size) if labels else (wanted.raw, wanted.raw_voxel_size)
    field, places = change.displacements, []
    for axis, (offset, length, voxel) in enumerate(zip(roi.offset, roi.shape, size, strict=True)):
        place = offset + (np.arange(length // voxel) + 0.5) * voxel
        points = np.arange(change.displacements.shape[axis + 1])
        finest = min(wanted.raw_voxel_size[axis], wanted.label_voxel_size[axis])
        first, step = wanted.total.offset[axis] + 0.5 * finest, change.subsample * finest
        knots = first + step * np.arange(np.ceil((place.max() - first) / step) + 1) if change.subsample > 1 else place
        weights = keys_kernel(((knots - change.origin[axis]) / change.spacing[axis])[:, None] - points)
        if change.subsample > 1:
            weights = np.stack([np.interp(place, knots, column) for column in weights.T], axis=1)
        field = np.tensordot(field, weights, axes=(1, 1))  # takes the first axis of the grid, and adds one at the end
        places.append(place)
    column = (-1, *(1,) * wanted.dims)
    center = np.reshape(change.center, column)
    turned = np.tensordot(change.rotation, np.stack(np.meshgrid(*places, indexing="ij")) - center, axes=1)
    return np.asarray((turned + center + field - np.reshape(roi.offset, column)) / np.reshape(size, column) - 0.5)


DEFORMED = [
    (rois(), ElasticAugmentConfig([5, 8, 6], [0.75, 1.25, 1.0], (0.0, 3.0))),
    (rois(), ElasticAugmentConfig([5, 8, 6], [0.75, 1.25, 1.0], (0.0, 3.0), 4, True)),
    (rois((12, 20, 20), voxel_size=(10, 4, 4)), ElasticAugmentConfig([4, 8, 8], [0.5, 1.25, 1.25], (0.0, 3.0))),
    (rois(label_voxel_size=(2, 2, 2)), ElasticAugmentConfig([5] * 3, [1.0] * 3, (0.0, 3.0))),
    (rois(label_voxel_size=(2, 2, 2)), ElasticAugmentConfig([5] * 3, [1.0] * 3, (0.0, 3.0), 3)),
    (rois(labels=(24, 26, 25), at=(-4, -3, -3)), ElasticAugmentConfig([5] * 3, [1.0] * 3, (1.0, 1.0), 2)),
    (flat(2), ElasticAugmentConfig([5, 3], [1.0, 0.5], (-1.0, 1.0))),
    (flat(2), ElasticAugmentConfig([5, 3], [0.0, 0.0], (0.0, 0.0), 3)),
]


@pytest.mark.parametrize(("wanted", "config"), DEFORMED)
def test_positions_are_those_by_definition(wanted: SampleRois, config: ElasticAugmentConfig) -> None:
    change = config.torch_augment(wanted, rng(2))
    assert isinstance(change, Deformation)
    raw, labels = change._source_voxels(torch.device("cpu"))
    np.testing.assert_allclose(raw.numpy(), plain_positions(change, labels=False), atol=1e-4)
    np.testing.assert_allclose(labels.numpy(), plain_positions(change, labels=True), atol=1e-4)
    if not any(config.control_point_displacement_sigma):
        assert change.needed == wanted


def with_mask_inside(wanted: SampleRois) -> SampleRois:
    """Return the same with a mask that is two voxels smaller on all sides than the ground truth."""
    margin = wanted.label_voxel_size * 2
    return attrs.evolve(wanted, mask=wanted.labels.grow(-margin, -margin))


@pytest.mark.parametrize(("wanted", "config"), DEFORMED)
def test_no_more_is_needed_than_what_is_read(wanted: SampleRois, config: ElasticAugmentConfig) -> None:
    wanted = with_mask_inside(wanted)
    change = config.torch_augment(wanted, rng(2))
    assert isinstance(change, Deformation)
    raw, labels = (positions.numpy() for positions in change._source_voxels(torch.device("cpu")))
    inside = ((wanted.mask - wanted.labels.offset) / wanted.label_voxel_size).to_slices()
    nearest = np.floor(labels + 0.5)
    needed, size = change.needed, wanted.label_voxel_size
    for lower, upper, box, voxel, origin in (
        (np.floor(raw), np.ceil(raw), needed.raw, wanted.raw_voxel_size, wanted.raw.offset),
        (nearest, nearest, needed.labels, size, wanted.labels.offset),
        (nearest[(slice(None), *inside)], nearest[(slice(None), *inside)], needed.mask, size, wanted.labels.offset),
    ):
        begin = np.array((box.offset - origin) / voxel)
        for axis, (first, last) in enumerate(zip(lower, upper, strict=True)):
            assert begin[axis] == first.min()
            assert begin[axis] + box.shape[axis] / voxel[axis] == last.max() + 1


@pytest.mark.parametrize("config", [SimpleAugmentConfig(), DEFORMED[1][1]])
def test_masks_are_changed_as_labels_are(config: AugmentConfig) -> None:
    wanted = with_mask_inside(DEFORMED[1][0])
    for seed in range(8):
        change = config.torch_augment(wanted, rng(seed))
        labels, mask = change.needed.labels, change.needed.mask
        values = rng().integers(0, 2**40, tuple(labels.shape / wanted.label_voxel_size))
        part = values[((mask - labels.offset) / wanted.label_voxel_size).to_slices()]
        inside = ((wanted.mask - wanted.labels.offset) / wanted.label_voxel_size).to_slices()
        expected = change.labels(torch.from_numpy(values))[inside]
        assert torch.equal(change.mask(torch.from_numpy(part)), expected)


@pytest.mark.parametrize(("wanted", "config"), DEFORMED)
def test_values_are_those_at_the_positions(wanted: SampleRois, config: ElasticAugmentConfig) -> None:
    change = config.torch_augment(wanted, rng(5))
    assert isinstance(change, Deformation)
    generator = rng()
    raw = generator.random((2, *(change.needed.raw.shape / wanted.raw_voxel_size))).astype(np.float32)
    shape = tuple(change.needed.labels.shape / wanted.label_voxel_size)
    labels = generator.integers(0, 2**63, shape)
    column = (-1, *(1,) * wanted.dims)
    begin = (change.needed.raw.offset - wanted.raw.offset) / wanted.raw_voxel_size
    positions = plain_positions(change, labels=False) - np.reshape(begin, column)
    got = change.raw(torch.from_numpy(raw.copy())).numpy()
    for channel, expected in zip(got, raw, strict=True):
        np.testing.assert_allclose(channel, map_coordinates(expected, positions, order=1), atol=1e-3)
    begin = (change.needed.labels.offset - wanted.labels.offset) / wanted.label_voxel_size
    positions = plain_positions(change, labels=True) - np.reshape(begin, column)
    nearest = labels[tuple(np.clip(np.floor(positions + 0.5).astype(int), 0, np.reshape(shape, column) - 1))]
    same = change.labels(torch.from_numpy(labels)).numpy() == nearest
    assert same.mean() > 0.999  # rounding may differ half way between two voxels


def test_a_deformation_is_sent_without_its_positions() -> None:
    change = DEFORMED[0][1].torch_augment(DEFORMED[0][0], rng())
    assert isinstance(change, Deformation)
    raw = torch.from_numpy(rng().random((1, *(change.needed.raw.shape / 4))).astype(np.float32))
    sent = pickle.dumps(change)
    assert len(sent) < 20_000 < raw.numel() * 4
    torch.testing.assert_close(pickle.loads(sent).raw(raw), change.raw(raw), rtol=0, atol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_rotations_and_displacements_are_distributed_as_the_config_says(dims: int) -> None:
    wanted = rois() if dims == 3 else flat(2)
    config = ElasticAugmentConfig([5] * dims, [0.75, 1.25, 1.0][:dims], (0.3, 2.5))
    changes = [config.torch_augment(wanted, rng(seed)) for seed in range(60)]
    angles, scaled = [], []
    for change in changes:
        assert isinstance(change, Deformation)
        angles.append(np.arctan2(change.rotation[-1, -2], change.rotation[-1, -1]))
        scaled.append(change.displacements / np.reshape([3.0, 5.0, 4.0][:dims], (-1, *(1,) * dims)))
    assert kstest(angles, "uniform", (0.3, 2.2)).pvalue > 0.01
    assert kstest(np.concatenate([s.ravel() for s in scaled]), "norm").pvalue > 0.01


def test_uniform_rotations_point_everywhere_alike() -> None:
    config = ElasticAugmentConfig([40] * 3, [1.0] * 3, (0.0, 0.1), uniform_3d_rotation=True)
    small = rois((4, 4, 4), (2, 2, 2), (1, 1, 1))
    matrices = np.stack([config.torch_augment(small, rng(seed)).rotation for seed in range(400)])  # type: ignore[attr-defined]
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), np.tile(np.eye(3), (400, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    for row, column in itertools.product(range(3), repeat=2):  # each entry of a random rotation is uniform
        assert kstest(matrices[:, row, column], "uniform", (-1, 2)).pvalue > 1e-3


def test_dimensions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 control point spacings"):
        draw_deformation(rois(), rng(), [10, 10], [1, 1], (0, 1))


# --- reading between voxels ---


@pytest.mark.parametrize("shape", [(9, 8, 7), (9, 1, 7), (1, 1, 1), (30, 20), (1, 20)])
def test_interpolation_is_linear_and_goes_on_beyond_the_border(shape: tuple[int, ...]) -> None:
    generator = rng()
    values = generator.random((2, *shape)).astype(np.float32)
    positions = generator.uniform(-2, np.array(shape) + 1, (40, 5, len(shape))).T.astype(np.float32)
    positions = positions.reshape(len(shape), 5, 40) if len(shape) == 2 else positions.reshape(len(shape), 5, 8, 5)
    expected = np.stack([map_coordinates(v, positions, order=1, mode="nearest") for v in values])
    for read in (interpolate_linearly, _sample_grid):
        got = read(torch.from_numpy(values), torch.from_numpy(positions))
        np.testing.assert_allclose(got.numpy(), expected, atol=2e-6 * max(shape))
    shifted = interpolate_linearly(torch.from_numpy(values), torch.from_numpy(positions) + 3, [3] * len(shape))
    np.testing.assert_allclose(shifted.numpy(), expected, atol=1e-5)


def test_interpolation_in_parts_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.from_numpy(rng().random((1, 12, 12, 12)).astype(np.float32))
    positions = torch.from_numpy(rng(1).uniform(0, 11, (3, 10, 9, 8)).astype(np.float32))
    whole = interpolate_linearly(values, positions)
    kept = positions.clone()
    monkeypatch.setattr("dacapo.utils.sampling.CHUNK", 200)
    torch.testing.assert_close(interpolate_linearly(values, positions), whole, rtol=0, atol=0)
    torch.testing.assert_close(positions, kept)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_labels_are_those_of_the_nearest_voxel(channels: tuple[int, ...]) -> None:
    generator = rng()
    labels = generator.integers(-(2**63), 2**63 - 1, (*channels, 6, 7, 8))
    positions = generator.uniform(-1, 8, (3, 4, 5, 6)).astype(np.float32)
    index = [np.clip(np.rint(p).astype(int), 0, n - 1) for p, n in zip(positions, (6, 7, 8), strict=True)]
    got = take_nearest(torch.from_numpy(labels), torch.from_numpy(positions))
    np.testing.assert_array_equal(got.numpy(), labels[(..., *index)])


# --- configs ---


def test_augmentations_of_others_say_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "_registry", dict(config_module._registry))

    @attrs.define
    class NodeOnly(AugmentConfig):
        def node(self, *keys: Any) -> None:
            pass

    @attrs.define
    class OtherNode(GammaAugmentConfig):
        def node(self, *keys: Any) -> None:
            pass

    @attrs.define
    class Both(NodeOnly):
        def torch_augment(self, wanted: Any, generator: Any) -> Any:
            pass

    assert not NodeOnly().works_on_tensors
    assert not OtherNode((0.5, 1)).works_on_tensors
    assert Both().works_on_tensors
    assert all(config.works_on_tensors for config in ALL_AUGMENTS)
    with pytest.raises(ConfigError, match=r"NodeOnly .* GunpowderTrainer"):
        NodeOnly().torch_augment(rois(), rng())


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
