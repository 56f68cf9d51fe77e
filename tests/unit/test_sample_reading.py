"""What is read for the samples of a training, and when."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gunpowder as gp
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import TrainingError
from dacapo.experiments.datasplits.datasets.arrays import Array, NumpyArray, ZarrArray
from dacapo.experiments.tasks import AffinitiesTask, AffinitiesTaskConfig
from dacapo.experiments.tasks.predictors import Predictor
from dacapo.experiments.trainers import ElasticAugmentConfig, SimpleAugmentConfig
from dacapo.experiments.trainers.batch_sampler import BatchSampler
from dacapo.experiments.trainers.batch_stream import BatchStream
from dacapo.experiments.trainers.gunpowder_sampler import GunpowderSampler
from dacapo.experiments.trainers.loader import load_batches
from dacapo.experiments.trainers.regions import SampleRegions
from dacapo.experiments.trainers.sampler import PatchSampler
from dacapo.gp import DaCapoArraySource, ElasticAugment, Request, Spec
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.testing.trainer import CPU
from tests.helpers.arrays import MeetingArray
from tests.helpers.processes import wait_until

RAW, GT = gp.ArrayKey("RAW"), gp.ArrayKey("GT")


class RecordingArray(NumpyArray):
    """An array that remembers what was read of it."""

    reads: list[Roi]

    def __getitem__(self, roi: Roi) -> np.ndarray:
        self.reads.append(roi)
        return super().__getitem__(roi)


def array(data: np.ndarray, voxel_size: Sequence[int], offset: Sequence[int] | None = None) -> RecordingArray:
    dims = len(voxel_size)
    axes = ["c"] * (data.ndim - dims) + ["z", "y", "x"][-dims:]
    roi = Roi(offset or (0,) * dims, Coordinate(data.shape[-dims:]) * Coordinate(voxel_size))
    made = RecordingArray.from_np_array(data, roi, Coordinate(voxel_size), axes)
    assert isinstance(made, RecordingArray)
    made.reads = []
    return made


class Data:
    """A dataset, as far as the pipeline needs one."""

    weight = 1
    sample_points = None

    def __init__(self, raw: Array, gt: Array, mask: Array | None = None) -> None:
        self.name, self.raw, self.gt, self.mask = "data", raw, gt, mask


def affinities() -> Predictor:
    offsets = [Coordinate(1, 0), Coordinate(0, 3)]
    return AffinitiesTask(AffinitiesTaskConfig("task", offsets)).predictor


SIZE, REGIONS = 60, SampleRegions(Roi((0, 0), (80, 80)), Roi((20, 20), (40, 40)), Coordinate(4, 4), Coordinate(4, 4))


def dataset(offset: Sequence[int] = (0, 0)) -> Data:
    rng = np.random.default_rng(0)
    raw = rng.random((SIZE, SIZE)).astype(np.float32)
    labels = rng.integers(1, 2**40, (SIZE, SIZE)).astype(np.uint64)
    mask = np.ones((SIZE, SIZE), dtype=np.uint8)
    return Data(*(array(values, (4, 4), offset) for values in (raw, labels, mask)))


def sampler(data: Data, *augments: Any, kind: type[PatchSampler] = GunpowderSampler) -> Any:
    return kind([data], REGIONS, affinities(), augments, min_masked=0.1, clip_raw=False)  # type: ignore[list-item]


def stream(source: PatchSampler, size: int = 1) -> BatchStream:
    return BatchStream(source, BatchSampler(0, size), 0, CPU)


def sample(source: GunpowderSampler, seed: int) -> gp.Batch:
    with source:
        return source.request(np.random.default_rng(seed))


class TestRegions:
    """Each array is read once for a sample, and no voxel of it that the sample does not depend on."""

    @pytest.mark.parametrize("seed", range(5))
    def test_without_augmentations(self, seed: int) -> None:
        data = dataset((8, 4))
        batch = sample(sampler(data), seed)
        (raw,) = data.raw.reads
        (labels,) = data.gt.reads
        assert data.mask.reads == [labels]
        # The voxels that were read are those of the sample, as far as they are not mirrored ones.
        read = NumpyArray.__getitem__(data.raw, raw)
        assert set(np.unique(read)) == set(np.unique(batch[RAW].data))
        assert labels.shape[0] <= 40 + 4
        assert labels.shape[1] <= 40 + 12
        assert all(size >= 40 for size in labels.shape)

    @pytest.mark.parametrize("seed", range(5))
    def test_mirroring_and_transposing_reads_as_much(self, seed: int) -> None:
        data, changed = dataset(), dataset()
        sample(sampler(data), seed)
        sample(sampler(changed, SimpleAugmentConfig()), seed)
        for name in ("raw", "gt", "mask"):
            assert len(getattr(changed, name).reads) == 1
        assert max(changed.raw.reads[0].shape) <= 80
        assert max(changed.gt.reads[0].shape) <= 40 + 12

    @pytest.mark.parametrize("seed", range(5))
    def test_every_border_of_what_is_read_for_a_deformed_sample_is_needed(self, seed: int) -> None:
        """Change the outermost voxels of what was read on one side after another: the sample must change."""
        roi = Roi((400, 400), (80, 80))
        for name, dtype, interpolatable in (("raw", np.float32, True), ("labels", np.uint64, False)):
            values = np.random.default_rng(seed).integers(1, 2**20, (200, 200)).astype(dtype)
            whole = array(values, (4, 4))
            before = deformed(whole, roi, interpolatable, seed)
            (read,) = whole.reads
            assert read.size < 3 * roi.size, name
            begin, end = read.begin / 4, read.end / 4
            for axis in range(2):
                for border in (begin[axis], end[axis] - 1):
                    other = values.copy()
                    np.moveaxis(other, axis, 0)[border] += 2**30
                    assert not np.array_equal(deformed(array(other, (4, 4)), roi, interpolatable, seed), before), name
            # And nothing else is.
            kept = np.zeros_like(values)
            inside = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
            kept[inside] = values[inside]
            np.testing.assert_array_equal(deformed(array(kept, (4, 4)), roi, interpolatable, seed), before)

    def test_samples_of_elastic_training(self) -> None:
        data = dataset()
        augment = ElasticAugmentConfig([10, 10], [1.0, 1.0], (0.0, 1.5))
        for seed in range(5):
            sample(sampler(data, augment), seed)
        assert len(data.raw.reads) == len(data.gt.reads) == len(data.mask.reads) == 5
        assert data.gt.reads == data.mask.reads
        for raw, labels in zip(data.raw.reads, data.gt.reads, strict=True):
            assert labels.size < raw.size


def deformed(whole: Array, roi: Roi, interpolatable: bool, seed: int) -> np.ndarray:
    source = DaCapoArraySource(whole, RAW, interpolatable=interpolatable)
    nodes = source + ElasticAugment((40, 40), (6.0, 6.0), (0.0, 1.5))
    request = Request(random_seed=seed)
    request[RAW] = Spec(roi=roi)
    with gp.build(nodes):
        values: np.ndarray = nodes.request_batch(request)[RAW].data
    return values


class TestSpecs:
    """Copies are those that gunpowder makes."""

    def specs(self) -> list[dict[str, Any]]:
        roi = Roi((0, 4), (8, 8))
        every = {"voxel_size": Coordinate(2, 2), "interpolatable": True, "dtype": np.float32, "placeholder": True}
        return [{}, {"roi": roi}, {"roi": Roi((None, None), (None, None))}, {"roi": roi, **every}, {"nonspatial": True}]

    def test_specs(self) -> None:
        for values in self.specs():
            spec, plain = Spec(**values), gp.ArraySpec(**values)
            twin = spec.copy()
            assert twin == spec == plain.copy()
            assert vars(twin) == vars(plain.copy())
            assert type(twin) is Spec

    def test_specs_are_independent(self) -> None:
        spec = Spec(roi=Roi((0, 4), (8, 8)), dtype=np.float32)
        twin = spec.copy()
        twin.roi.offset = Coordinate(1, 1)
        twin.roi.shape = Coordinate(2, 2)
        twin.dtype = np.uint8
        assert spec == Spec(roi=Roi((0, 4), (8, 8)), dtype=np.float32)
        with pytest.raises(TypeError, match="frozen"):
            twin.other = 1

    @pytest.mark.parametrize("seed", [None, 0, 2**32 - 1])
    def test_requests(self, seed: int | None) -> None:
        request, plain = Request(random_seed=seed), gp.BatchRequest(random_seed=seed)
        for one in (request, plain):
            one[RAW] = Spec(roi=Roi((0, 4), (8, 8)))
            one[GT] = Spec(roi=Roi((0, 0), (8, 8)), placeholder=True)
            one[gp.GraphKey("POINTS")] = gp.GraphSpec(roi=Roi((0, 4), (8, 8)), directed=False)
        twin, expected = request.copy(), plain.copy()
        assert type(twin) is Request
        assert twin._random_seed == expected._random_seed
        assert twin.array_specs == expected.array_specs
        assert twin.graph_specs == expected.graph_specs
        before = copy.deepcopy(request.array_specs)
        twin[RAW].roi.offset = Coordinate(9, 9)
        del twin[GT]
        twin[gp.GraphKey("POINTS")].roi.offset = Coordinate(9, 9)
        assert request.array_specs == before
        assert request[gp.GraphKey("POINTS")].roi.offset == Coordinate(0, 4)

    def test_they_stay_what_they_are_through_a_pipeline(self) -> None:
        seen = []

        class Look(gp.BatchFilter):  # type: ignore[misc]
            def process(self, batch: gp.Batch, request: gp.BatchRequest) -> None:
                seen.extend([request, *request.array_specs.values(), batch[RAW].spec])

        source = sampler(dataset(), SimpleAugmentConfig())
        source.pipeline += Look()
        sample(source, 0)
        assert {type(one) for one in seen} == {Request, Spec}


class SlowArray(MeetingArray):
    """Counts its reads over all processes."""

    reads: Any

    def __getitem__(self, roi: Roi) -> np.ndarray:
        values = super().__getitem__(roi)
        with self.reads.get_lock():
            self.reads.value += 1
        return values


def slow_array(one: NumpyArray, barrier: threading.Barrier, reads: Any) -> SlowArray:
    made = SlowArray.from_np_array(one.data, one.roi, one.voxel_size, one.axes)
    assert isinstance(made, SlowArray)
    made.barrier, made.reads = barrier, reads
    return made


@pytest.mark.parametrize("fetchers", [1, 4])
def test_slow_stores_are_read_ahead(fetchers: int) -> None:
    """Reads of a sample wait together, and other processes read for the next batches while one is trained on."""
    size, batches, data, reads = 2, 6, dataset(), multiprocessing.Value("i", 0)
    barrier = threading.Barrier(2)  # raw data and labels; each process has a copy
    source = sampler(Data(*(slow_array(one, barrier, reads) for one in (data.raw, data.gt))))
    with source:
        iterator = load_batches(stream(source, size), fetchers)
        next(iterator)
        if fetchers > 1:
            wait_until(lambda: reads.value >= batches * size * 2)
        for done in range(2, batches + 1):
            next(iterator)
            assert reads.value >= done * size * 2
        assert fetchers > 1 or reads.value == batches * size * 2
        del iterator


def test_samples_of_a_batch_are_read_at_the_same_time() -> None:
    """One wait for all masks, which decide about where samples are, and one for all the rest."""
    size, batches, data, reads = 4, 3, dataset(), multiprocessing.Value("i", 0)
    masks, rest = threading.Barrier(size), threading.Barrier(2 * size)
    slow = [slow_array(one, barrier, reads) for one, barrier in ((data.raw, rest), (data.gt, rest), (data.mask, masks))]
    iterator = load_batches(stream(sampler(Data(*slow), kind=PatchSampler), size), 1)
    for _ in range(batches):
        next(iterator)
    assert reads.value == batches * size * len(slow)


def test_processes_without_a_cache_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    importlib.import_module("tensorstore")
    with caplog.at_level("INFO", logger="dacapo"):
        next(load_batches(stream(sampler(dataset(), kind=PatchSampler)), 2))
    assert "without a cache of decoded chunks" in caplog.text


@pytest.mark.parametrize("dtype", [">f4", ">i2", ">u2", "<f4", "u1", "f8"])
def test_raw_data_may_have_any_order_of_bytes(dtype: str) -> None:
    data, values = dataset(), np.random.default_rng(0).integers(0, 100, (SIZE, SIZE))
    data.raw = array(values.astype(dtype), (4, 4))
    source = sampler(data, kind=PatchSampler)
    (crop,) = source.read([3])
    for got in (source.raw(crop).numpy(), sample(sampler(data), 3)[RAW].data):
        read = NumpyArray.__getitem__(data.raw, data.raw.reads.pop(0))
        assert set(np.unique(got)) == set(np.unique(read).astype(np.float32))


@pytest.mark.parametrize("fetchers", [1, 2])
def test_a_damaged_chunk_stops_the_training_and_is_named(tmp_path: Path, fetchers: int) -> None:
    data, stored = dataset(), []
    for name in ("raw", "gt"):
        one: Any = getattr(data, name)
        identifier = LocalArrayIdentifier(tmp_path / "data.zarr", name)
        made = ZarrArray.create_from_array_identifier(
            identifier, one.axes, one.roi, None, one.voxel_size, one.dtype, write_size=one.roi.shape
        )
        made[made.roi] = one.data
        stored.append(ZarrArray.open_from_array_identifier(identifier, mode="r"))
    chunk = tmp_path / "data.zarr" / "gt" / "0/0"
    os.truncate(chunk, chunk.stat().st_size // 2)
    source = sampler(Data(*stored))
    with source, pytest.raises(TrainingError, match=r"data\.zarr/gt.* chunk .*data\.zarr/gt/0/0 is"):
        next(load_batches(stream(source), fetchers))


def test_the_source_hands_out_copies() -> None:
    data = dataset()
    before = data.raw.data.copy()
    sample(sampler(data), 0)[RAW].data[:] = 5
    np.testing.assert_array_equal(data.raw.data, before)
