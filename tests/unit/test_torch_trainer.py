"""The torch trainer: what holds for the gunpowder trainer too, and that both draw from the same distribution."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate
from scipy.spatial import cKDTree
from scipy.stats import ks_2samp

from dacapo.errors import ConfigError, TrainingError
from dacapo.experiments import config as config_module
from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.run import Run
from dacapo.experiments.tasks import AffinitiesTask, AffinitiesTaskConfig, DistanceTask, DistanceTaskConfig, Task
from dacapo.experiments.tasks.predictors import OneHotPredictor
from dacapo.experiments.tasks.predictors.class_weights import count_classes
from dacapo.experiments.trainers import (
    AugmentConfig,
    ElasticAugmentConfig,
    GammaAugmentConfig,
    GunpowderTrainer,
    GunpowderTrainerConfig,
    IntensityAugmentConfig,
    NoiseAugmentConfig,
    SimpleAugmentConfig,
    TorchTrainer,
    TorchTrainerConfig,
)
from dacapo.experiments.trainers.batch_sampler import BatchSampler
from dacapo.experiments.trainers.prefetch import Prefetcher
from dacapo.experiments.trainers.regions import check_datasets
from dacapo.experiments.trainers.sampler import PatchSampler
from dacapo.experiments.trainers.torch_batches import (
    CPU,
    TorchBatches,
    UnweightedBatch,
    finish,
)
from dacapo.experiments.trainers.torch_trainer import weighted
from dacapo.options import DaCapoConfig
from dacapo.store.converter import from_plain, to_plain
from dacapo.store.create_store import create_stats_store, create_weights_store
from dacapo.store.trained_config import plain_config, write_trained_config
from dacapo.train import train_run
from dacapo.utils import distributed, shared_memory
from dacapo.utils.segmentation import mutex_watershed
from dacapo.utils.shared_memory import from_shared_memory, to_shared_memory
from dacapo.utils.voi import voi
from tests.helpers.batch_contract import BatchContract
from tests.helpers.batch_training_contract import (
    BatchTrainingContract,
    ManyFetchersContract,
    TrainingOptionsContract,
)
from tests.helpers.datasets import ArrayDataset, DamagedArray, array, blobs, coded_dataset
from tests.helpers.networks import TinyNet, affinities, dummy_task
from tests.helpers.runs import affinities_run_config


class TestTorchTrainer(BatchTrainingContract):
    config_type = TorchTrainerConfig

    def test_class_counts_of_the_predictor_are_kept(self) -> None:
        trainer, model, optimizer = self.session()
        assert trainer.state_dict() == {"trainer": "TorchTrainer", "moving_class_counts": [None]}
        self.train(trainer, model, optimizer, 4)
        (((counts,),),) = (trainer.state_dict()["moving_class_counts"],)
        zeros, ones, total = counts.T.tolist()
        assert total == [a + b + 1 for a, b in zip(zeros, ones, strict=True)]
        assert min(total) > 2 * 3 * 18 * 18  # more than of one batch

    def test_class_counts_of_any_kind_are_stored_without_pickles(self) -> None:
        trainer, _, _ = self.session()
        trainer.load_state_dict({"moving_class_counts": [[None, torch.ones(2)], [None, torch.zeros(2)]]})
        (saved,) = trainer.state_dict()["moving_class_counts"]
        assert saved[0] is None
        torch.testing.assert_close(saved[1], torch.ones(2))


class TestTorchTrainerWithProcesses(TestTorchTrainer, ManyFetchersContract):
    pass


# --- the states of both trainers ---

BOTH = [(GunpowderTrainer, GunpowderTrainerConfig), (TorchTrainer, TorchTrainerConfig)]


@pytest.mark.parametrize(("one", "other"), [BOTH, BOTH[::-1]])
def test_states_of_the_other_trainer_are_refused(one: Any, other: Any) -> None:
    task = affinities()
    trainers = [kind(config_kind("trainer", 1, 1e-3, 1)) for kind, config_kind in (one, one, other)]
    model = task.create_model(TinyNet())
    trainers[0].build_batch_provider([blobs()], model, task)
    with trainers[0]:
        list(trainers[0].iterate(2, model, trainers[0].create_optimizer(model), CPU))
    state = trainers[0].state_dict()
    trainers[1].load_state_dict(state)
    before = trainers[2].state_dict()
    expected = f"state of a {other[0].__name__}, got that of a {one[0].__name__}.*Use the one that the run was started"
    with pytest.raises(TrainingError, match=expected):
        trainers[2].load_state_dict(state)
    assert trainers[2].state_dict() == before


def test_subclasses_take_up_states_of_their_trainer() -> None:
    class Mine(TorchTrainer):
        pass

    state = {"trainer": "TorchTrainer", "moving_class_counts": [[torch.ones(2, 3)]]}
    mine = Mine(TorchTrainerConfig("trainer", 1, 1e-3, 1))
    mine.load_state_dict(state)
    assert mine.state_dict()["trainer"] == "TorchTrainer"


@pytest.mark.parametrize(("one", "other"), [BOTH, BOTH[::-1]])
def test_a_run_is_not_trained_on_with_the_other_trainer(
    one: Any, other: Any, options: DaCapoConfig, tmp_path: Path
) -> None:
    configs = [
        affinities_run_config(tmp_path, dims=2, num_iterations=count, trainer_config=kind("trainer", 1, 1e-3, 1))
        for count, (_, kind) in ((2, one), (4, other))
    ]
    train_run(Run(configs[0]))
    with pytest.raises(ConfigError, match="config of run 'affinities' was changed") as caught:
        train_run(Run(configs[1]))
    # Who does what the message says to use the checkpoints all the same is told that these cannot be used.
    written = tmp_path / "runs" / configs[0].name / "checkpoints" / "config.yaml"
    assert str(written) in str(caught.value)
    write_trained_config(written, plain_config(configs[1]))
    with pytest.raises(TrainingError, match=f"got that of a {one[0].__name__}"):
        train_run(Run(configs[1]))
    assert create_weights_store().latest_iteration(configs[0].name) == 2
    assert create_stats_store().retrieve_training_stats(configs[0].name).trained_until() == 2


ALL_AUGMENTS = [
    SimpleAugmentConfig(),
    ElasticAugmentConfig([5, 5], [0.5, 0.5], (0.0, 1.5)),
    IntensityAugmentConfig((0.7, 1.3), (-0.2, 0.2)),
    GammaAugmentConfig((0.5, 2.0)),
    NoiseAugmentConfig(0.01),
]


def maker(augments: Sequence[AugmentConfig] = ALL_AUGMENTS, task: Task | None = None, **changes: Any) -> PatchSampler:
    task = task or affinities()
    datasets = [blobs()]
    regions = check_datasets(datasets, task.create_model(TinyNet()), 0.3)
    return PatchSampler(datasets, regions, task.predictor, augments, min_masked=0.3, clip_raw=False)


def assert_same(a: UnweightedBatch, b: UnweightedBatch) -> None:
    torch.testing.assert_close(list(a.tensors()), list(b.tensors()), rtol=0, atol=0)


# --- where and when a batch is made ---


@pytest.mark.parametrize("lsds", [False, True])
def test_a_batch_read_for_a_gpu_is_the_same_when_it_is_finished_elsewhere(lsds: bool) -> None:
    task = AffinitiesTask(AffinitiesTaskConfig("task", [Coordinate(1, 0), Coordinate(0, -3)], lsds=lsds))
    sampling = BatchSampler(seed=3, batch_size=2)
    here = TorchBatches(maker(task=task), CPU, sampling, 0, 1, snapshot_interval=2)
    for_gpu = TorchBatches(maker(task=task), torch.device("cuda"), sampling, 0, 1, snapshot_interval=2)
    for position in range(3):
        read = pickle.loads(pickle.dumps(for_gpu.make(position, None)))
        assert (read.targets is not None) == lsds  # descriptors are computed before
        made, expected = finish(here.sampler, read, CPU), here.make(position, None)
        assert_same(made, expected)
        assert (made.gt is not None) == (position % 2 == 0)
        if made.gt is not None:
            np.testing.assert_array_equal(made.gt, expected.gt)
            np.testing.assert_array_equal(made.mask, expected.mask)


def test_what_makes_batches_can_be_sent_to_processes_that_are_not_forked() -> None:
    stream = TorchBatches(maker(), CPU, BatchSampler(seed=3, batch_size=2), 0, 2)
    assert_same(pickle.loads(pickle.dumps(stream)).make(4, None), stream.make(4, None))


@pytest.mark.parametrize("enough", [True, False])
def test_batches_are_copied_where_there_is_no_shared_memory(monkeypatch: pytest.MonkeyPatch, enough: bool) -> None:
    worker = SimpleNamespace(id=0, num_workers=2)
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9 if enough else 10**3))
    for device in (CPU, torch.device("cuda")):
        stream = TorchBatches(maker(), device, BatchSampler(seed=3, batch_size=2), 0, 2)
        expected = TorchBatches(maker(), CPU, BatchSampler(seed=3, batch_size=2), 0, 2).make(0, None)
        with monkeypatch.context() as context:
            context.setattr(torch.utils.data, "get_worker_info", lambda: worker)
            sent = to_shared_memory(stream.make(0, None))
        raw = sent.raw if device == CPU else sent.crops[0].raw
        assert torch.is_tensor(raw) == enough
        assert any(True for _ in shared_memory._large(sent)) == enough
        assert sent.moving_class_counts is None
        got = from_shared_memory(pickle.loads(pickle.dumps(sent)))
        assert_same(got if device == CPU else finish(stream.sampler, got, CPU), expected)


def test_batches_are_worked_on_ahead_and_in_order() -> None:
    started = []
    second = threading.Event()

    def work(number: int) -> int:
        started.append(number)
        if number == 1:
            second.set()
        return number * 10

    ahead = Prefetcher(iter(range(100)), work, CPU, lambda _: iter(()))
    results = iter(ahead)
    assert next(results) == 0
    assert second.wait(60)  # without being asked for
    assert [next(results) for _ in range(5)] == [10, 20, 30, 40, 50]
    ahead.close()
    assert len(started) < 10
    assert "batches" not in {thread.name for thread in threading.enumerate()}


def test_errors_ahead_are_raised_where_batches_are_taken() -> None:
    def work(number: int) -> int:
        if number == 1:
            raise TrainingError("the disk is gone")
        return number

    results = iter(Prefetcher(iter(range(3)), work, CPU, lambda _: iter(())))
    assert next(results) == 0
    with pytest.raises(TrainingError, match="the disk is gone"):
        next(results)
    assert list(Prefetcher(iter(range(3)), str, CPU, lambda _: iter(()))) == ["0", "1", "2"]


def test_trainers_make_batches_ahead_for_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole path of a GPU, with the CPU in its place."""
    task = affinities()
    results = []
    for device in (CPU, torch.device("cuda")):
        trainer = TorchTrainer(TorchTrainerConfig("t", 2, 1e-3, 1, ALL_AUGMENTS, min_masked=0.3))
        trainer.build_batch_provider([blobs()], task.create_model(TinyNet()), task)
        trainer._device = device
        monkeypatch.setattr(
            "dacapo.experiments.trainers.torch_trainer.finish", lambda maker, batch, _: finish(maker, batch, CPU)
        )
        monkeypatch.setattr(
            "dacapo.experiments.trainers.torch_trainer.Prefetcher",
            lambda items, work, _, tensors: Prefetcher(items, work, CPU, tensors),
        )
        with trainer:
            results.append([batch for batch, _ in zip(trainer, range(3), strict=False)])
    for a, b in zip(*results, strict=True):
        for name in ("raw", "target", "weight"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert "batches" not in {thread.name for thread in threading.enumerate()}


# --- several ranks ---


def test_ranks_see_what_one_process_with_larger_batches_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exchange of counts is that of the test: it adds what the other rank has counted."""
    source = maker()
    predictor = source.predictor

    def made(rank: int, ranks: int) -> list[UnweightedBatch]:
        sampling = BatchSampler(seed=3, batch_size=4 // ranks, rank=rank, world_size=ranks)
        stream = TorchBatches(source, CPU, sampling, 0, 1)
        return [stream.make(position, None) for position in range(3)]

    alone = list(weighted(iter(made(0, 1)), predictor, None))
    parts = [made(rank, 2) for rank in range(2)]
    counted = [[count_classes(batch.target.classes)[0] for batch in part] for part in parts]
    monkeypatch.setattr(distributed, "_world_size", 2)
    together = []
    for rank, part in enumerate(parts):
        others = iter(counted[1 - rank])
        monkeypatch.setattr(torch.distributed, "all_reduce", lambda mine, o=others: mine.add_(next(o).flatten()))
        together.append(list(weighted(iter(part), predictor, None)))
    for whole, *halves in zip(alone, *together, strict=True):
        for name in ("raw", "target", "weight"):
            np.testing.assert_array_equal(np.concatenate([getattr(h, name) for h in halves]), getattr(whole, name))
        for half in halves:
            torch.testing.assert_close(half.moving_class_counts, whole.moving_class_counts, rtol=0, atol=0)


# --- what is read ---


def test_no_voxel_is_read_that_is_not_needed() -> None:
    """With a deformation as well, raw data is read in one region, no larger than the box of all positions."""
    reads: list[Any] = []

    class Watched(DamagedArray):
        def __init__(self, inner: Any, name: str) -> None:
            super().__init__(inner)
            self.inner, self.name = inner, name

        num_channels = None
        is_stored = False

        def __getitem__(self, roi: Any) -> np.ndarray:
            reads.append((self.name, roi))
            return np.asarray(self.inner[roi])

    dataset = coded_dataset(60)
    dataset.raw, dataset.gt = Watched(dataset.raw, "raw"), Watched(dataset.gt, "gt")
    dataset.mask = Watched(array(np.ones((60, 60), np.uint8)), "mask")
    regions = check_datasets([dataset], dummy_task().create_model(TinyNet()), 0.5)
    augments = [ElasticAugmentConfig([5, 5], [0.5, 0.5], (0.0, 1.5)), SimpleAugmentConfig()]
    source = PatchSampler([dataset], regions, dummy_task().predictor, augments, 0.5, False)
    for seed in range(10):
        reads.clear()
        crops = source.read([2 * seed, 2 * seed + 1])
        assert sorted(name for name, _ in reads) == ["gt", "gt", "mask", "mask", "raw", "raw"]
        for crop, raw, gt in zip(crops, reads[-4::2], reads[-3::2], strict=True):
            needed = crop.changes[0].needed
            for (_, roi), most in ((raw, needed.raw), (gt, needed.labels)):
                assert roi.size <= most.size


def test_nothing_but_masks_is_read_of_samples_that_are_left_out() -> None:
    dataset = blobs()
    mask = np.zeros((40, 40), np.uint8)
    mask[:, :4] = 1
    dataset.mask = array(mask, (18, 22))
    regions = check_datasets([dataset], dummy_task().create_model(TinyNet()), 0.2)
    dataset.raw = dataset.gt = DamagedArray(dataset.raw)
    source = PatchSampler([blobs()], regions, dummy_task().predictor, [], 0.2, False)
    source.crops[0].raw = source.crops[0].gt = dataset.raw
    source.crops[0].mask = dataset.mask
    draws = source._draw_annotated([np.random.default_rng(seed) for seed in range(5)])
    assert all(draw.mask is not None and draw.mask.mean() >= 0.2 for draw in draws)


def test_masks_are_read_where_they_matter() -> None:
    """Descriptors look far around the target, but what is annotated there does not matter, except for partners."""
    described = maker(task=AffinitiesTask(AffinitiesTaskConfig("a", [Coordinate(1, 0), Coordinate(0, -1)], lsds=True)))
    assert described.wanted.mask == described.regions.target_roi.grow(Coordinate(0, 4), Coordinate(4, 0))
    assert described.wanted.labels.size > described.wanted.mask.size
    trusting = DistanceTask(DistanceTaskConfig("d", ["a"], clip_distance=5.0, tol_distance=1.0, mask_distances=True))
    around = maker(task=trusting)
    assert around.wanted.mask == around.wanted.labels
    assert around.wanted.mask.size > around.regions.target_roi.size


# --- targets of predictors that know arrays only ---


class PlainPredictor(OneHotPredictor):
    """Counts the samples it has seen, in its weights."""

    def create_target(self, gt: Any) -> Any:
        return super().create_target(gt)

    def create_weight(self, gt: Any, target: Any, mask: Any, moving_class_counts: Any = None) -> Any:
        weight, _ = super().create_weight(gt, target, mask)
        seen = [1] if moving_class_counts is None else moving_class_counts
        weight.data[:] = seen[0]
        seen[0] += 1  # in place
        return weight, seen


# --- configs ---


def test_configs_have_the_same_fields() -> None:
    fields = [
        [(f.name, f.default, f.kw_only) for f in attrs.fields(c)] for c in (TorchTrainerConfig, GunpowderTrainerConfig)
    ]
    assert fields[0] == fields[1]
    config = TorchTrainerConfig("name", 2, 1e-4, augments=list(ALL_AUGMENTS))
    assert from_plain(to_plain(config), TorchTrainerConfig) == config
    assert config.verify()[0]


def test_augmentations_that_gunpowder_alone_can_do_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "_registry", dict(config_module._registry))

    @attrs.define
    class NodeOnly(AugmentConfig):
        def node(self, *keys: Any) -> None:
            pass

    config = TorchTrainerConfig("name", 2, 1e-4, augments=[NodeOnly()])
    assert not config.verify()[0]
    with pytest.raises(ConfigError, match=r"NodeOnly .* GunpowderTrainerConfig"):
        TorchTrainer(config)


# --- both trainers draw the same distribution ---

COUNT = 240
VOXELS = 120  # along each edge of the volume
LABELLED = slice(40, 90)  # so far inside that no deformation reaches beyond the raw data


def ramps(dims: int = 2) -> ArrayDataset:
    """Return a dataset whose raw data has a channel per axis, which says where along this axis a voxel is."""
    size = VOXELS if dims == 2 else 64
    labelled = LABELLED if dims == 2 else slice(24, 42)
    places = np.indices((size,) * dims).astype(np.float32)
    labels = np.ones((labelled.stop - labelled.start,) * dims, np.uint8)
    offset, voxel_size = (labelled.start * 4,) * dims, (4,) * dims
    return ArrayDataset(array(places, (0,) * dims, voxel_size), array(labels, offset, voxel_size))


def samples(
    trainer_type: Any, dataset: Dataset, augments: Sequence[AugmentConfig], count: int = COUNT, channels: int = 2
) -> Iterator[np.ndarray]:
    """Return raw data of samples that a trainer makes, one after the other."""
    ours = trainer_type is TorchTrainer
    config_type = TorchTrainerConfig if ours else GunpowderTrainerConfig
    trainer = trainer_type(config_type("trainer", 1, 1e-3, 1, list(augments), min_masked=0.0))
    trainer.seed = 5 if ours else 6
    task = dummy_task()
    model = task.create_model(TinyNet((10,) * 3 if dataset.raw.dims == 3 else (20,) * 2, channels))
    trainer.build_batch_provider([dataset], model, task)
    with trainer:
        for batch, _ in zip(trainer, range(count), strict=False):
            yield batch.raw[0]


def geometry(raw: np.ndarray) -> dict[str, float]:
    """Return what can be told of a sample of ramps: place, rotation, mirroring, displacement and its waves."""
    dims = len(raw)
    grid = np.indices(raw.shape[1:]).reshape(dims, -1) - (raw.shape[1] - 1) / 2
    places = raw.reshape(dims, -1).astype(np.float64)
    matrix, *_ = np.linalg.lstsq(np.vstack([grid, np.ones(grid.shape[1])]).T, places.T, rcond=None)
    centre, linear = matrix[-1], matrix[:-1].T
    residual = places - (linear @ grid + centre[:, None])
    waves = residual.reshape(raw.shape)
    angle = np.arctan2(linear[-1, -2], linear[-1, -1])
    return {
        **{f"place {axis}": centre[axis] for axis in range(dims)},
        "angle": float(angle % (np.pi / 2)),  # without what mirroring and transposing do to it
        "direction": float(angle),
        "tilt": float(linear[0, 0]),
        "mirrored": float(np.linalg.det(linear) < 0),
        "stretch": float(np.linalg.norm(linear)),
        **{f"displacement {axis}": float(residual[axis].std()) for axis in range(dims)},
        # How fast it changes along an axis, beside how much there is.
        **{
            f"waves {axis}": float(np.diff(waves, axis=axis + 1).std() / max(residual.std(), 1e-3))
            for axis in range(dims)
        },
    }


def intensities(raw: np.ndarray) -> dict[str, float]:
    """Return what can be told of the values of a sample."""
    values = raw[0].astype(np.float64)
    return {
        "mean": values.mean(),
        "deviation": values.std(),
        "skew": float(((values - values.mean()) ** 3).mean() / values.std() ** 3),
        "noise": float((values - texture()).std()),
        "smallest": values.min(),
        "largest": values.max(),
    }


GEOMETRY = [SimpleAugmentConfig(), ElasticAugmentConfig([6, 8], [0.75, 1.25], (0.2, 1.4))]

# Where samples are mirrored and transposed as well, no axis nor direction of rotation differs from another.
ELASTIC = [ElasticAugmentConfig([6, 12], [0.75, 1.25], (0.2, 1.0))]


_measured: dict[Any, list[dict[str, float]]] = {}


def measured(trainer_type: Any, statistics: Any, augments: list[AugmentConfig]) -> list[dict[str, float]]:
    """Return statistics of samples, made only once."""
    key = trainer_type, statistics, repr(augments)
    if key not in _measured:
        dataset, channels = (ramps(), 2) if statistics is geometry else (textured(), 1)
        drawn = samples(trainer_type, dataset, augments, channels=channels)
        _measured[key] = [statistics(raw) for raw in drawn]
    return _measured[key]


def least_likely(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> tuple[float, str]:
    """Return how likely it is that the statistic that differs most differs by chance, and its name."""
    return min((float(ks_2samp([o[name] for o in ours], [t[name] for t in theirs]).pvalue), name) for name in ours[0])


@pytest.mark.parametrize("augments", [[], GEOMETRY, ELASTIC], ids=["none", "both", "elastic"])
def test_both_trainers_draw_the_same_places_rotations_and_displacements(augments: list[AugmentConfig]) -> None:
    ours, theirs = (measured(trainer, geometry, augments) for trainer in (TorchTrainer, GunpowderTrainer))
    chance, name = least_likely(ours, theirs)
    assert chance > 0.01, name


def test_both_trainers_draw_the_same_rotations_in_three_dimensions() -> None:
    augments = [ElasticAugmentConfig([4, 6, 5], [0.5, 0.75, 1.0], (0.0, 0.0), 2, True), SimpleAugmentConfig()]
    ours, theirs = (
        [geometry(raw) for raw in samples(trainer, ramps(3), augments, 120, 3)]
        for trainer in (TorchTrainer, GunpowderTrainer)
    )
    chance, name = least_likely(ours, theirs)
    assert chance > 0.01, name


def texture() -> np.ndarray:
    return np.random.default_rng(0).beta(2, 5, (20, 20)).astype(np.float32)


def textured() -> ArrayDataset:
    """Return a dataset with one place for a sample, so that only intensities change."""
    return ArrayDataset(array(texture()), array(np.ones((18, 18), np.uint8), (4, 4)))


INTENSITIES = [
    IntensityAugmentConfig((0.7, 1.4), (-0.2, 0.2)),
    GammaAugmentConfig((0.5, 2.0)),
    NoiseAugmentConfig(1e-3),
]


def test_both_trainers_draw_the_same_intensities() -> None:
    ours, theirs = (measured(trainer, intensities, INTENSITIES) for trainer in (TorchTrainer, GunpowderTrainer))
    chance, name = least_likely(ours, theirs)
    assert chance > 0.01, name


@pytest.mark.parametrize(
    ("statistics", "alike", "changed"),
    [
        (geometry, GEOMETRY, [SimpleAugmentConfig(), ElasticAugmentConfig([6, 8], [0.75, 1.25], (0.2, 1.1))]),
        (geometry, GEOMETRY, [SimpleAugmentConfig(), ElasticAugmentConfig([6, 8], [0.75, 1.625], (0.2, 1.4))]),
        (geometry, GEOMETRY, [SimpleAugmentConfig(mirror_only=[]), *GEOMETRY[1:]]),
        (geometry, ELASTIC, [ElasticAugmentConfig([6, 12], [0.75, 1.25], (-1.0, -0.2))]),
        (geometry, ELASTIC, [ElasticAugmentConfig([6, 12], [1.25, 0.75], (0.2, 1.0))]),
        (geometry, ELASTIC, [ElasticAugmentConfig([12, 6], [0.75, 1.25], (0.2, 1.0))]),
        (intensities, INTENSITIES, [IntensityAugmentConfig((0.7, 1.4), (-0.05, 0.2)), *INTENSITIES[1:]]),
        (intensities, INTENSITIES, [INTENSITIES[0], GammaAugmentConfig((0.8, 2.0)), INTENSITIES[2]]),
        (intensities, INTENSITIES, [*INTENSITIES[:2], NoiseAugmentConfig(4e-3)]),
    ],
    ids=["rotation", "displacement", "mirroring", "direction", "sigma", "spacing", "shift", "gamma", "noise"],
)
def test_the_comparison_notices_other_distributions(
    statistics: Any, alike: list[AugmentConfig], changed: list[AugmentConfig]
) -> None:
    theirs = measured(GunpowderTrainer, statistics, alike)
    assert least_likely(measured(TorchTrainer, statistics, changed), theirs)[0] < 0.01


# --- both learn the same ---

OFFSETS = [(1, 0), (0, 1), (5, 0), (0, 5)]


def cells(seed: int, size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy image of cells with dark borders, and their labels."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*[np.arange(size)] * 2, indexing="ij"), axis=-1)
    labels = cKDTree(rng.uniform(0, size, (size * size // 120, 2))).query(places)[1].astype(np.uint32) + 1
    border = np.zeros(labels.shape, bool)
    for axis in range(2):
        border |= np.roll(labels, 1, axis) != labels
    return (np.where(border, 0.25, 0.75) + rng.normal(0, 0.12, labels.shape)).astype(np.float32), labels


def learn(trainer_type: Any, config_type: Any) -> tuple[float, float]:
    """Train a small network; return the variation of information on other cells before and after."""
    task = AffinitiesTask(AffinitiesTaskConfig("task", [Coordinate(o) for o in OFFSETS], lsds=False))
    config = CNNectomeUNetConfig("unet", Coordinate(52, 52), 12, 1, 12, 3, [Coordinate(2, 2)])
    torch.manual_seed(0)
    model = task.create_model(config.architecture_type(config))
    augments = [SimpleAugmentConfig(), IntensityAugmentConfig((0.9, 1.1), (-0.1, 0.1), clip=False)]
    settings = {"augments": augments, "warmup_iterations": 5, "decay_iterations": 200}
    trainer = trainer_type(config_type("trainer", 4, 5e-3, 1, **settings))
    optimizer = trainer.create_optimizer(model)
    image, labels = cells(0)
    trainer.build_batch_provider([ArrayDataset(array(image), array(labels))], model, task)
    before = score(model)
    with trainer:
        list(trainer.iterate(200, model, optimizer, CPU))
    return before, score(model)


def score(model: Any) -> float:
    image, labels = cells(1)
    model.eval()
    with torch.no_grad():
        affinities = model(torch.from_numpy(image)[None, None])[0].numpy().astype(np.float64)
    margin = (image.shape[0] - affinities.shape[1]) // 2
    inner = (slice(margin, margin + affinities.shape[1]),) * 2
    found = mutex_watershed(affinities, OFFSETS, 0.5)
    return sum(voi(found, labels[inner]))


@pytest.mark.slow
def test_both_trainers_learn_to_segment_equally_well() -> None:
    before, ours = learn(TorchTrainer, TorchTrainerConfig)
    _, theirs = learn(GunpowderTrainer, GunpowderTrainerConfig)
    assert max(ours, theirs) < before / 2
    assert ours == pytest.approx(theirs, abs=0.3)


class TestTorchBatches(BatchContract):
    config_type = TorchTrainerConfig

    def test_batches_with_all_augmentations_do_not_depend_on_processes_nor_threads(self) -> None:
        results = []
        before = torch.get_num_threads()
        try:
            for fetchers, threads in ((1, 1), (1, 2), (3, 2)):
                torch.set_num_threads(threads)
                made = self.batches(
                    5,
                    [blobs()],
                    task=affinities(),
                    augments=ALL_AUGMENTS,
                    num_data_fetchers=fetchers,
                    batch_size=2,
                )
                results.append(made)
        finally:
            torch.set_num_threads(before)
        for others in results[1:]:
            for a, b in zip(results[0], others, strict=True):
                for name in ("raw", "target", "weight", "gt", "mask"):
                    np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
                torch.testing.assert_close(a.moving_class_counts, b.moving_class_counts, rtol=0, atol=0)

    @pytest.mark.parametrize("fetchers", [1, 2])
    def test_predictors_for_arrays_count_in_order(self, fetchers: int) -> None:
        task = dummy_task()
        task.predictor = PlainPredictor(["a", "b"])
        made = self.batches(3, [blobs()], task=task, batch_size=2, num_data_fetchers=fetchers)
        for number, batch in enumerate(made):
            assert batch.target.shape == batch.weight.shape == (2, 2, 18, 18)
            for sample, weight in enumerate(batch.weight):
                assert set(np.unique(weight)) <= {0, 2 * number + sample + 1}
                assert weight.max() > 0
                assert batch.mask is not None
                np.testing.assert_array_equal(weight[0] > 0, batch.mask[sample] > 0)
            assert batch.moving_class_counts == [2 * number + 3]
            assert batch.gt is not None
            np.testing.assert_array_equal(batch.target[:, 1], batch.gt == 1)

    def test_augmentations_that_do_not_fit_are_refused_before_training(self) -> None:
        with pytest.raises(ConfigError, match="3 control point spacings"):
            self.build(coded_dataset(), augments=[ElasticAugmentConfig([9] * 3, [1.0] * 3, (0, 1))])


class TestTorchOptions(TrainingOptionsContract):
    config_type = TorchTrainerConfig
