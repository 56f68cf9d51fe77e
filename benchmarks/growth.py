"""How time and memory grow with volumes, labels, datasets, parameters and iterations, as one table.

    python -m benchmarks.growth              all of it
    python -m benchmarks.growth LSD VOI      work with such a name
    python -m benchmarks.growth --quick      the smallest sizes, to see that all works

Each size runs in a process of its own, after the smallest one as a warm-up. Time is that of the processor, which other
work on the machine hardly changes, the shortest of several calls. Memory is what the process takes at most beyond what
it holds when the work begins. Large arrays come fresh from the system at all sizes, where the allocator would reuse
small ones, which is several times as fast. Exponents are those of a line through the largest sizes on logarithmic axes:
1 is linear, and sorting looks like 1.05. Sizes that would take too long or too much memory, going by those before, are
left out.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import numpy as np
from funlib.geometry import Coordinate

from dacapo.experiments.architectures import DummyArchitectureConfig
from dacapo.experiments.datasplits import DummyDataSplitConfig, TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import DummyTaskConfig
from dacapo.experiments.tasks.evaluators import BinarySegmentationEvaluator
from dacapo.experiments.tasks.post_processors import (
    ArgmaxPostProcessor,
    ArgmaxPostProcessorParameters,
    ThresholdPostProcessor,
    ThresholdPostProcessorParameters,
)
from dacapo.experiments.tasks.predictors import AffinitiesPredictor, OneHotPredictor
from dacapo.experiments.trainers import DummyTrainerConfig
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.inference.prediction import predict_array
from dacapo.options import Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.store.file_stats_store import FileStatsStore
from dacapo.train import train_run
from dacapo.utils.balance_weights import balance_weights
from dacapo.utils.distances import signed_distance
from dacapo.utils.lsds import local_shape_descriptors
from dacapo.utils.memory import available_memory
from dacapo.utils.progress import progress
from dacapo.utils.segmentation import absorb_small, mutex_watershed
from dacapo.utils.text_table import text_table
from dacapo.utils.voi import contingency, voi
from dacapo.validate import validate_run

from .arrays import in_memory, on_disk
from .batches import AFFINITIES, AUGMENTS, make_run, write_dataset
from .data import DIRECT, LONG_RANGE, VOXEL_SIZE
from .harness import machine
from .validation_memory import store_run, write_volumes

HEADER = ("work", "over", "sizes", "time [s]", "exponent", "memory [MiB]", "exponent")
LIMIT = 1.25  # of an exponent that passes for linear, or n log n, as caches become too small
FITTED = 3  # sizes
MIB = 1 << 20

Values: TypeAlias = np.ndarray[Any, Any]
# Takes a size and an empty folder; returns the number that counts, and the work.
Build: TypeAlias = Callable[[int, Path], tuple[int, Callable[[], Any]]]


def blocky(edge: int, per_axis: int, shift: int = 0, dtype: Any = np.uint32) -> Values:
    """Return a cube of ``per_axis**3`` labels that are boxes, from 1 on."""
    place = (np.arange(edge) + shift) % edge * per_axis // edge
    z, y, x = np.ix_(place, place, place)
    return ((z * per_axis + y) * per_axis + x + 1).astype(dtype)


def noise(edge: int, dtype: Any = np.uint8) -> Values:
    return np.random.default_rng(0).integers(0, 256, (edge,) * 3, dtype=np.uint8).astype(dtype)


def in_volume(work: Callable[[Values], Any], edge: int, _: Path, spacing: int = 16) -> tuple[int, Callable[[], Any]]:
    """Work on labels whose size stays the same."""
    labels = blocky(edge, max(1, edge // spacing))
    return labels.size, lambda: work(labels)


def by_labels(work: Callable[[Values], Any], per_axis: int, _: Path, edge: int = 256) -> tuple[int, Callable[[], Any]]:
    """Work on a volume whose size stays the same."""
    labels = blocky(edge, per_axis)
    return per_axis**3, lambda: work(labels)


def with_itself_shifted(work: Callable[[Values, Values], Any], labels: Values) -> Any:
    return work(labels, np.roll(labels, 3, axis=0))


def affinities(labels: Values) -> Any:
    predictor = AffinitiesPredictor([Coordinate(offset) for offset in DIRECT + LONG_RANGE], lsds=False)
    gt, mask = in_memory(labels), in_memory(np.ones(labels.shape, dtype=np.uint8))
    return predictor.create_weight(gt, predictor.create_target(gt), mask)


def descriptors(labels: Values) -> Any:
    return local_shape_descriptors(labels, (80,) * 3, VOXEL_SIZE)


def evaluator(edge: int, folder: Path) -> tuple[int, Callable[[], Any]]:
    labels = blocky(edge, edge // 16).astype(np.uint8) % 2
    truth = ZarrArray.open_from_array_identifier(on_disk(folder, "truth", labels), mode="r")
    output = on_disk(folder, "test", np.roll(labels, 3, axis=0))
    return labels.size, lambda: BinarySegmentationEvaluator(200, 16, None).evaluate(output, truth)


def absorbing(edge: int, per_axis: int) -> Callable[[], Any]:
    """Absorb a part of each label, a quarter of it."""
    quarter = np.arange(edge) * per_axis * 4 // edge % 4 == 0
    labels = blocky(edge, per_axis) * 2 - quarter
    return lambda: absorb_small(labels, (edge // per_axis) ** 3 // 2)


def separating(edge: int, per_axis: int) -> Callable[[], Any]:
    """Find labels again by a mutex watershed of their noisy affinities."""
    labels, offsets, rng = blocky(edge, per_axis), DIRECT + LONG_RANGE, np.random.default_rng(0)
    same = np.stack([labels == np.roll(labels, [-o for o in offset], (0, 1, 2)) for offset in offsets])
    values = (0.2 + 0.6 * same + rng.normal(0, 0.05, same.shape)).clip(0, 1).astype(np.float32)
    return lambda: mutex_watershed(values, offsets, 0.5)


def post_process(processor: Any, parameters: Any, channels: int, edge: int, folder: Path) -> Any:
    values = noise(edge) if channels == 1 else np.stack([np.roll(noise(edge), c, axis=0) for c in range(channels)])
    processor.set_prediction(on_disk(folder, "prediction", values, min(edge, 64)))
    output = LocalArrayIdentifier(folder / "data.zarr", "output")
    return edge**3, lambda: processor.process(parameters, output, num_workers=1)


def stored_run(folder: Path, edge: int, task: str = "distance") -> Run:
    """Return a run whose network has no weights, and one validation dataset."""
    write_volumes(folder, edge)
    name = store_run(folder, task, edge=62)
    run = Run(create_config_store().retrieve_run_config(name), load_starter_model=False)
    create_weights_store().load_weights(run, 1)
    return run


def prediction(edge: int, folder: Path) -> tuple[int, Callable[[], Any]]:
    run = stored_run(folder, edge)
    raw = (run.datasplit.validate or [])[0].raw
    return edge**3, lambda: predict_array(run, raw, LocalArrayIdentifier(folder / "data.zarr", "prediction"))


def validating(run: Run) -> Callable[[], Any]:
    """Return what validates the next iteration."""
    iterations = itertools.count(run.validation_scores.validated_until() + 1)

    def work() -> Any:
        iteration = next(iterations)
        create_weights_store().store_weights(run, iteration)
        return validate_run(run, iteration)

    return work


def use_thresholds(run: Run, count: int) -> None:
    thresholds = [ThresholdPostProcessorParameters(i, 255 * (i + 1) / (count + 1)) for i in range(count)]
    run.task.post_processor.parameters = thresholds
    run.validation_scores.parameters = thresholds


def validation(edge: int, folder: Path) -> tuple[int, Callable[[], Any]]:
    run = stored_run(folder, edge)
    use_thresholds(run, 1)
    return edge**3, validating(run)


def datasets(count: int, folder: Path) -> tuple[int, Callable[[], Any]]:
    run = stored_run(folder, 64)
    (first,) = run.config.datasplit_config.validate_configs
    copies = [attrs.evolve(first, name=f"cells_{index}") for index in range(count)]
    run.config.datasplit_config = TrainValidateDataSplitConfig("split", train_configs=[first], validate_configs=copies)
    run = Run(run.config)
    use_thresholds(run, 1)
    return count, validating(run)


def parameters(count: int, folder: Path) -> tuple[int, Callable[[], Any]]:
    run = stored_run(folder, 64)
    use_thresholds(run, count)
    return count, validating(run)


def validated_before(count: int, folder: Path) -> tuple[int, Callable[[], Any]]:
    """Validate after many validations."""
    run = stored_run(folder, 64)
    use_thresholds(run, 1)
    names, criteria = [d.name for d in run.datasplit.validate or []], len(run.validation_scores.criteria)
    run.validation_scores.scores = [
        ValidationIterationScores(i, [[[0.5] * criteria]], datasets=names) for i in range(1, count + 1)
    ]
    create_stats_store().store_validation_iteration_scores(run.name, run.validation_scores)
    return count, validating(run)


def entries(first: int, count: int) -> list[TrainingIterationStats]:
    return [TrainingIterationStats(i, 0.3 + 1 / (i + 1), 0.1 + i * 1e-7) for i in range(first, first + count)]


def save(count: int, folder: Path) -> tuple[int, Callable[[], Any]]:
    store, stats = FileStatsStore(folder), TrainingStats(entries(0, count))
    store.store_training_stats("run", stats)

    def work() -> None:
        stats.iteration_stats.extend(entries(stats.trained_until(), 100))
        store.store_training_stats("run", stats)

    return count, work


def read(count: int, folder: Path) -> tuple[int, Callable[[], Any]]:
    store = FileStatsStore(folder)
    store.store_training_stats("run", TrainingStats(entries(0, count)))
    return count, lambda: store.retrieve_training_stats("run")


def iterations(count: int, folder: Path) -> tuple[int, Callable[[], Any]]:
    """Train a dummy, whose iterations take as long as what is around them, and save every hundred of them."""
    Options.instance(runs_base_dir=folder / "runs")
    numbers = itertools.count()

    def work() -> None:
        config = RunConfig(
            name=f"dummy_{next(numbers)}",
            task_config=DummyTaskConfig(name="task", embedding_dims=3, detection_threshold=0.4),
            architecture_config=DummyArchitectureConfig(name="network", num_in_channels=1, num_out_channels=2),
            trainer_config=DummyTrainerConfig(name="none", batch_size=2, learning_rate=1e-3, mirror_augment=True),
            datasplit_config=DummyDataSplitConfig(name="none"),
            repetition=0,
            num_iterations=count,
            validation_interval=100,
        )
        train_run(Run(config))

    return count, work


def batches(samples: int, folder: Path, per_dataset: int | None = None) -> tuple[int, Callable[[], Any]]:
    """Make augmented batches of two samples, from one dataset or from as many as there are batches."""
    run = make_run(AFFINITIES, AUGMENTS, 28)
    dataset, _, _ = write_dataset(folder, 48)
    config = dataset.config
    sources = [type(dataset)(attrs.evolve(config, name=f"d{i}")) for i in range(samples if per_dataset else 1)]

    def work() -> None:
        run.trainer.build_batch_provider(sources, run.model, run.task)
        with run.trainer:
            for _ in itertools.islice(iter(run.trainer), per_dataset or samples):  # type: ignore[call-overload]
                pass

    return samples, work


@attrs.frozen
class Series:
    """A piece of work at several sizes.

    Attributes:
        over: What grows.
        sizes: What ``build`` takes, ascending.
        build: Makes the input of a size, and the work to measure.
        power: Of the size that the number which counts grows with.
    """

    over: str
    sizes: Sequence[int]
    build: Build
    power: int = 1


EDGES = (32, 64, 128, 256, 512)
PER_AXIS = (2, 5, 10, 22, 46, 100)
COUNTS = (1, 4, 16, 64)
MANY = (100, 1000, 10_000, 100_000, 1_000_000)
THRESHOLD = partial(post_process, ThresholdPostProcessor(), ThresholdPostProcessorParameters(0, 127.0), 1)
ARGMAX = partial(post_process, ArgmaxPostProcessor(), ArgmaxPostProcessorParameters(0), 4)
ONE_HOT = OneHotPredictor([str(index) for index in range(6)])


def one_hot(labels: Values) -> Any:
    return ONE_HOT.create_target(in_memory((labels % 6).astype(np.uint8))).data


SERIES: dict[str, Series] = {
    "affinities, target and weight": Series("voxels", EDGES, partial(in_volume, affinities), 3),
    "affinities, 256^3": Series("labels", PER_AXIS, partial(by_labels, affinities)),
    "balance weights": Series(
        "voxels", EDGES, partial(in_volume, lambda v: balance_weights((v % 2).astype("u1"), 2)), 3
    ),
    "one-hot": Series("voxels", EDGES, partial(in_volume, one_hot), 3),
    "signed distance": Series("voxels", EDGES, partial(in_volume, lambda v: signed_distance(v, VOXEL_SIZE)), 3),
    "LSDs": Series("voxels", EDGES, partial(in_volume, descriptors), 3),
    "LSDs, 256^3": Series("labels", PER_AXIS, partial(by_labels, descriptors)),
    "mutex watershed": Series(
        "voxels", (32, 64, 128, 192, 256), lambda edge, _: (edge**3, separating(edge, edge // 16)), 3
    ),
    "mutex watershed, 128^3": Series("labels", PER_AXIS, lambda n, _: (n**3, separating(128, n))),
    "absorb small": Series("voxels", EDGES, lambda edge, _: (edge**3, absorbing(edge, edge // 16)), 3),
    "absorb small, 256^3": Series("labels", PER_AXIS[:-1], lambda n, _: (2 * n**3, absorbing(256, n))),
    "contingency": Series("voxels", EDGES, partial(in_volume, partial(with_itself_shifted, contingency)), 3),
    "VOI": Series("voxels", EDGES, partial(in_volume, partial(with_itself_shifted, voi)), 3),
    "VOI, 256^3": Series("labels", PER_AXIS, partial(by_labels, partial(with_itself_shifted, voi))),
    "binary evaluator": Series("voxels", EDGES, evaluator, 3),
    "threshold": Series("voxels", EDGES, THRESHOLD, 3),
    "argmax of 4 channels": Series("voxels", EDGES, ARGMAX, 3),
    "blockwise prediction": Series("voxels", EDGES[1:], prediction, 3),
    "validation": Series("voxels", EDGES[1:], validation, 3),
    "validation, 64^3": Series("datasets", COUNTS, datasets),
    "validation of one dataset": Series("parameters", COUNTS, parameters),
    "validation after others": Series("validations", (10, 100, 1000, 10_000), validated_before),
    "batches": Series("batches", (4, 16, 64), batches),
    "four batches": Series("datasets", (4, 16, 64, 256), partial(batches, per_dataset=4)),
    "training": Series("iterations", (100, 300, 1000, 3000), iterations),
    "save 100 iterations": Series("iterations", MANY, save),
    "read iterations": Series("iterations", MANY, read),
}


@attrs.frozen
class Measurement:
    """What one size took: the number that counts, seconds of the processor, bytes."""

    count: int
    seconds: float
    peak: int


def measure_here(name: str, size: int) -> Measurement:
    """Measure one size in this process."""
    series = SERIES[name]
    allocate_alike()
    with tempfile.TemporaryDirectory() as folder:
        for each in ("warm_up", "measured"):
            (Path(folder) / each).mkdir()
        Options.instance(
            runs_base_dir=Path(folder) / "runs", compute_context={"type": "LocalTorch", "config": {"_device": "cpu"}}
        )
        series.build(series.sizes[0], Path(folder) / "warm_up")[1]()
        Options.reset()
        count, work = series.build(size, Path(folder) / "measured")
        seconds, peaks = [], []
        until = time.perf_counter() + 2
        while not seconds or (len(seconds) < 5 and time.perf_counter() < until):
            before, began = forget_peak(), cpu_seconds()
            result = work()
            seconds.append(cpu_seconds() - began)
            peaks.append(max(0, status("VmHWM") - before))
            del result
    return Measurement(count, min(seconds), max(peaks))


def cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def allocate_alike() -> None:
    """Let the allocator ask the system for every array of 64 KiB or more, and give it back."""
    mmap_threshold = -3
    ctypes.CDLL(None).mallopt(mmap_threshold, 1 << 16)


def forget_peak() -> int:
    """Let the kernel begin anew with the peak of memory, and return what is held now."""
    # Else what was freed before, by the process that this one is a copy of too, would be used first, and not count.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(name: str) -> int:
    """Return a line of this process's status, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def measure(name: str, size: int) -> Measurement:
    """Measure one size in a process of its own, a copy of this one, which has imported everything."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(measure_here, name, size).result()


def fits(series: Series, done: list[Measurement], size: int, most_seconds: float) -> bool:
    """Tell whether a size, going by the one before, takes neither too long nor too much memory with its input."""
    if not done:
        return True
    times = (size / series.sizes[len(done) - 1]) ** series.power
    return done[-1].seconds * times <= most_seconds and 2 * done[-1].peak * times <= (available_memory() or 1 << 40)


def exponent(counts: Sequence[float], values: Sequence[float], least: float) -> float | None:
    """Return the slope through the last points that are not too small to measure, None if there are fewer than two."""
    points = [(n, v) for n, v in zip(counts, values, strict=True) if v >= least][-FITTED:]
    if len(points) < 2:
        return None
    n, v = np.log(points).T
    return float(np.polyfit(n, v, 1)[0])


def row(name: str, series: Series, done: list[Measurement]) -> tuple[list[str], float]:
    """Return a row of the table, and the larger one of its exponents."""
    counts = [m.count for m in done]
    time_grows = exponent(counts, [m.seconds for m in done], 1e-4)
    memory_grows = exponent(counts, [m.peak for m in done], 4 * MIB)
    shown = [f"{e:.2f}" if e is not None else "-" for e in (time_grows, memory_grows)]
    sizes = f"{counts[0]:.1e} to {counts[-1]:.1e}"
    seconds, peak = (
        f"{done[0].seconds:.2g} to {done[-1].seconds:.2g}",
        f"{done[0].peak / MIB:.0f} to {done[-1].peak / MIB:.0f}",
    )
    return [name, series.over, sizes, seconds, shown[0], peak, shown[1]], max(time_grows or 0, memory_grows or 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments name; return 1 if something grows faster than linearly."""
    parser = argparse.ArgumentParser(prog="benchmarks.growth", description="Measure how time and memory grow.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="part of the name of some work; all without")
    parser.add_argument("--quick", action="store_true", help="the two smallest sizes only, so exponents mean nothing")
    parser.add_argument("--seconds", type=float, default=60, help="longest that one call is to take (default: 60)")
    options = parser.parse_args(arguments)
    chosen = [name for name in SERIES if not options.names or any(n.lower() in name.lower() for n in options.names)]
    if not chosen:
        parser.error(f"no work has such a name; there is: {'; '.join(SERIES)}")
    rows, notes, too_fast = [], [], []
    for name in progress(chosen, desc="growth", unit="series"):
        series, done = SERIES[name], []
        for size in series.sizes[: 2 if options.quick else None]:
            if not fits(series, done, size, options.seconds):
                notes.append(f"{name}: left out from size {size} on")
                break
            done.append(measure(name, size))
        cells, largest = row(name, series, done)
        rows.append(cells)
        if largest > LIMIT and not options.quick:
            too_fast.append(f"{name} grows faster than linearly with {series.over}")
    print("\n".join([*machine(), "", text_table(HEADER, rows), *notes, *too_fast]))
    return 1 if too_fast else 0


if __name__ == "__main__":
    sys.exit(main())
