"""The gunpowder trainer on small arrays in memory and on disk."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import (
    BatchError,
    ChannelMismatchError,
    ConfigError,
    DtypeError,
    InputTooSmallError,
    RoiError,
    TrainingError,
)
from dacapo.experiments.architectures import Architecture
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    IntensitiesArray,
    IntensitiesArrayConfig,
    NumpyArray,
    ZarrArray,
    ZarrArrayConfig,
)
from dacapo.experiments.model import Model
from dacapo.experiments.tasks import (
    AffinitiesTask,
    AffinitiesTaskConfig,
    DistanceTask,
    DistanceTaskConfig,
    DummyTask,
    DummyTaskConfig,
    OneHotTask,
    OneHotTaskConfig,
    Task,
)
from dacapo.experiments.tasks.predictors import DummyPredictor
from dacapo.experiments.tasks.predictors.predictor import conv_head
from dacapo.experiments.trainers import (
    ElasticAugmentConfig,
    GammaAugmentConfig,
    GunpowderTrainer,
    GunpowderTrainerConfig,
    IntensityAugmentConfig,
    SimpleAugmentConfig,
    TorchTrainer,
    TorchTrainerConfig,
    TrainerConfig,
)
from dacapo.experiments.trainers.batches import Sampling, TrainingBatch
from dacapo.store.array_store import LocalArrayIdentifier, LocalContainerIdentifier
from dacapo.testing.trainer import CPU, TrainerContract

VOXEL = Coordinate(4, 4)


class TinyNet(Architecture):
    """One valid convolution with dropout; may double the resolution."""

    def __init__(self, input_shape: tuple[int, ...] = (20, 20), channels: int = 1, upsample: int = 1) -> None:
        super().__init__()
        self._input_shape = Coordinate(input_shape)
        self._channels = channels
        self.upsample = upsample
        conv = torch.nn.Conv2d if len(input_shape) == 2 else torch.nn.Conv3d
        self.conv = conv(channels, 4, kernel_size=3)

    @property
    def input_shape(self) -> Coordinate:
        return self._input_shape

    @property
    def num_in_channels(self) -> int:
        return self._channels

    @property
    def num_out_channels(self) -> int:
        return 4

    def scale(self, input_voxel_size: Coordinate) -> Coordinate:
        return input_voxel_size / self.upsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.dropout(self.conv(x).relu(), 0.2, self.training)
        return torch.nn.functional.interpolate(x, scale_factor=self.upsample) if self.upsample > 1 else x


class ArrayDataset(Dataset):
    """A dataset of arrays in memory."""

    def __init__(self, raw: Array, gt: Array | None, mask: Array | None = None, **attributes: Any) -> None:
        self.name = attributes.pop("name", "data")
        self.raw, self.gt, self.mask = raw, gt, mask
        for name, value in attributes.items():
            setattr(self, name, value)


def array(data: np.ndarray, offset: Sequence[int] = (0, 0), voxel_size: Sequence[int] = VOXEL) -> NumpyArray:
    dims = len(voxel_size)
    roi = Roi(offset, Coordinate(data.shape[-dims:]) * Coordinate(voxel_size))
    axes = ["c"] * (data.ndim - dims) + ["z", "y", "x"][-dims:]
    return NumpyArray.from_np_array(data, roi, Coordinate(voxel_size), axes)


def coded(shape: tuple[int, ...]) -> np.ndarray:
    """Return an array in which every value names its voxel."""
    return np.arange(np.prod(shape)).reshape(shape)


def coded_dataset(size: int = 40, **attributes: Any) -> ArrayDataset:
    """Return a dataset in which raw data and labels name their voxel."""
    data = coded((size, size))
    return ArrayDataset(array(data.astype(np.float32)), array(data), **attributes)


def blobs(size: int = 48) -> ArrayDataset:
    """Return a dataset of square cells; offsets are no multiples of the voxel size, part of it is not annotated."""
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 9, (size // 6, size // 6)), np.ones((6, 6), dtype=int)).astype(np.uint64)
    raw = ((labels % 3) / 3 + rng.random(labels.shape) / 3).astype(np.float32)
    mask = np.ones_like(labels, dtype=np.uint8)
    mask[:, 20:24] = 0
    inner = (slice(4, -4), slice(4, -4))
    return ArrayDataset(array(raw, (2, 6)), array(labels[inner], (18, 22)), array(mask[inner], (18, 22)))


def affinities() -> Task:
    return AffinitiesTask(AffinitiesTaskConfig("task", [Coordinate(1, 0), Coordinate(0, 1), Coordinate(0, -3)]))


class PointwisePredictor(DummyPredictor):
    """A dummy whose head keeps the size of what the network gives."""

    def create_model(self, architecture: Architecture) -> Model:
        return Model(architecture, conv_head(architecture, self.embedding_dims))


def dummy_task() -> Task:
    task = DummyTask(DummyTaskConfig("task", 2, 0.5))
    task.predictor = PointwisePredictor(2)
    return task


def config(**changes: Any) -> GunpowderTrainerConfig:
    settings = {"name": "trainer", "batch_size": 1, "learning_rate": 1e-3, "num_data_fetchers": 1, "min_masked": 0.0}
    return GunpowderTrainerConfig(**{**settings, **changes})


def batches(
    count: int,
    datasets: Sequence[Dataset],
    model: Model | None = None,
    task: Task | None = None,
    container: LocalContainerIdentifier | None = None,
    **changes: Any,
) -> list[TrainingBatch]:
    """Return the first batches of a training, with ground truth and mask."""
    task = task or dummy_task()
    trainer = GunpowderTrainer(config(snapshot_interval=1, **changes))
    model = model or task.create_model(TinyNet())
    trainer.build_batch_provider(datasets, model, task, container or LocalContainerIdentifier(Path("unused.zarr")))
    with trainer:
        return [batch for batch, _ in zip(trainer, range(count), strict=False)]


class TestGunpowderTrainer(TrainerContract):
    fetchers = 1

    def config(self) -> TrainerConfig:
        return config(
            batch_size=2,
            num_data_fetchers=self.fetchers,
            min_masked=0.3,
            warmup_iterations=4,
            decay_iterations=10,
            augments=[
                ElasticAugmentConfig([5, 5], [0.5, 0.5], (0.0, 1.5)),
                GammaAugmentConfig((0.5, 2.0)),
                IntensityAugmentConfig((0.7, 1.3), (-0.2, 0.2)),
                SimpleAugmentConfig(),
            ],
        )

    def task(self) -> Task:
        return affinities()

    def datasets(self) -> Sequence[Dataset]:
        return [blobs()]

    def model(self) -> Model:
        return self.task().create_model(TinyNet())

    def test_learning_rate_follows_the_schedule_also_after_a_resume(self) -> None:
        expected = [1e-3 * factor for factor in (0.01, 0.2575, 0.505, 0.7525, 1.0)]

        def rates(trainer: Any, model: Model, optimizer: Any, count: int) -> list[float]:
            with trainer:
                return [optimizer.param_groups[0]["lr"] for _ in trainer.iterate(count, model, optimizer, CPU)]

        trainer, model, optimizer = self.session()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-5)
        assert rates(trainer, model, optimizer, 3) == pytest.approx(expected[:3])
        saved = optimizer.state_dict()
        trainer, model, optimizer = self.session()
        optimizer.load_state_dict(saved)
        trainer.iteration = 3
        later = rates(trainer, model, optimizer, 10)
        assert later[:2] == pytest.approx(expected[3:])
        assert later[-2:] == pytest.approx([1e-5, 1e-5])
        assert isinstance(optimizer, torch.optim.RAdam)

    def test_class_counts_of_the_predictor_are_kept(self) -> None:
        trainer, model, optimizer = self.session()
        assert trainer.state_dict() == {"trainer": "GunpowderTrainer", "moving_class_counts": [None] * self.fetchers}
        self.train(trainer, model, optimizer, 4)
        counts = trainer.state_dict()["moving_class_counts"]
        assert len(counts) == self.fetchers
        first, second = (
            counts[0][0],
            affinities().predictor.create_weight(
                *[array(np.ones(shape, np.uint8)) for shape in ((9, 9), (3, 9, 9), (9, 9))]
            )[1][0],
        )
        assert np.shape(first) == np.shape(second)
        assert first != second

    def test_class_counts_of_any_kind_are_stored_without_pickles(self) -> None:
        trainer, _, _ = self.session()
        assert isinstance(trainer, GunpowderTrainer)
        counts = [None, np.arange(4.0).reshape(2, 2), (np.float64(0.1), [3])]
        trainer._slots = [counts] * self.fetchers
        file = io.BytesIO()
        torch.save(trainer.state_dict(), file)
        file.seek(0)
        trainer, _, _ = self.session()
        assert isinstance(trainer, GunpowderTrainer)
        trainer.load_state_dict(torch.load(file, weights_only=True))
        (nothing, table, plain), *_ = trainer._slots
        assert (nothing, plain) == (None, (0.1, [3]))
        np.testing.assert_array_equal(table, counts[1])
        assert isinstance(table, np.ndarray)


class TestGunpowderTrainerWithProcesses(TestGunpowderTrainer):
    fetchers = 2

    def test_processes_end_with_the_context(self) -> None:
        before = len(multiprocessing.active_children())
        trainer, model, optimizer = self.session()
        with trainer:
            next(iter(trainer.iterate(3, model, optimizer, CPU)))
            assert len(multiprocessing.active_children()) == before + 2
        assert len(multiprocessing.active_children()) == before

    def test_errors_of_processes_reach_the_training(self) -> None:
        trainer, model, optimizer = self.session()
        dataset = blobs()
        dataset.raw = _Damaged(dataset.raw)
        trainer.build_batch_provider([dataset], model, self.task(), None)
        with trainer, pytest.raises(TrainingError, match=r"iteration 0 .* the disk is gone"):
            next(iter(trainer.iterate(3, model, optimizer, CPU)))


class _Damaged(Array):
    """An array whose values cannot be read."""

    attrs = axes = dims = voxel_size = roi = dtype = num_channels = data = writable = None  # type: ignore[assignment]

    def __init__(self, like: Array) -> None:
        self.axes, self.dims, self.voxel_size, self.roi = like.axes, like.dims, like.voxel_size, like.roi
        self.dtype = like.dtype

    def __getitem__(self, roi: Roi) -> np.ndarray:
        raise OSError("the disk is gone")


# --- what is in a batch ---


@pytest.mark.parametrize("upsample", [1, 2])
def test_raw_and_ground_truth_are_of_the_same_place(upsample: int) -> None:
    raw = coded((40, 40)).astype(np.float32)
    labels = np.kron(coded((40, 40)), np.ones((upsample, upsample), dtype=int))
    dataset = ArrayDataset(array(raw, (8, 4)), array(labels, (8, 4), VOXEL / upsample))
    model = dummy_task().create_model(TinyNet(upsample=upsample))
    for batch in batches(8, [dataset], model, batch_size=2):
        assert batch.gt is not None
        assert batch.raw.shape == (2, 1, 20, 20)
        assert batch.gt.shape == (2, 18 * upsample, 18 * upsample) == batch.target.shape[:1] + batch.target.shape[2:]
        np.testing.assert_array_equal(batch.raw[:, 0, 1:-1, 1:-1], batch.gt[:, ::upsample, ::upsample])


def test_ground_truth_may_be_a_small_part_anywhere_on_the_grid_of_raw_voxels() -> None:
    raw = coded((40, 40))
    dataset = ArrayDataset(array(raw.astype(np.uint8), (6, 10)), array(raw[7:27, 9:29], (6 + 28, 10 + 36)))
    seen = set()
    for batch in batches(40, [dataset]):
        assert batch.gt is not None
        np.testing.assert_array_equal(batch.raw[0, 0, 1:-1, 1:-1], batch.gt[0] % 256)
        assert batch.raw.dtype == np.float32
        seen.add(int(batch.gt.min()))
    assert seen == {(7 + y) * 40 + 9 + x for y in range(3) for x in range(3)}


def test_raw_data_is_mirrored_where_the_input_is_larger() -> None:
    dataset = coded_dataset(20)
    padded = np.pad(coded((20, 20)), 1, mode="reflect")
    for batch in batches(20, [dataset]):
        assert batch.gt is not None
        y, x = divmod(int(batch.gt[0, 0, 0]), 20)
        np.testing.assert_array_equal(batch.raw[0, 0], padded[y : y + 20, x : x + 20])


def test_clipped_raw_data_is_mirrored_at_the_border_of_ground_truth() -> None:
    raw = coded((40, 40)).astype(np.float32)
    dataset = ArrayDataset(array(raw), array(coded((40, 40))[10:28, 10:28], (40, 40)))
    (unclipped,), (clipped,) = batches(1, [dataset]), batches(1, [dataset], clip_raw=True)
    np.testing.assert_array_equal(unclipped.raw[0, 0], raw[9:29, 9:29])
    np.testing.assert_array_equal(clipped.raw[0, 0], np.pad(raw[10:28, 10:28], 1, mode="reflect"))


def test_ground_truth_without_raw_data_is_not_trained_on() -> None:
    raw = coded((30, 40)).astype(np.float32)
    dataset = ArrayDataset(array(raw), array(coded((60, 40))))
    for batch in batches(30, [dataset]):
        assert batch.gt is not None
        assert batch.gt.max() < 30 * 40


def test_everything_is_annotated_without_a_mask_and_nothing_outside() -> None:
    dataset = ArrayDataset(array(np.zeros((40, 40), np.float32)), array(np.ones((10, 40), np.uint8), (60, 0)))
    for batch in batches(5, [dataset]):
        assert batch.mask is not None
        assert batch.gt is not None
        np.testing.assert_array_equal(batch.mask, batch.gt)
        assert batch.mask.sum() == 10 * 18
        np.testing.assert_array_equal(batch.weight[0, 0] > 0, batch.mask[0] > 0)


def test_a_mask_counts_only_where_there_are_raw_data_and_ground_truth() -> None:
    dataset = ArrayDataset(zeros((10, 40), (60, 0)), array(np.ones((12, 40), np.uint8), (56, 0)), ones((40, 40)))
    for batch in batches(5, [dataset]):
        assert batch.mask is not None
        assert batch.mask.sum() == 10 * 18


def test_samples_with_little_annotated_are_left_out() -> None:
    mask = np.zeros((40, 80), dtype=np.uint8)
    mask[:, 60:] = 1
    data = np.zeros((40, 80), dtype=np.float32)
    dataset = ArrayDataset(array(data), array(data.astype(np.uint8)), array(mask))
    means = [batch.mask.mean() for batch in batches(30, [dataset], min_masked=0.5) if batch.mask is not None]
    assert min(means) >= 0.5
    assert len(set(means)) > 3
    assert min(b.mask.mean() for b in batches(30, [dataset]) if b.mask is not None) == 0


def test_every_value_of_a_mask_but_0_means_annotated() -> None:
    for value in (-1, np.nan, 0.5):
        mask = np.zeros((40, 80))
        mask[:, 40:] = value
        dataset = ArrayDataset(array(np.zeros(mask.shape, np.float32)), zeros(mask.shape), array(mask))
        for batch in batches(4, [dataset], min_masked=0.5):
            assert batch.mask is not None
            assert (batch.mask != 0).mean() >= 0.5
            np.testing.assert_array_equal(batch.weight[:, 0] > 0, batch.mask != 0)


def test_datasets_are_chosen_by_weight() -> None:
    datasets = []
    for value, weight in ((0, 1), (1, 3), (2, 0)):
        data = np.full((20, 20), value)
        datasets.append(ArrayDataset(array(data.astype(np.float32)), array(data), weight=weight, name=str(value)))
    chosen = [int(batch.raw.max()) for batch in batches(150, datasets)]
    assert np.mean(chosen) == pytest.approx(0.75, abs=0.08)
    assert max(chosen) == 1


def test_samples_are_centred_on_sample_points() -> None:
    points = [Coordinate(40, 60), Coordinate(100, 100)]
    dataset = coded_dataset(sample_points=points)
    centres = {int(batch.gt[0, 9, 9]) for batch in batches(20, [dataset]) if batch.gt is not None}
    assert centres == {10 * 40 + 15, 25 * 40 + 25}


def test_augmentations_change_raw_data_ground_truth_and_mask_alike() -> None:
    data = coded((60, 60))
    dataset = ArrayDataset(array(data.astype(np.float32)), array(data), array((data % 3 > 0).astype(np.uint8)))
    augments = [ElasticAugmentConfig([10, 10], [1.5, 1.5], (0.0, 3.0)), SimpleAugmentConfig()]
    for batch in batches(10, [dataset], augments=augments):
        assert batch.gt is not None
        assert batch.mask is not None
        inside = (batch.gt > 0)[0]
        labels = batch.gt[0][inside]
        np.testing.assert_array_equal(batch.mask[0][inside], labels % 3 > 0)
        # Raw data is interpolated between voxels: rows differ by 60, columns by 1.
        difference = np.abs(batch.raw[0, 0, 1:-1, 1:-1][inside] - labels)
        # Where raw data is mirrored the neighbour differs, so leave out the border of the volume.
        border = (labels // 60 < 2) | (labels // 60 > 57) | (labels % 60 < 2) | (labels % 60 > 57)
        assert difference[~border].max() <= 31
        assert inside.mean() > 0.3


def test_three_dimensions_channels_and_anisotropic_voxels() -> None:
    voxel_size = (8, 4, 4)
    raw = np.random.default_rng(0).random((2, 24, 24, 24)).astype(np.float32)
    labels = (raw[0] * 5).astype(np.uint8)
    dataset = ArrayDataset(array(raw, (0, 0, 0), voxel_size), array(labels, (0, 0, 0), voxel_size))
    task = AffinitiesTask(AffinitiesTaskConfig("task", [Coordinate(1, 0, 0), Coordinate(0, 0, -2)]))
    trainer = GunpowderTrainer(
        config(
            batch_size=2,
            augments=[
                ElasticAugmentConfig([5, 10, 10], [0.5, 1.0, 1.0], (0.0, 1.0), 2, uniform_3d_rotation=True),
                SimpleAugmentConfig(),
            ],
        )
    )
    model = task.create_model(TinyNet((12, 16, 16), channels=2))
    optimizer = trainer.create_optimizer(model)
    trainer.build_batch_provider([dataset], model, task)
    with trainer:
        stats = list(trainer.iterate(3, model, optimizer, CPU))
    assert all(np.isfinite(s.loss) for s in stats)


def test_batches_do_not_depend_on_the_number_of_processes() -> None:
    one, two = (batches(4, [coded_dataset()], num_data_fetchers=n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert a.iteration == b.iteration
        np.testing.assert_array_equal(a.raw, b.raw)


@pytest.mark.parametrize("room", [True, False])
def test_batches_of_other_processes_are_arrays_with_and_without_shared_memory(
    room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not room:
        free = shutil.disk_usage("/")._replace(free=100)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    one, two = (batches(3, [coded_dataset()], num_data_fetchers=n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        for name in ("raw", "target", "weight"):
            assert isinstance(getattr(b, name), np.ndarray)
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_signals_to_the_group_of_the_training_do_not_reach_processes_that_make_batches() -> None:
    task = dummy_task()
    trainer = GunpowderTrainer(config(num_data_fetchers=2))
    trainer.build_batch_provider([coded_dataset()], task.create_model(TinyNet()), task)
    with trainer:
        list(zip(trainer, range(2), strict=False))  # one batch of each
        makers = [process.pid for process in multiprocessing.active_children() if process.pid is not None]
        assert len(makers) == 2
        assert all(os.getpgid(pid) != os.getpgid(0) for pid in makers)


def test_next_batch_is_the_same_until_the_iteration_advances() -> None:
    task = dummy_task()
    trainer = GunpowderTrainer(config())
    trainer.build_batch_provider([coded_dataset()], task.create_model(TinyNet()), task)
    with trainer:
        first, again = trainer.next_batch(), trainer.next_batch()
        np.testing.assert_array_equal(first.raw, again.raw)
        trainer.iteration = 5
        assert trainer.next_batch().iteration == 5


@pytest.mark.parametrize("fetchers", [1, 2])
def test_next_gives_the_arrays_of_one_batch_after_another(fetchers: int) -> None:
    task = affinities()
    labels = np.random.default_rng(0).integers(0, 4, (40, 40)).astype(np.uint8)
    raw = np.random.default_rng(1).random((3, 40, 40)).astype(np.float32)
    mask = (labels > 1).astype(np.uint8)
    model = task.create_model(TinyNet(channels=3))
    given = []
    for masked in (mask, None):
        dataset = ArrayDataset(array(raw), array(labels), None if masked is None else array(masked))
        trainer = GunpowderTrainer(config(batch_size=2, accumulate=2, num_data_fetchers=fetchers))
        trainer.build_batch_provider([dataset], model, task)
        with trainer:
            expected = [batch for batch, _ in zip(trainer, range(4), strict=False)]
            trainer.iteration = 0
            trainer.load_state_dict({"moving_class_counts": [None] * len(trainer._slots)})
            given = [trainer.next() for _ in range(4)]
            assert trainer.iteration == 2
            optimizer = trainer.create_optimizer(model)
            assert [stats.iteration for stats in trainer.iterate(2, model, optimizer, CPU)] == [2, 3]
        for arrays, batch in zip(given, expected, strict=True):
            assert len(arrays) == 5
            for got, name in zip(arrays[:4:2], ("raw", "target"), strict=True):
                np.testing.assert_array_equal(got[got.roi], getattr(batch, name))
            raw_array, gt, target, weight, given_mask = arrays
            np.testing.assert_array_equal(weight[weight.roi], batch.weight)
            assert raw_array.axes == target.axes == weight.axes == ["b", "c", "y", "x"]
            assert gt.axes == ["b", "y", "x"]
            assert raw_array.voxel_size == gt.voxel_size == VOXEL
            assert raw_array.roi.contains(gt.roi)
            assert gt.roi == target.roi == weight.roi
            if masked is None:
                assert given_mask is None
            else:
                assert given_mask is not None
                np.testing.assert_array_equal(given_mask[gt.roi], gt[gt.roi] > 1)


def test_affinities_at_the_border_see_the_neighbours_outside() -> None:
    labels = np.ones((60, 60), dtype=np.uint8)
    dataset = ArrayDataset(array(labels.astype(np.float32)), array(labels))
    (batch,) = batches(1, [dataset], affinities().create_model(TinyNet()), affinities())
    assert batch.target.all()


# --- training ---


def test_training_lowers_the_loss() -> None:
    task = DistanceTask(DistanceTaskConfig("task", ["a"], clip_distance=20, tol_distance=8, scale_factor=20))
    labels = np.kron(np.random.default_rng(0).integers(0, 2, (8, 8)), np.ones((6, 6), dtype=int)).astype(np.uint8)
    trainer = GunpowderTrainer(config(learning_rate=0.02, warmup_iterations=0))
    torch.manual_seed(0)
    model = task.create_model(TinyNet())
    optimizer = trainer.create_optimizer(model)
    trainer.build_batch_provider([ArrayDataset(array(labels.astype(np.float32)), array(labels))], model, task)
    with trainer:
        losses = [stats.loss for stats in trainer.iterate(60, model, optimizer, CPU)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_mixed_precision_stays_close_and_keeps_weights_in_single_precision() -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        task = affinities()
        trainer = GunpowderTrainer(config(batch_size=2, precision=precision))
        torch.manual_seed(0)
        model = task.create_model(TinyNet())
        optimizer = trainer.create_optimizer(model)
        trainer.build_batch_provider([blobs()], model, task)
        with trainer:
            losses.append([stats.loss for stats in trainer.iterate(5, model, optimizer, CPU)])
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change() -> None:
    dataset = coded_dataset()
    raw = dataset.raw.data.copy()
    raw[:] = np.nan
    dataset.raw = array(raw)
    task = dummy_task()
    trainer = GunpowderTrainer(config())
    model = task.create_model(TinyNet())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer.build_batch_provider([dataset], model, task)
    trainer.iteration = 3
    with trainer, pytest.raises(TrainingError, match="iteration 3 is nan"):
        list(trainer.iterate(2, model, trainer.create_optimizer(model), CPU))
    assert trainer.iteration == 3
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_iterating_outside_of_the_context_is_refused() -> None:
    task = dummy_task()
    trainer = GunpowderTrainer(config())
    model = task.create_model(TinyNet())
    optimizer = trainer.create_optimizer(model)
    with trainer, pytest.raises(TrainingError, match="build_batch_provider"):
        next(iter(trainer.iterate(1, model, optimizer, CPU)))
    trainer.build_batch_provider([coded_dataset()], model, task)
    with pytest.raises(TrainingError, match="with trainer"):
        next(iter(trainer.iterate(1, model, optimizer, CPU)))


def test_building_again_and_entering_again_works() -> None:
    task = dummy_task()
    trainer = GunpowderTrainer(config())
    model = task.create_model(TinyNet())
    optimizer = trainer.create_optimizer(model)
    for value in (1, 2):
        data = np.full((20, 20), value)
        trainer.build_batch_provider([ArrayDataset(array(data.astype(np.float32)), array(data))], model, task)
        for _ in range(2):
            with trainer:
                assert trainer.next_batch().raw.max() == value
                assert len(list(trainer.iterate(2, model, optimizer, CPU))) == 2
                with pytest.raises(TrainingError, match="leave"):
                    trainer.build_batch_provider([coded_dataset()], model, task)
    assert trainer.iteration == 8


def test_data_on_disk_is_read_by_several_processes(tmp_path: Path) -> None:
    arrays = []
    for name, data in (("raw", coded((40, 40)).astype(np.float32)), ("gt", coded((40, 40)))):
        identifier = LocalArrayIdentifier(tmp_path / "data.zarr", name)
        roi = Roi((8, 8), (160, 160))
        created = ZarrArray.create_from_array_identifier(identifier, ["y", "x"], roi, None, VOXEL, data.dtype)
        created[created.roi] = data
        arrays.append(created)
    for batch in batches(4, [ArrayDataset(*arrays)], num_data_fetchers=2):
        assert batch.gt is not None
        np.testing.assert_array_equal(batch.raw[0, 0, 1:-1, 1:-1], batch.gt[0])


def test_data_that_forked_processes_cannot_read_is_read_by_others(tmp_path: Path) -> None:
    import tensorstore

    # N5 is read by TensorStore. It must have been used here before, else a forked process would manage.
    arrays = []
    for name, data in (("raw", coded((40, 40)).astype(np.float32)), ("gt", coded((40, 40)).astype(np.uint64))):
        metadata = {"dimensions": [40, 40], "blockSize": [16, 16], "dataType": str(data.dtype)}
        path = tmp_path / "data.n5" / name
        spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": metadata}
        tensorstore.open(spec, create=True).result()[...] = data.T
        attributes = {"resolution": [4, 4], "offset": [8, 8], "axes": ["x", "y"], "units": ["nm", "nm"]}
        stored = json.loads((path / "attributes.json").read_text())
        (path / "attributes.json").write_text(json.dumps({**stored, **attributes}))
        arrays.append(ZarrArray(ZarrArrayConfig(name, tmp_path / "data.n5", name, mode="r")))
        np.testing.assert_array_equal(arrays[-1][arrays[-1].roi], data)
    changed = IntensitiesArray(IntensitiesArrayConfig("scaled", arrays[0].config, 0.0, 1.0))
    for batch in batches(2, [ArrayDataset(changed, arrays[1])], num_data_fetchers=2):
        assert batch.gt is not None
        np.testing.assert_array_equal(batch.raw[0, 0, 1:-1, 1:-1], batch.gt[0])


@pytest.mark.parametrize("fetchers", [1, 2])
def test_snapshots(tmp_path: Path, fetchers: int) -> None:
    container = LocalContainerIdentifier(tmp_path / "snapshots.zarr")
    task = affinities()
    losses = []
    for interval in (3, None):
        trainer = GunpowderTrainer(config(batch_size=2, snapshot_interval=interval, num_data_fetchers=fetchers))
        torch.manual_seed(0)
        model = task.create_model(TinyNet())
        trainer.build_batch_provider([blobs()], model, task, container)
        with trainer:
            losses.append([s.loss for s in trainer.iterate(5, model, trainer.create_optimizer(model), CPU)])
    assert losses[0] == losses[1]  # looking does not change anything
    assert sorted(path.name for path in container.container.iterdir() if path.is_dir()) == ["0", "3"]
    shapes = {}
    for name in ("raw", "gt", "mask", "target", "weight", "prediction"):
        stored = ZarrArray.open_from_array_identifier(container.array_identifier(f"3/{name}"))
        shapes[name] = tuple(stored.data.shape)
        assert stored.voxel_size == VOXEL
        assert stored.roi.offset == (Coordinate(0, 0) if name == "raw" else VOXEL)
        assert stored.axes == ["b", "c", "y", "x"] if stored.data.ndim == 4 else ["b", "y", "x"]
    assert shapes["raw"] == (2, 1, 20, 20)
    assert shapes["gt"] == shapes["mask"] == (2, 18, 18)
    assert shapes["target"] == shapes["weight"] == shapes["prediction"] == (2, 3, 18, 18)


# --- what cannot be trained on ---


def build(*datasets: Dataset, model: Model | None = None, **changes: Any) -> None:
    task = dummy_task()
    GunpowderTrainer(config(**changes)).build_batch_provider(
        datasets, model or task.create_model(TinyNet()), task, None
    )


def zeros(shape: Sequence[int] = (40, 40), offset: Sequence[int] = (0, 0), voxel_size: Sequence[int] = VOXEL) -> Array:
    return array(np.zeros(shape, dtype=np.uint8), offset, voxel_size)


def ones(shape: Sequence[int]) -> Array:
    return array(np.ones(shape, dtype=np.uint8))


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (ArrayDataset(zeros(), None), ConfigError, "no ground truth"),
        (ArrayDataset(zeros((3, 40, 40)), zeros()), ChannelMismatchError, "3 channels, the network takes 1"),
        (ArrayDataset(zeros((9, 9, 9), (0,) * 3, (4,) * 3), zeros()), ConfigError, "3 spatial axes"),
        (
            ArrayDataset(zeros(), zeros(voxel_size=(8, 8))),
            ConfigError,
            r"\(8, 8\).*predicts voxels of \(4, 4\)",
        ),
        (ArrayDataset(zeros(), zeros(), zeros(voxel_size=(2, 2))), ConfigError, "the mask .* voxel size"),
        (ArrayDataset(zeros(), array(np.zeros((40, 40)))), DtypeError, "float64"),
        (ArrayDataset(zeros(), zeros(offset=(2, 0))), ConfigError, "line up"),
        (ArrayDataset(zeros(), zeros(offset=(400, 0))), RoiError, "no raw data"),
        (ArrayDataset(zeros(), zeros(), zeros(offset=(400, 0))), RoiError, "mask"),
        (ArrayDataset(zeros(), zeros((4, 18))), InputTooSmallError, "min_masked"),
        (ArrayDataset(zeros(), zeros(), sample_points=[Coordinate(0, 200)]), ConfigError, "sample points"),
        (ArrayDataset(zeros(), zeros(), weight=0), ConfigError, "weights"),
    ],
)
def test_datasets_that_do_not_fit_are_refused_before_training(dataset: Dataset, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        build(dataset, min_masked=0.5)


def test_datasets_of_different_voxel_size_are_refused() -> None:
    other = ArrayDataset(zeros(voxel_size=(8, 8)), zeros(voxel_size=(8, 8)), name="other")
    with pytest.raises(ConfigError, match="other"):
        build(ArrayDataset(zeros(), zeros()), other)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (SimpleAugmentConfig(mirror_probs=[0.5]), r"mirror_probs is \[0\.5\], but the samples have 2 spatial axes"),
        (SimpleAugmentConfig(mirror_probs=[0.5, 0, 1]), r"mirror_probs is \[0\.5, 0, 1\], but the samples have 2"),
        (SimpleAugmentConfig(mirror_only=[1, 2]), r"mirror_only is \[1, 2\], .* name some of \[0, 1\]"),
        (SimpleAugmentConfig(transpose_only=[2]), r"transpose_only is \[2\], but the samples have 2 spatial axes"),
    ],
)
def test_augmentations_of_other_axes_are_refused_before_training(augment: SimpleAugmentConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=f"SimpleAugmentConfig: {message}"):
        build(coded_dataset(), augments=[augment])


def test_augmentations_of_the_axes_of_samples_are_fine() -> None:
    build(coded_dataset(), augments=[SimpleAugmentConfig([0, 1], [1, 0], [0.5, 1.0]), SimpleAugmentConfig([], [])])


def test_no_datasets_are_refused() -> None:
    with pytest.raises(ConfigError, match="no datasets"):
        build()


def test_can_train_needs_ground_truth_everywhere() -> None:
    trainer = GunpowderTrainer(config())
    assert trainer.can_train([coded_dataset()])
    assert not trainer.can_train([coded_dataset(), ArrayDataset(zeros(), None)])
    assert not trainer.can_train([])


def test_volumes_smaller_than_the_input_are_trained_on_as_far_as_annotated() -> None:
    build(ArrayDataset(zeros((16, 16)), zeros((16, 16))), min_masked=0.5)


@pytest.mark.parametrize("trainer_type", [GunpowderTrainer, TorchTrainer])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nno such chunk"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        OSError("the disk is gone"),
    ],
)
def test_whatever_keeps_a_batch_from_being_made_says_for_which_iteration(
    trainer_type: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> Iterator[TrainingBatch]:
        raise error
        yield

    config_type = GunpowderTrainerConfig if trainer_type is GunpowderTrainer else TorchTrainerConfig
    trainer = trainer_type(config_type("trainer", 1, 1e-3, 2))
    monkeypatch.setattr(trainer_type, "_open_batches", fails)
    trainer.build_batch_provider([coded_dataset()], dummy_task().create_model(TinyNet()), dummy_task())
    with trainer, pytest.raises(BatchError, match="no batch for iteration 0") as caught:
        next(iter(trainer))
    assert str(error).rstrip(". ") in str(caught.value)
    assert "died" not in str(caught.value)
    assert caught.value.__cause__ is error


# --- options ---


class ConvNet(TinyNet):
    """Two convolutions, and nothing random."""

    def __init__(self) -> None:
        super().__init__()
        self.second = torch.nn.Conv2d(4, 4, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.conv(x).relu())


def classes() -> Task:
    """Return a task whose weights do not depend on what was seen before."""
    return OneHotTask(OneHotTaskConfig("task", [str(label) for label in range(9)]))


def trained(iterations: int = 5, task: Task | None = None, **changes: Any) -> tuple[list[float], Model]:
    """Train a network without dropout; return losses and model."""
    task = task or classes()
    trainer = GunpowderTrainer(config(warmup_iterations=0, augments=[SimpleAugmentConfig()], **changes))
    torch.manual_seed(0)
    model = task.create_model(ConvNet())
    trainer.build_batch_provider([blobs()], model, task)
    optimizer = trainer.create_optimizer(model)
    with trainer:
        return [stats.loss for stats in trainer.iterate(iterations, model, optimizer, CPU)], model


def assert_same_training(one: tuple[list[float], Model], other: tuple[list[float], Model], rtol: float = 1e-4) -> None:
    assert one[0] == pytest.approx(other[0], rel=rtol)
    for (name, value), expected in zip(one[1].state_dict().items(), other[1].state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=rtol, atol=1e-5, msg=name)


@pytest.mark.parametrize("fetchers", [1, 2])
def test_accumulated_batches_are_one_large_batch(fetchers: int) -> None:
    large = trained(batch_size=6)
    assert_same_training(trained(batch_size=2, accumulate=3, num_data_fetchers=fetchers), large)
    assert trained(batch_size=2)[0] != pytest.approx(large[0], rel=1e-3)


def test_all_batches_of_an_iteration_come_in_turn() -> None:
    got = [(batch.iteration, batch.part) for batch in batches(5, [coded_dataset()], accumulate=2)]
    assert got == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]


def test_samples_of_an_iteration_do_not_depend_on_how_they_are_put_together() -> None:
    (large,) = batches(1, [coded_dataset()], batch_size=4)
    small = batches(2, [coded_dataset()], batch_size=2, accumulate=2)
    np.testing.assert_array_equal(np.concatenate([batch.raw for batch in small]), large.raw)
    assert len({sample.tobytes() for sample in large.raw}) == 4
    numbered = [
        seed
        for part in range(2)
        for rank in range(3)
        for seed in Sampling(5, 2, accumulate=2, rank=rank, world_size=3).seeds(7 * 2 + part)
    ]
    assert numbered == Sampling(5, 12).seeds(7)
    assert len(set(numbered)) == 12


def test_clipping_limits_the_norm_of_all_gradients() -> None:
    norms = {}
    for limit in (None, 1e-3, 1e6):
        _, model = trained(1, clip_gradients=limit)
        norms[limit] = float(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm())
    assert norms[None] > 2e-3
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert norms[1e6] == norms[None]


@pytest.mark.parametrize("task", [affinities, classes])
def test_channels_last_gives_the_same(task: Any) -> None:
    plain, changed = trained(task=task()), trained(task=task(), channels_last=True)
    assert_same_training(changed, plain)
    for (_, model), together in ((plain, False), (changed, True)):
        weight = model.get_parameter("architecture.second.weight")
        assert weight.is_contiguous(memory_format=torch.channels_last) is together


def test_half_precision_scales_gradients_and_is_close() -> None:
    assert_same_training(trained(precision="float16"), trained(), rtol=0.05)


def test_gradients_that_overflow_are_left_out_and_scaled_less() -> None:
    task = dummy_task()
    trainer = GunpowderTrainer(config(precision="float16"))
    model = task.create_model(ConvNet())
    optimizer = trainer.create_optimizer(model)
    trainer.build_batch_provider([coded_dataset(20)], model, task)
    trainer.load_state_dict({"moving_class_counts": [None], "grad_scaler": scaler_state(2.0**120)})
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with trainer:
        list(trainer.iterate(1, model, optimizer, CPU))
        assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
        assert trainer.state_dict()["grad_scaler"]["scale"] == 2.0**119
        assert trainer.iteration == 1


def scaler_state(scale: float) -> dict[str, Any]:
    return {**torch.amp.GradScaler("cpu").state_dict(), "scale": scale}


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_networks_train_alike() -> None:
    compiled = trained(compile=True)
    assert_same_training(compiled, trained())
    assert not any("_orig_mod" in name for name in compiled[1].state_dict())


class TestAccumulatedInHalfPrecision(TestGunpowderTrainer):
    fetchers = 2

    def config(self) -> TrainerConfig:
        return attrs.evolve(super().config(), accumulate=3, precision="float16", clip_gradients=0.1)
