"""Work in blocks as volumes grow, beside one plain loop over the same blocks in one process.

    python -m benchmarks.scaling                      # 128^3, 256^3 and 512^3, some twenty minutes
    python -m benchmarks.scaling --blocks 1000000     # also schedules a million empty blocks
    python -m benchmarks.scaling --quick              # small, to see that all works

Every measurement is a process with a peak of memory of its own; times are of the work, without imports.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
import zarr
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise import segment_blockwise
from dacapo.blockwise.scheduling.run_operation import run_operation
from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import IntensitiesArrayConfig, ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import AffinitiesTaskConfig
from dacapo.experiments.trainers import GunpowderTrainerConfig
from dacapo.options import Options
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.utils.text_table import text_table

from .data import DIRECT, VOXEL_SIZE
from .floors import boxes, read_with_context
from .handing_out import Nothing
from .harness import machine

CONTEXT = 8
SEGMENT = """
import cc3d

def segment_function(input_array, roi, **kwargs):
    values = input_array.read_padded(roi) if hasattr(input_array, "read_padded") else input_array[roi]
    return cc3d.connected_components(values > 128, connectivity=6, out_dtype="uint64")
"""


@attrs.frozen
class Setting:
    """One measurement.

    Attributes:
        work: What is done: ``predict``, ``segment`` or ``empty``.
        how: ``loop``, a half of it (``loop0`` or ``loop1``), or the number of workers.
        size: Length of the volume's edge, or the number of empty blocks.
        block: Length of a block's edge.
        folder: Where the volume is, and results go.
    """

    work: str
    how: str
    size: int
    block: int
    folder: str

    @property
    def num_workers(self) -> int:
        return int(self.how)

    def boxes(self) -> list[tuple[slice, ...]]:
        """Return what blocks a loop does."""
        everything = list(boxes((self.size,) * 3, (self.block,) * 3))
        half = self.how.removeprefix("loop")
        return everything[int(half) :: 2] if half else everything

    @property
    def input(self) -> LocalArrayIdentifier:
        return LocalArrayIdentifier(Path(self.folder) / f"raw{self.size}.zarr", "raw")

    @property
    def output(self) -> LocalArrayIdentifier:
        return LocalArrayIdentifier(Path(self.folder) / f"{self.work}_{self.how}_{self.size}.zarr", "result")


def create_raw(setting: Setting) -> None:
    """Write a volume of noisy spheres, slab by slab."""
    if setting.input.container.exists():
        return
    group = zarr.open_group(zarr.DirectoryStore(str(setting.input.container)), mode="w")
    shape = (setting.size,) * 3
    array = group.create_dataset("raw", shape=shape, chunks=(setting.block,) * 3, dtype="uint8")
    array.attrs.update(
        {"offset": [0, 0, 0], "resolution": list(VOXEL_SIZE), "axes": ["z", "y", "x"], "units": ["nm"] * 3}
    )
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(setting.size) / 5)
    for begin in range(0, setting.size, setting.block):
        z = waves[begin : begin + setting.block, None, None]
        slab = 128 + 60 * (z + waves[:, None] + waves)
        slab += rng.integers(-4, 5, slab.shape)
        array[begin : begin + setting.block] = slab.clip(0, 255).astype(np.uint8)


def run_config(setting: Setting) -> RunConfig:
    """Describe a run with the network of :mod:`benchmarks.training`, whose blocks are ``setting.block`` wide."""
    stored = ZarrArrayConfig(name="raw", file_name=setting.input.container, dataset="raw")
    dataset = RawGTDatasetConfig(
        name="volume",
        raw_config=IntensitiesArrayConfig(name="scaled", source_array_config=stored, min=0.0, max=255.0),
        gt_config=ZarrArrayConfig(name="gt", file_name=setting.input.container, dataset="raw"),
    )
    return RunConfig(
        name=f"scaling_{setting.size}",
        repetition=0,
        num_iterations=1,
        validation_interval=1,
        task_config=AffinitiesTaskConfig(name="affinities", neighborhood=[Coordinate(offset) for offset in DIRECT]),
        architecture_config=CNNectomeUNetConfig(
            name="unet",
            input_shape=Coordinate((28,) * 3),
            eval_shape_increase=Coordinate((setting.block + 16 - 28,) * 3),
            fmaps_in=1,
            fmaps_out=8,
            num_fmaps=8,
            fmap_inc_factor=2,
            downsample_factors=[Coordinate((2, 2, 2))],
        ),
        trainer_config=GunpowderTrainerConfig(name="trainer", batch_size=1, learning_rate=1e-4),
        datasplit_config=TrainValidateDataSplitConfig(
            name="volume", train_configs=[dataset], validate_configs=[dataset]
        ),
    )


def plain_array(setting: Setting, name: str, channels: tuple[int, ...], dtype: str) -> Any:
    """Create the array that a plain loop writes, one chunk for each block."""
    shape, chunks = (*channels, *[setting.size] * 3), (*channels, *[setting.block] * 3)
    return zarr.open_group(zarr.DirectoryStore(str(setting.output.container)), mode="w").create_dataset(
        name, shape=shape, chunks=chunks, dtype=dtype
    )


def predict_here(setting: Setting) -> Callable[[], None]:
    run = Run(run_config(setting), load_starter_model=False)
    if not setting.how.startswith("loop"):
        config_store, weights_store = create_config_store(), create_weights_store()
        if run.name not in config_store.retrieve_run_config_names():
            config_store.store_run_config(run.config)
            weights_store.store_weights(run, 1)
        return lambda: _predict(setting, run.name)

    def loop() -> None:
        source = zarr.open(str(setting.input.container), mode="r")["raw"]
        target = plain_array(setting, "result", (3,), "uint8")
        run.model.eval()
        with torch.inference_mode():
            for box in setting.boxes():
                values = read_with_context(source, box, CONTEXT).astype(np.float32) / 255
                predicted = run.model(torch.from_numpy(values)[None, None])[0].numpy()
                target[(slice(None), *box)] = np.rint(predicted * 255).astype(np.uint8)

    return loop


def _predict(setting: Setting, name: str) -> None:
    predict(name, 1, setting.input.container, "raw", setting.output, num_workers=setting.num_workers)


def segment_here(setting: Setting) -> Callable[[], None]:
    file = Path(setting.folder) / "segment.py"
    file.write_text(SEGMENT)
    if setting.how.startswith("loop"):
        return lambda: _segment_plainly(setting)
    block = Roi((0, 0, 0), Coordinate((setting.block,) * 3) * VOXEL_SIZE)
    total = Roi((0, 0, 0), Coordinate((setting.size,) * 3) * VOXEL_SIZE)
    return lambda: _segment(setting, file, total, block)


def _segment(setting: Setting, file: Path, total: Roi, block: Roi) -> None:
    segment_blockwise(
        file,
        list(VOXEL_SIZE * CONTEXT),
        total,
        block,
        block,
        setting.num_workers,
        input_container=setting.input.container,
        input_dataset="raw",
        output_container=setting.output.container,
        output_dataset="result",
    )


def _segment_plainly(setting: Setting) -> None:
    """Segment every block with its context, and write; nothing is joined across blocks."""
    import cc3d

    source = zarr.open(str(setting.input.container), mode="r")["raw"]
    target = plain_array(setting, "result", (), "uint64")
    inner = (slice(CONTEXT, -CONTEXT),) * 3
    for box in setting.boxes():
        values = read_with_context(source, box, CONTEXT)
        target[box] = cc3d.connected_components(values > 128, connectivity=6, out_dtype="uint64")[inner]


def empty_here(setting: Setting) -> Callable[[], None]:
    total, block = Roi((0, 0, 0), (setting.size, 1, 1)), Roi((0, 0, 0), (1, 1, 1))
    if setting.how == "daisy":
        import daisy.v2 as daisy
        from daisy import logging as daisy_logging

        daisy_logging.set_log_basedir(Path(setting.folder) / "logs")
        task = daisy.Task("empty", total, block, block, lambda block: None, read_write_conflict=False)
        return lambda: _checked(daisy.run_blockwise(task, multiprocessing=False, progress=False, summary=False))
    operation = Nothing(output=setting.output, region=total, block_shape=block.shape)
    return lambda: run_operation(operation, setting.num_workers)


def _checked(done: Any) -> None:
    if not done:
        raise RuntimeError("not all blocks were done")


WORKS: dict[str, Callable[[Setting], Callable[[], None]]] = {
    "predict": predict_here,
    "segment": segment_here,
    "empty": empty_here,
}


def measure_here(setting: Setting) -> dict[str, float]:
    """Do the work in this process; return its seconds, those of processors, and the peaks of memory, in GB."""
    torch.set_num_threads(1)
    Options.instance(
        runs_base_dir=Path(setting.folder) / "runs",
        compute_context={
            "type": "LocalTorch",
            "config": {"_device": "cpu", "distribute_workers": setting.how.isdigit() and setting.num_workers > 1},
        },
    )
    work = WORKS[setting.work](setting)
    before, started = sum(os.times()[:4]), time.perf_counter()
    work()
    seconds, processor = time.perf_counter() - started, sum(os.times()[:4]) - before
    own, workers = (
        resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {"seconds": seconds, "processor": processor, "self": own, "worker": workers}


def measure(*settings: Setting) -> dict[str, float]:
    """Do the work of each setting in a process of its own, all at the same time; return what took most."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    for setting in settings:
        if setting.work != "empty":
            create_raw(setting)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scaling", "--measure", json.dumps(attrs.asdict(setting))],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for setting in settings
    ]
    printed = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"{settings} failed; the reason is above")
    results: list[dict[str, float]] = [json.loads(text.splitlines()[-1]) for text in printed]
    most = {name: max(result[name] for result in results) for name in results[0]}
    return {**most, "processor": sum(result["processor"] for result in results)}


def fitted(blocks: list[int], seconds: list[float]) -> tuple[float, float]:
    """Return the start-up time and the time per block of a straight line through measurements."""
    per_block, start = np.polyfit(blocks, seconds, 1)
    return float(start), float(per_block)


# Edges of volumes whose times are computed, not measured.
LARGER = (1024, 2048, 4096)
# The loop is also done in two halves at the same time, because two processes slow each other down, whatever they do.
WAYS = {"loop": ("loop",), "2 loops": ("loop0", "loop1"), "1 worker": ("1",), "2 workers": ("2",)}


def volumes(work: str, sizes: list[int], block: int, folder: Path) -> str:
    """Measure some work on volumes of several sizes, and return a table."""
    rows, times, spent = [], dict[str, list[float]](), dict[str, list[float]]()
    for size in sizes:
        for name, hows in WAYS.items():
            result = measure(*(Setting(work, how, size, block, str(folder)) for how in hows))
            times.setdefault(name, []).append(result["seconds"])
            spent.setdefault(name, []).append(result["processor"])
            efficiency = times["loop"][-1] / result["seconds"] / (2 if name.startswith("2") else 1)
            rate = size**3 / result["seconds"] / 1e6
            numbers = [f"{result['seconds']:.1f}", f"{result['processor']:.1f}", f"{rate:.2f}", f"{efficiency:.2f}"]
            rows.append([f"{work}, {size}^3", name, *numbers, f"{result['self']:.2f}", f"{result['worker']:.2f}"])
    header = (
        "work",
        "by",
        "seconds",
        "of processors",
        "Mvoxel/s",
        "efficiency",
        "peak [GB]",
        "of a worker [GB]",
    )
    lines = [text_table(header, rows)]
    if len(sizes) > 1:
        counts = [-((-size // block) ** 3) for size in sizes]
        for unit, seconds in (("seconds", times), ("seconds of processors", spent)):
            for name in seconds:
                plain = "2 loops" if name.startswith("2") else "loop"
                start, each = fitted(counts, seconds[name])
                share = each / fitted(counts, seconds[plain])[1]
                line = f"{start:.1f} + {each * 1e3:.1f} / 1000 per block, {share:.3f} of {plain}"
                lines.append(f"{work}, {name}, {unit}: {line}")
        lines += ["", on_paper(work, counts, times, block)]
    return "\n".join(lines)


def on_paper(work: str, counts: list[int], times: dict[str, list[float]], block: int) -> str:
    """Return a table of what larger volumes would take by straight lines through what was measured."""
    rows = []
    for size in LARGER:
        blocks = -((-size // block) ** 3)
        for name, seconds in times.items():
            start, each = fitted(counts, seconds)
            hours = (start + each * blocks) / 3600
            rows.append([f"{work}, {size}^3", str(blocks), name, f"{hours:.2f}", f"{size**3 / hours / 3.6e9:.2f}"])
    return text_table(("on paper", "blocks", "by", "hours", "Mvoxel/s"), rows)


def empty(counts: list[int], folder: Path) -> str:
    """Schedule blocks that do nothing, with Daisy alone and with the package, and return a table."""
    rows = []
    for count in counts:
        for how in ("daisy", "1", "2"):
            result = measure(Setting("empty", how, count, 1, str(folder)))
            each = f"{result['seconds'] / count * 1e3:.3f}"
            rows.append([str(count), how, f"{result['seconds']:.1f}", each, f"{result['self']:.2f}"])
    return text_table(("empty blocks", "workers", "seconds", "ms per block", "peak [GB]"), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--blocks", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", choices=sorted(WORKS), help="one kind of work")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure_here(Setting(**json.loads(arguments.measure)))))
        return
    sizes, block, counts = ([32, 48], 16, [20, 40]) if arguments.quick else (arguments.sizes, 64, arguments.blocks)
    print("\n".join(machine()), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="scaling_") as folder:
        for work in ("predict", "segment"):
            if arguments.only in (None, work):
                print(volumes(work, sizes, block, Path(folder)), end="\n\n", flush=True)
        if arguments.only in (None, "empty"):
            print(empty(counts, Path(folder)))


if __name__ == "__main__":
    main()
