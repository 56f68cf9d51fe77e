"""The torch trainer: the laws of all trainers on batches, and that the gunpowder trainer makes the same batches."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate
from scipy.spatial import cKDTree

from dacapo.errors import ConfigError, TrainingError
from dacapo.experiments import config as config_module
from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import OnesArray
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
    trainer_state,
)
from dacapo.experiments.trainers.batch_sampler import BatchSampler
from dacapo.experiments.trainers.batch_stream import BatchStream
from dacapo.experiments.trainers.collate import CPU, UnweightedBatch, collate
from dacapo.experiments.trainers.prefetch import Prefetcher
from dacapo.experiments.trainers.regions import check_datasets
from dacapo.experiments.trainers.sampler import PatchSampler
from dacapo.experiments.trainers.weighting import weighted
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
from tests.helpers.processes import PATIENCE
from tests.helpers.runs import affinities_run_config


class TestTorchTrainer(BatchTrainingContract):
    config_type = TorchTrainerConfig


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


def test_class_counts_of_another_layout_are_refused() -> None:
    task, trainer = affinities(), GunpowderTrainer(GunpowderTrainerConfig("trainer", 1, 1e-3, 1))
    trainer.build_batch_provider([blobs()], task.create_model(TinyNet()), task)
    trainer.load_state_dict({"moving_class_counts": [([[(1.0, 2.0), (1.0, 2.0)]], None)] * 2})
    with trainer, pytest.raises(TrainingError, match=r"counts .*1\.0, 2\.0.*, but .* in arrays of shapes \[\(3, 3\)\]"):
        next(iter(trainer))


@pytest.mark.parametrize(
    "task",
    [
        affinities(),
        AffinitiesTask(AffinitiesTaskConfig("lsds", [Coordinate(1, 0), Coordinate(0, 1)], lsds=True)),
        DistanceTask(DistanceTaskConfig("distance", ["a"], 4.0, 4.0)),
    ],
    ids=["affinities", "lsds", "distance"],
)
def test_class_counts_of_earlier_versions_are_taken_up(task: Task) -> None:
    """A GunpowderTrainer used to keep what ``create_weight`` returned, once per worker process."""
    dataset, predictor = blobs(), task.predictor
    assert dataset.gt is not None
    gt = dataset.gt
    _, old = predictor.create_weight(gt, predictor.create_target(gt), OnesArray.like(gt))
    trainer = GunpowderTrainer(GunpowderTrainerConfig("trainer", 1, 1e-3, 1))
    model = task.create_model(TinyNet())
    trainer.build_batch_provider([dataset], model, task)
    with trainer:
        fresh = next(iter(trainer)).moving_class_counts
    trainer.iteration = 0
    trainer.load_state_dict(trainer_state.to_state("GunpowderTrainer", [old, old], None))
    with trainer:
        continued = next(iter(trainer)).moving_class_counts
    added = [np.asarray(after) - np.asarray(alone) for after, alone in zip(continued, fresh, strict=True)]
    zeros, ones, total = added[0][0]
    assert [zeros, ones] == [pairs[0] for pairs in predictor.unpack_counts(old)[0][0]]  # type: ignore[attr-defined]
    assert total == zeros + ones
    trainer.load_state_dict(trainer.state_dict())


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
    here = BatchStream(maker(task=task), sampling, 0, CPU, snapshot_interval=2)
    for_gpu = BatchStream(maker(task=task), sampling, 0, torch.device("cuda"), snapshot_interval=2)
    for position in range(3):
        read = pickle.loads(pickle.dumps(for_gpu.make(position)))
        assert (read.targets is not None) == lsds  # descriptors are computed before
        made, expected = collate(here.sampler, read, CPU), here.make(position)
        assert_same(made, expected)
        assert (made.gt is not None) == (position % 2 == 0)
        if made.gt is not None:
            np.testing.assert_array_equal(made.gt, expected.gt)
            np.testing.assert_array_equal(made.mask, expected.mask)


def test_what_makes_batches_can_be_sent_to_processes_that_are_not_forked() -> None:
    stream = BatchStream(maker(), BatchSampler(seed=3, batch_size=2), 0, CPU)
    assert_same(pickle.loads(pickle.dumps(stream)).make(4), stream.make(4))


@pytest.mark.parametrize("enough", [True, False])
def test_batches_are_copied_where_there_is_no_shared_memory(monkeypatch: pytest.MonkeyPatch, enough: bool) -> None:
    worker = SimpleNamespace(id=0, num_workers=2)
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9 if enough else 10**3))
    for device in (CPU, torch.device("cuda")):
        stream = BatchStream(maker(), BatchSampler(seed=3, batch_size=2), 0, device)
        expected = BatchStream(maker(), BatchSampler(seed=3, batch_size=2), 0, CPU).make(0)
        with monkeypatch.context() as context:
            context.setattr(torch.utils.data, "get_worker_info", lambda: worker)
            sent = to_shared_memory(stream.make(0))
        raw = sent.raw if device == CPU else sent.crops[0].raw
        assert torch.is_tensor(raw) == enough
        assert any(True for _ in shared_memory._large(sent)) == enough
        got = from_shared_memory(pickle.loads(pickle.dumps(sent)))
        assert_same(got if device == CPU else collate(stream.sampler, got, CPU), expected)


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
    assert second.wait(PATIENCE)  # without being asked for
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


@pytest.mark.parametrize("kind", [TorchTrainerConfig, GunpowderTrainerConfig])
def test_trainers_make_batches_ahead_for_other_devices(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole path of a GPU, with the CPU in its place."""
    task = affinities()
    results = []
    for device in (CPU, torch.device("cuda")):
        trainer = kind.trainer_type(kind("t", 2, 1e-3, 1, ALL_AUGMENTS, min_masked=0.3))
        trainer.build_batch_provider([blobs()], task.create_model(TinyNet()), task)
        trainer._device = device
        monkeypatch.setattr(
            "dacapo.experiments.trainers.loader.collate", lambda maker, batch, _: collate(maker, batch, CPU)
        )
        monkeypatch.setattr(
            "dacapo.experiments.trainers.loader.Prefetcher",
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
        stream = BatchStream(source, sampling, 0, CPU)
        return [stream.make(position) for position in range(3)]

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
    (locations,) = source.locations.datasets
    locations.raw = locations.gt = dataset.raw
    locations.mask = dataset.mask
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


# --- both trainers make the same batches ---


def made_by(kind: Any, datasets: Sequence[Dataset], task: Task, network: TinyNet, **settings: Any) -> list[Any]:
    trainer = kind.trainer_type(kind("trainer", 2, 1e-3, **{"num_data_fetchers": 1, **settings}))
    trainer.seed = 5
    trainer.build_batch_provider(datasets, task.create_model(network), task)
    with trainer:
        return [trainer.next() for _ in range(4)]


VOLUME = (40, 36, 38)


def volume() -> ArrayDataset:
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 9, [-(-size // 4) for size in VOLUME]), np.ones((4, 4, 4), int)).astype(np.uint32)
    labels = labels[tuple(map(slice, VOLUME))]
    raw = rng.random(VOLUME).astype(np.float32)
    points = [Coordinate(60, 80, 70), Coordinate(90, 70, 80)]
    arrays = [array(values, (0, 0, 0), (4, 4, 4)) for values in (raw, labels, (labels > 2).astype(np.uint8))]
    return ArrayDataset(*arrays, sample_points=points)


@pytest.mark.parametrize("fetchers", [1, 2])
@pytest.mark.parametrize("augments", [[], ALL_AUGMENTS, ALL_AUGMENTS[::-1]], ids=["none", "all", "reversed"])
def test_both_trainers_make_the_same_batches(augments: list[AugmentConfig], fetchers: int) -> None:
    """Of datasets of different types and weights, with rejected samples, and classes counted over all batches."""
    other = blobs()
    other.gt = array(other.gt.data.astype(np.int16), other.gt.roi.offset)
    other.weight = 3  # type: ignore[misc]
    settings = {"augments": augments, "min_masked": 0.9, "num_data_fetchers": fetchers, "accumulate": 2}
    ours, theirs = (
        made_by(kind, [blobs(), other], affinities(), TinyNet(), **settings)
        for kind in (TorchTrainerConfig, GunpowderTrainerConfig)
    )
    assert len({batch.raw.data.tobytes() for batch in ours}) == 4
    for batches in zip(ours, theirs, strict=True):
        for mine, its in zip(*batches, strict=True):
            np.testing.assert_array_equal(mine.data, its.data)
            assert mine.data.dtype == its.data.dtype


@pytest.mark.parametrize("clip_raw", [False, True])
def test_both_trainers_make_the_same_batches_in_three_dimensions(clip_raw: bool) -> None:
    augments = [ElasticAugmentConfig([4, 6, 5], [0.5, 0.75, 1.0], (0.0, 1.0), 2, True), SimpleAugmentConfig()]
    task = AffinitiesTask(AffinitiesTaskConfig("task", [Coordinate(1, 0, 0), Coordinate(0, -3, 0)], lsds=True))
    task.predictor.num_voxels = 3  # type: ignore[attr-defined]
    settings = {"augments": augments, "min_masked": 0.3, "clip_raw": clip_raw}
    ours, theirs = (
        made_by(kind, [volume()], task, TinyNet((12, 10, 14)), **settings)
        for kind in (TorchTrainerConfig, GunpowderTrainerConfig)
    )
    for batches in zip(ours, theirs, strict=True):
        for mine, its in zip(*batches, strict=True):
            np.testing.assert_array_equal(mine.data, its.data)


# --- what is learned ---

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


def learn() -> tuple[float, float]:
    """Train a small network; return the variation of information on other cells before and after."""
    task = AffinitiesTask(AffinitiesTaskConfig("task", [Coordinate(o) for o in OFFSETS], lsds=False))
    config = CNNectomeUNetConfig("unet", Coordinate(52, 52), 12, 1, 12, 3, [Coordinate(2, 2)])
    torch.manual_seed(0)
    model = task.create_model(config.architecture_type(config))
    augments = [SimpleAugmentConfig(), IntensityAugmentConfig((0.9, 1.1), (-0.1, 0.1), clip=False)]
    settings = {"augments": augments, "warmup_iterations": 5, "decay_iterations": 200}
    trainer = TorchTrainer(TorchTrainerConfig("trainer", 4, 5e-3, 1, **settings))
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
def test_a_network_learns_to_segment() -> None:
    before, after = learn()
    assert after < before / 2


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
