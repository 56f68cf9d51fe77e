"""Time the original beside the floors of the benchmarks, in one process, through its own interface.

Runs in the original's environment, as a script: ``python benchmarks/original/cases.py OUTPUT [--quick] [NAME ...]``. It
writes, as JSON, for each case the seconds of the original and of the floor, or why there are none. Inputs, sizes and
floors are those of the cases of the same name.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

# What the benchmarks share comes last, so that `dacapo` is that of this environment.
sys.path.append(str(Path(__file__).parents[2]))

import benchmarks  # noqa: F401, I001  (sets the number of threads, which NumPy reads once)
import attrs
import mwatershed
import numpy as np
import torch
import zarr
from dacapo.experiments import Run, RunConfig
from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import BinarizeArrayConfig, IntensitiesArrayConfig, ZarrArrayConfig
from dacapo.experiments.tasks import AffinitiesTaskConfig, DistanceTaskConfig
from dacapo.experiments.tasks.evaluators import BinarySegmentationEvaluator
from dacapo.experiments.tasks.post_processors import (
    ArgmaxPostProcessor,
    ArgmaxPostProcessorParameters,
    ThresholdPostProcessor,
    ThresholdPostProcessorParameters,
    WatershedPostProcessor,
    WatershedPostProcessorParameters,
)
from dacapo.experiments.tasks.predictors import (
    AffinitiesPredictor,
    DistancePredictor,
    HotDistancePredictor,
    OneHotPredictor,
)
from dacapo.experiments.trainers import GunpowderTrainerConfig
from dacapo.experiments.trainers.gp_augments import (
    ElasticAugmentConfig,
    GammaAugmentConfig,
    IntensityAugmentConfig,
    SimpleAugmentConfig,
)
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.store.file_stats_store import FileStatsStore
from dacapo.tmp import open_from_identifier
from dacapo.utils.balance_weights import balance_weights
from dacapo.utils.voi import voi
from funlib.geometry import Coordinate
from funlib.persistence import Array, prepare_ds
from scipy.ndimage import gaussian_filter
from torch.nn.functional import binary_cross_entropy_with_logits
from upath import UPath

from benchmarks import floors, imports
from benchmarks.data import DIRECT, LONG_RANGE, VOXEL_SIZE, blobs, cells, image, with_background
from benchmarks.floors import CLIP, DISPLACEMENT, SAMPLES, SCALE, SPACING, TOLERANCE, PlainBatches
from benchmarks.harness import Case, Setting, WrongResultError, measure

LIMIT = 3000  # seconds for a case
OFFSETS = [Coordinate(offset) for offset in floors.OFFSETS]
AFFINITIES = AffinitiesTaskConfig(name="affinities", neighborhood=OFFSETS)
DESCRIPTORS = AffinitiesTaskConfig(name="descriptors", neighborhood=OFFSETS, lsds=True)
SIGMA = 10  # of the descriptors, voxels
DISTANCES = DistanceTaskConfig(
    name="distances", channels=["cells"], clip_distance=200, tol_distance=16, scale_factor=SCALE, mask_distances=False
)
AUGMENTS = [
    SimpleAugmentConfig(),
    ElasticAugmentConfig(
        control_point_spacing=[SPACING] * 3,
        control_point_displacement_sigma=[DISPLACEMENT] * 3,
        rotation_interval=(0.0, np.pi / 2),
        uniform_3d_rotation=True,
    ),
    IntensityAugmentConfig(scale=(0.8, 1.2), shift=(-0.1, 0.1)),
    GammaAugmentConfig(gamma_range=(0.8, 1.25)),
]


def axis_names(values: np.ndarray) -> list[str]:
    return [*(["c^"] if values.ndim == 4 else []), "z", "y", "x"]


def in_memory(values: np.ndarray) -> Array:
    """Return values as an array; a fourth axis, in front, is that of channels."""
    return Array(values, (0, 0, 0), VOXEL_SIZE, axis_names(values))


def whole(array: Array) -> np.ndarray:
    """Return all values, which are computed only now."""
    return array[array.roi]


def on_disk(folder: Path, name: str, values: np.ndarray, chunk: int = 64) -> LocalArrayIdentifier:
    """Write values as a Zarr dataset."""
    container = UPath(folder / "data.zarr")
    zarr.open_group(str(container), mode="a")
    array = prepare_ds(
        str(container / name),
        shape=values.shape,
        offset=(0, 0, 0),
        voxel_size=VOXEL_SIZE,
        axis_names=axis_names(values),
        dtype=values.dtype,
        chunk_shape=(*values.shape[:-3], chunk, chunk, chunk),
        mode="w",
    )
    array[array.roi] = values
    return LocalArrayIdentifier(container, name)


def ground_truth(task: Any, size: int) -> np.ndarray:
    """Return what a task learns; distances only of one class, since it refuses ground truth with more values."""
    labels = cells(size)
    return with_background(labels) if task is DISTANCES else labels


def one_class(labels: ZarrArrayConfig) -> BinarizeArrayConfig:
    """Return labels as the one channel that a task of distances takes."""
    return BinarizeArrayConfig(name="binary", source_array_config=labels, groupings=[("cells", [])])


def make_config(
    folder: Path, task: Any, augments: list[Any], input_size: int, data_size: int, features: int = 8, fetchers: int = 1
) -> RunConfig:
    """Return the config of a run on an image of cells and its labels."""
    places = {
        name: on_disk(folder, name, values)
        for name, values in (("raw", image(cells(data_size))), ("gt", ground_truth(task, data_size)))
    }
    stored = {
        name: ZarrArrayConfig(name=name, file_name=place.container, dataset=place.dataset, mode="r")
        for name, place in places.items()
    }
    dataset = RawGTDatasetConfig(
        name="cells",
        raw_config=IntensitiesArrayConfig(name="scaled", source_array_config=stored["raw"], min=0.0, max=255.0),
        gt_config=one_class(stored["gt"]) if task is DISTANCES else stored["gt"],
    )
    return RunConfig(
        name="benchmark",
        repetition=0,
        num_iterations=1000,
        validation_interval=1000,
        task_config=task,
        architecture_config=CNNectomeUNetConfig(
            name="unet",
            input_shape=Coordinate((input_size,) * 3),
            eval_shape_increase=Coordinate((0, 0, 0)),
            fmaps_in=1,
            fmaps_out=features,
            num_fmaps=features,
            fmap_inc_factor=2,
            downsample_factors=[Coordinate((2, 2, 2))],
        ),
        trainer_config=GunpowderTrainerConfig(
            name="trainer",
            batch_size=SAMPLES,
            learning_rate=1e-4,
            num_data_fetchers=fetchers,
            augments=augments,
        ),
        datasplit_config=TrainValidateDataSplitConfig(
            name="split", train_configs=[dataset], validate_configs=[dataset]
        ),
    )


def equal(got: Any, want: Any) -> None:
    np.testing.assert_array_equal(got, want)


def close(got: Any, want: Any, tolerance: float) -> None:
    np.testing.assert_allclose(got, want, atol=tolerance)


def affinity_target(setting: Setting) -> Case:
    labels = with_background(cells(setting.size(88, 32)))
    predictor = AffinitiesPredictor(OFFSETS, lsds=False)
    gt, mask = in_memory(labels), in_memory(np.ones(labels.shape, dtype=np.uint8))

    def original() -> list[np.ndarray]:
        target = predictor.create_target(gt)
        return [whole(target), whole(predictor.create_weight(gt, target, mask)[0])]

    def floor() -> list[np.ndarray]:
        target = floors.affinities(labels, floors.OFFSETS)
        annotated = np.ones(labels.shape, dtype=np.uint8) != 0
        weight = [floors.counted_weights(c.astype(np.uint8), annotated, floors.no_counts()) for c in target]
        return [target, np.stack(weight)]

    return Case(original, floor, partial(close, tolerance=1e-6))


def weights(setting: Setting) -> Case:
    classes = (blobs(setting.size(88, 32)) > 0.5).astype(np.uint8)
    return Case(
        lambda: balance_weights(classes, 2)[0],
        lambda: floors.counted_weights(classes, None, floors.no_counts()),
        partial(close, tolerance=1e-6),
    )


def one_hot(setting: Setting) -> Case:
    labels = (cells(setting.size(88, 32)) % 6).astype(np.uint8)
    predictor, gt = OneHotPredictor([str(index) for index in range(6)], kernel_size=1), in_memory(labels)

    def floor() -> np.ndarray:
        result = np.empty((6, *labels.shape), dtype=np.uint8)
        for index, channel in enumerate(result):
            channel[:] = labels == index
        return result

    return Case(lambda: whole(predictor.create_target(gt)), floor, equal)


def distance(setting: Setting) -> Case:
    labels = (blobs(setting.size(88, 32)) > 0).astype(np.uint8)
    predictor = DistancePredictor(["inside"], SCALE, mask_distances=False)
    return Case(
        lambda: predictor.process(labels[np.newaxis], VOXEL_SIZE)[0],
        lambda: floors.doubled_grid_distance(labels),
        partial(close, tolerance=1e-4),
    )


def hot_distance(setting: Setting) -> Case:
    labels = (blobs(setting.size(88, 32)) > 0).astype(np.uint8)
    predictor = HotDistancePredictor(["inside"], SCALE, mask_distances=False, kernel_size=1)
    gt = in_memory(labels[np.newaxis])

    def floor() -> np.ndarray:
        scaled = np.tanh(floors.doubled_grid_distance(labels) / np.float32(SCALE))
        return np.stack([labels.astype(np.float32), scaled])

    return Case(lambda: whole(predictor.create_target(gt)), floor, partial(close, tolerance=1e-5))


def descriptors(setting: Setting, size: int) -> Case:
    sigma = setting.size(10, 4)
    labels = with_background(cells(setting.size(size, 24)))
    predictor = AffinitiesPredictor([Coordinate(offset) for offset in DIRECT], lsds=True, num_voxels=sigma)
    gt, mask = in_memory(labels), in_memory(np.ones(labels.shape, dtype=np.uint8))

    def original() -> np.ndarray:
        target = predictor.create_target(gt)
        return np.concatenate([whole(target), whole(predictor.create_weight(gt, target, mask)[0])])

    def floor() -> np.ndarray:
        target = floors.affinities(labels, DIRECT)
        annotated = np.ones(labels.shape, dtype=np.uint8) != 0
        weight = [floors.counted_weights(c.astype(np.uint8), annotated, floors.no_counts()) for c in target]
        weight += [floors.counted_weights((labels > 0).astype(np.uint8), annotated, floors.no_counts())] * 10
        return np.concatenate([target, floors.shape_descriptors(labels, sigma), np.stack(weight)])

    return Case(original, floor, partial(close, tolerance=1e-3))


def batches(setting: Setting, task: Any, augment: bool) -> Case:
    """Make batches, which it does in another process only; one after another, so that it is never ahead."""
    size, data = setting.size(64, 28), setting.size(160, 48)
    run = Run(make_config(setting.folder, task, AUGMENTS if augment else [], size, data))
    sigma = setting.size(SIGMA, 3) if task is DESCRIPTORS else 0
    if sigma:
        run.task.predictor = AffinitiesPredictor(OFFSETS, lsds=True, num_voxels=sigma)
    run.trainer.build_batch_provider(run.datasplit.train, run.model, run.task)
    trainer = setting.stack.enter_context(run.trainer)
    labels, raw = ground_truth(task, data), image(cells(data)).astype(np.float32) / np.float32(255)
    labels = (labels > 0).astype(np.uint8) if task is DISTANCES else labels
    plain = PlainBatches(raw, labels, size, int(run.model.output_shape[0]), task is not DISTANCES, sigma)
    return Case(trainer.next, plain.augmented if augment else plain.plain, lambda *_: None)


def iterations(setting: Setting) -> Case:
    """Train; the floor is a bare loop over batches in memory, with a network of the same kind."""
    count = setting.size(10, 2)
    size, data, features = setting.size(52, 28), setting.size(128, 48), setting.size(12, 4)
    augments = [SimpleAugmentConfig(), IntensityAugmentConfig(scale=(0.8, 1.2), shift=(-0.1, 0.1))]
    config = make_config(setting.folder, AFFINITIES, augments, size, data, features, fetchers=2)
    run, bare = Run(config), Run(config)
    labels = cells(data)
    raw = image(labels).astype(np.float32) / np.float32(255)
    plain = PlainBatches(raw, labels, size, int(run.model.output_shape[0]), affinity=True)
    memory = [[torch.from_numpy(values) for values in plain.plain()] for _ in range(count)]
    run.trainer.build_batch_provider(run.datasplit.train, run.model, run.task)
    trainer = setting.stack.enter_context(run.trainer)
    # One call for all, as in training: called again, it never returns.
    endless = trainer.iterate(1_000_000, run.model, run.optimizer, torch.device("cpu"))

    def original() -> list[float]:
        return [stats.loss for stats in itertools.islice(endless, count)]

    def floor() -> list[float]:
        losses = []
        for values, target, weight in memory:
            loss = (binary_cross_entropy_with_logits(bare.model(values), target, reduction="none") * weight).mean()
            bare.optimizer.zero_grad()
            loss.backward()
            bare.optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    return Case(original, floor, lambda got, want: np.testing.assert_equal(len(got), len(want)))


def prediction(setting: Setting) -> Case:
    config = make_config(setting.folder, AFFINITIES, [], setting.size(80, 28), setting.size(128, 32))
    run = Run(config)
    create_config_store().store_run_config(config)
    create_weights_store().store_weights(run, 0)
    container = UPath(setting.folder / "data.zarr")
    source = zarr.open_group(str(container), mode="r")["raw"]
    inner = setting.size(64, 12)
    context = (setting.size(80, 28) - inner) // 2

    def original() -> np.ndarray:
        output = LocalArrayIdentifier(container, "prediction")
        predict(run, 0, str(container), "raw", output, num_workers=1)
        return zarr.open_group(str(container), mode="r")["prediction"][:]

    on = original()
    stored = zarr.open_group(str(container), mode="r")["prediction"]

    def floor() -> np.ndarray:
        target = floors.create_like("prediction", stored, on.shape, np.uint8, setting.folder)
        run.model.eval()
        with torch.inference_mode():
            for box in floors.boxes(on.shape[1:], (inner,) * 3):
                # It predicts what lies inside by the context of the network, without reflection.
                wide = tuple(slice(part.start, part.stop + 2 * context) for part in box)
                values = source[wide].astype(np.float32) / 255
                missing = [(0, inner + 2 * context - n) for n in values.shape]
                values = np.pad(values, missing)
                predicted = run.model(torch.from_numpy(values)[None, None])[0].numpy()
                kept = tuple(slice(0, part.stop - part.start) for part in box)
                target[(slice(None), *box)] = np.rint(predicted[(slice(None), *kept)] * 255).astype(np.uint8)
        return target[:]

    return Case(original, floor, lambda got, want: np.testing.assert_equal(got.shape, want.shape))


def threshold(setting: Setting) -> Case:
    size, chunk = setting.size(256, 64), setting.size(128, 32)
    values = (1 / (1 + np.exp(-blobs(size))) * 255).astype(np.uint8)
    place = on_disk(setting.folder, "prediction", values, chunk)
    processor = ThresholdPostProcessor()
    processor.set_prediction(place)
    parameters = ThresholdPostProcessorParameters(id=0, threshold=127)
    output = LocalArrayIdentifier(place.container, "mask")
    return blockwise(
        setting,
        lambda: processor.process(parameters, output, num_workers=1, block_size=Coordinate((chunk,) * 3)),
        lambda block: (block > 127).astype(np.uint8),
        output,
        chunk,
    )


def argmax(setting: Setting) -> Case:
    size, chunk = setting.size(128, 32), setting.size(64, 16)
    channels = np.stack([blobs(size, seed) for seed in range(4)])
    place = on_disk(setting.folder, "prediction", (channels * 40 + 127).clip(0, 255).astype(np.uint8), chunk)
    processor = ArgmaxPostProcessor()
    processor.set_prediction(place)
    parameters = ArgmaxPostProcessorParameters(id=0)
    output = LocalArrayIdentifier(place.container, "classes")
    return blockwise(
        setting,
        lambda: processor.process(parameters, output, num_workers=1, block_size=Coordinate((chunk,) * 3)),
        lambda block: np.argmax(block, axis=0).astype(np.uint8),
        output,
        chunk,
    )


def blockwise(
    setting: Setting,
    original: Callable[[], Any],
    function: Callable[[np.ndarray], np.ndarray],
    output: LocalArrayIdentifier,
    block: int,
) -> Case:
    original()
    stored = zarr.open_group(str(output.container), mode="r")[output.dataset]

    def floor() -> Any:
        source = zarr.open_group(str(output.container), mode="r")["prediction"]
        target = floors.create_like(output.dataset, stored, source.shape[-3:], np.uint8, setting.folder)
        for box in floors.boxes(target.shape, (block,) * 3):
            target[box] = function(source[(..., *box)])
        return target

    return Case(original, floor, lambda _, want: equal(np.squeeze(stored[:]), want[:]))


def watershed(setting: Setting, biases: tuple[float, ...]) -> Case:
    """Segment affinities on disk into labels on disk; the floor works in memory."""
    offsets = DIRECT + LONG_RANGE
    clean = floors.affinities(cells(setting.size(80, 32)), offsets)
    noise = np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    values = (gaussian_filter(clean, (0, 1, 1, 1)) + 0.05 * noise).clip(0, 1).astype(np.float32)
    processor = WatershedPostProcessor(offsets=OFFSETS)
    processor.set_prediction(on_disk(setting.folder, "affinities", values, values.shape[1]))
    output = LocalArrayIdentifier(UPath(setting.folder / "data.zarr"), "labels")

    def original() -> np.ndarray:
        for bias in biases[::-1]:
            parameters = WatershedPostProcessorParameters(id=0, bias=bias)
            processor.process(parameters, output, num_workers=1, block_size=Coordinate(values.shape[1:]))
        return zarr.open_group(str(output.container), mode="r")["labels"][:]

    def floor() -> np.ndarray:
        return mwatershed.agglom(values.astype(np.float64) - biases[0], [list(offset) for offset in offsets])

    def check(labels: np.ndarray, expected: np.ndarray) -> None:
        labels = labels.reshape(expected.shape)
        np.testing.assert_allclose(floors.plain_voi(expected[labels > 0], labels[labels > 0]), 0, atol=1e-12)

    return Case(original, floor, check)


def binary(setting: Setting) -> Case:
    size = setting.size(128, 32)
    truth = blobs(size) > 0
    test = blobs(size) + 0.5 * blobs(size, seed=1) > 0.1
    output = on_disk(setting.folder, "test", test.astype(np.uint8))
    array = open_from_identifier(on_disk(setting.folder, "truth", truth.astype(np.uint8)))
    evaluator = BinarySegmentationEvaluator(CLIP, TOLERANCE, ["inside"])

    def floor() -> dict[str, float]:
        container = zarr.open_group(str(output.container), mode="r")
        return floors.binary_scores(container["truth"][:] > 0, container["test"][:] > 0)

    def check(scores: Any, expected: dict[str, float]) -> None:
        np.testing.assert_equal(set(scores.criteria), set(expected))

    return Case(lambda: evaluator.evaluate(output, array), floor, check)


def variation(setting: Setting, sparse: bool) -> Case:
    size = setting.size(160, 40)
    truth, test = cells(size), cells(size, spacing=14, seed=1)
    if sparse:
        ids = np.random.default_rng(0).integers(1, 2**63, int(max(truth.max(), test.max())) + 1, dtype=np.uint64)
        truth, test = ids[truth], ids[test]
    return Case(
        lambda: voi(test, truth), lambda: floors.plain_voi(test, truth), lambda got, want: close(got[:2], want, 1e-9)
    )


def save(setting: Setting, after: int) -> Case:
    store, stats = FileStatsStore(UPath(setting.folder)), TrainingStats(entries(0, after))
    store.store_training_stats("run", stats)
    plain = setting.folder / "plain"
    plain.write_text("")

    def floor() -> None:
        with open(plain, "a") as file:
            file.writelines(json.dumps(attrs.asdict(entry)) + "\n" for entry in stats.iteration_stats[-100:])
            file.flush()
            os.fsync(file.fileno())

    def prepare() -> None:
        stats.iteration_stats.extend(entries(len(stats.iteration_stats), 100))

    return Case(lambda: store.store_training_stats("run", stats), floor, lambda *_: None, prepare=prepare)


def read(setting: Setting) -> Case:
    store, stats = FileStatsStore(UPath(setting.folder)), TrainingStats(entries(0, 100_000))
    store.store_training_stats("run", stats)
    plain = setting.folder / "plain"
    plain.write_text("".join(json.dumps(attrs.asdict(entry)) + "\n" for entry in stats.iteration_stats))

    def floor() -> list[Any]:
        with open(plain) as file:
            return [json.loads(line) for line in file]

    def check(got: TrainingStats, expected: list[Any]) -> None:
        np.testing.assert_equal([attrs.asdict(entry) for entry in got.iteration_stats], expected)

    return Case(lambda: store.retrieve_training_stats("run"), floor, check)


def entries(first: int, count: int) -> list[TrainingIterationStats]:
    return [TrainingIterationStats(i, 1 / (i + 1), 0.1 + i * 1e-7) for i in range(first, first + count)]


CASES: dict[str, Callable[[Setting], Case]] = {
    "affinities, target and weight, 88^3": affinity_target,
    "balance weights, 88^3": weights,
    "one-hot of 6 classes, 88^3": one_hot,
    "signed distance, 88^3": distance,
    "hot distance, 88^3": hot_distance,
    "affinities and LSDs, target and weight, 64^3": partial(descriptors, size=64),
    "affinities and LSDs, target and weight, 88^3": partial(descriptors, size=88),
    "batches, affinities, 2 x 64^3": partial(batches, task=AFFINITIES, augment=False),
    "batches, affinities, all augments, 2 x 64^3": partial(batches, task=AFFINITIES, augment=True),
    "batches, distances, 2 x 64^3": partial(batches, task=DISTANCES, augment=False),
    "batches, distances, all augments, 2 x 64^3": partial(batches, task=DISTANCES, augment=True),
    "batches, affinities and LSDs, 2 x 64^3": partial(batches, task=DESCRIPTORS, augment=False),
    "batches, affinities and LSDs, all augments, 2 x 64^3": partial(batches, task=DESCRIPTORS, augment=True),
    "10 training iterations, affinities, 2 x 52^3": iterations,
    "blockwise prediction, 128^3": prediction,
    "threshold, 256^3": threshold,
    "argmax of 4 channels, 128^3": argmax,
    "mutex watershed, 80^3": partial(watershed, biases=(0.5,)),
    "mutex watershed, five biases, 80^3": partial(watershed, biases=(0.5, 0.1, 0.25, 0.75, 0.9)),
    "binary evaluator, 21 criteria, 128^3": binary,
    "VOI, dense ids, 160^3": partial(variation, sparse=False),
    "VOI, sparse 64-bit ids, 160^3": partial(variation, sparse=True),
    **{f"save 100 iterations after 10^{power}": partial(save, after=10**power) for power in (3, 4, 5)},
    "read 10^5 iterations": read,
    "import dacapo": partial(imports.start, arguments=["-c", imports.IMPORT, "dacapo"], says="", goal=""),
    "dacapo --help": partial(imports.start, arguments=["-m", "dacapo.cli", "--help"], says="", goal=""),
    "import dacapo.experiments": partial(
        imports.start, arguments=["-c", imports.IMPORT, "dacapo.experiments"], says="", goal=""
    ),
    "import dacapo.train": partial(imports.start, arguments=["-c", imports.IMPORT, "dacapo.train"], says="", goal=""),
}
APART = [name for name in CASES if name.startswith("batches")]
AHEAD = 5  # batches that may be ready when the first is asked for
SLOW = [name for name in APART if "LSDs" in name]  # a batch takes minutes


def measure_apart(case: Case, count: int, ahead: int) -> dict[str, list[float]]:
    """Time all calls of the original and then all of the floor; what it made ahead is taken first."""
    for work in (case.ours, case.floor):
        for _ in range(ahead):
            work()
    return {
        name: [timed(work) for _ in range(count)] for name, work in (("original", case.ours), ("floor", case.floor))
    }


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def run_case(name: str, quick: bool) -> dict[str, Any]:
    """Build a case in a folder of its own, and time it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        case = CASES[name](Setting(quick, Path(folder), stack))
        if name in APART:
            return measure_apart(case, 2 if name in SLOW else 3 if quick else 20, 1 if name in SLOW else AHEAD)
        timing = measure(name, case, seconds=0.2, least=2) if quick else measure(name, case)
        return {"original": timing.ours, "floor": timing.floor}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the original beside the floors of the benchmarks.")
    parser.add_argument("output", type=Path, help="file for the result")
    parser.add_argument("names", nargs="*", help="cases; all without")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for name in options.names or CASES:
        if name not in CASES:
            continue
        try:
            # It prints much; nothing of that belongs to the result.
            with contextlib.redirect_stdout(sys.stderr), time_limit():
                results[name] = run_case(name, options.quick)
        except WrongResultError as error:
            results[name] = {"problem": f"another result than the floor: {first_line(error)}"}
        except Exception as error:  # noqa: BLE001  (what it cannot do is a result too)
            results[name] = {"problem": f"{type(error).__name__}: {first_line(error)}"}
        print(name, results[name].get("problem", ""), file=sys.stderr, flush=True)
        options.output.write_text(json.dumps(results))  # after each, so that little is lost


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Raise an error if a case takes too long; processes that make batches may wait for each other for ever."""

    def stop(number: int, frame: Any) -> None:
        raise TimeoutError(f"no result in {LIMIT} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:120]


if __name__ == "__main__":
    main()
