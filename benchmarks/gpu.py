"""Training on a GPU with batches from disk, beside the same network on a batch that is already there.

    python -m benchmarks.gpu                            # a network of 24 million parameters, patches of 192^3
    python -m benchmarks.gpu --edge 128 --no-compile
    python -m benchmarks.gpu --device cpu --quick       # small, to see that all works

For each precision, layout and with and without ``torch.compile``, a ``TorchTrainer`` with all augmentations trains, and
then a bare loop does: forward, loss, backward and step, over and over on one batch in the memory of the device. The
ratio of their iterations per second is what the package leaves of the device's speed; the goal is 0.95. The column of
batches is how many the trainer makes when nobody trains. Utilization is what ``nvidia-smi`` reports meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from funlib.geometry import Coordinate

from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.datasplits import DummyDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDataset, RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import IntensitiesArrayConfig, ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.utils.progress import progress
from dacapo.utils.text_table import text_table

from .arrays import on_disk
from .batches import AFFINITIES, AUGMENTS
from .data import image
from .growth import blocky
from .harness import machine

HEADER = (
    "precision",
    "compile",
    "channels last",
    "iteration [ms]",
    "bare [ms]",
    "ratio",
    "batches/s",
    "GPU busy",
    "memory",
)
GOAL = 0.95
CELL = 24  # voxels


@attrs.frozen
class Variant:
    """One way to compute.

    Attributes:
        precision: ``fp32``, ``tf32`` (float32 with shorter factors in products) or ``bf16`` (mixed).
        compiled: Whether to use ``torch.compile``.
        channels_last: Whether the channels of a voxel are next to each other in memory; always with ``bf16``.
    """

    precision: str
    compiled: bool
    channels_last: bool


@attrs.frozen
class Size:
    """How much work there is."""

    edge: int
    features: int
    factor: int
    levels: int
    fetchers: int
    warm_up: int
    iterations: int


FULL = Size(192, 12, 4, 3, max(1, (os.cpu_count() or 1) - 1), 10, 50)
QUICK = Size(32, 4, 2, 1, 2, 2, 3)


@attrs.frozen
class Result:
    """What was measured: seconds of an iteration and of a bare one, batches per second, percent, bytes."""

    seconds: float
    bare: float
    batches: float
    busy: float | None
    memory: int | None

    def row(self, variant: Variant) -> list[str]:
        yes_no = ["yes" if flag else "no" for flag in (variant.compiled, variant.channels_last)]
        busy = "not measured" if self.busy is None else f"{self.busy:.0f}%"
        memory = "not measured" if self.memory is None else f"{self.memory / (1 << 30):.1f} GB"
        times = [f"{seconds * 1000:.3g}" for seconds in (self.seconds, self.bare)]
        ratio = f"{self.bare / self.seconds:.3f}"
        return [variant.precision, *yes_no, *times, ratio, f"{self.batches:.2f}", busy, memory]


def variants(compiled: Sequence[bool]) -> Iterator[Variant]:
    for precision, compile_it, channels_last in itertools.product(("fp32", "tf32", "bf16"), compiled, (False, True)):
        if channels_last or precision != "bf16":
            yield Variant(precision, compile_it, channels_last)


def write_dataset(folder: Path, edge: int) -> RawGTDataset:
    """Write an image of cells and their labels."""
    labels = blocky(edge, max(2, edge // CELL), dtype=np.uint64)
    places = {"raw": on_disk(folder, "raw", image(labels)), "gt": on_disk(folder, "gt", labels)}
    stored = {
        name: ZarrArrayConfig(name=name, file_name=place.container, dataset=place.dataset)
        for name, place in places.items()
    }
    raw = IntensitiesArrayConfig(name="scaled", source_array_config=stored["raw"], min=0.0, max=255.0)
    return RawGTDataset(RawGTDatasetConfig(name="cells", raw_config=raw, gt_config=stored["gt"]))


def make_run(size: Size, variant: Variant) -> Run:
    """Return a run that is the same for all variants but for how it computes."""
    return Run(
        RunConfig(
            name="gpu",
            repetition=0,
            num_iterations=1_000_000,
            validation_interval=1_000_000,
            task_config=AFFINITIES,
            architecture_config=CNNectomeUNetConfig(
                name="unet",
                input_shape=Coordinate((size.edge,) * 3),
                fmaps_in=1,
                fmaps_out=size.features,
                num_fmaps=size.features,
                fmap_inc_factor=size.factor,
                downsample_factors=[Coordinate((2, 2, 2))] * size.levels,
                constant_upsample=True,
                padding="same",
            ),
            trainer_config=TorchTrainerConfig(
                name="trainer",
                batch_size=1,
                learning_rate=1e-4,
                num_data_fetchers=size.fetchers,
                augments=AUGMENTS,
                warmup_iterations=0,
                precision="bfloat16" if variant.precision == "bf16" else "float32",
                compile=variant.compiled,
                channels_last=variant.channels_last,
            ),
            datasplit_config=DummyDataSplitConfig(name="none"),
        )
    )


def measure(size: Size, variant: Variant, dataset: RawGTDataset, device: torch.device) -> Result:
    """Train with the package, then bare."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = variant.precision == "tf32"
    run = make_run(size, variant)
    run.model.to(device).train()
    run.trainer.build_batch_provider([dataset], run.model, run.task)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with run.trainer:

        def train(count: int) -> None:
            for _ in run.trainer.iterate(count, run.model, run.optimizer, device):
                pass

        seconds, busy = timed(train, size, device)
        memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        made = iter(run.trainer)  # type: ignore[call-overload]
        began = time.perf_counter()
        for _ in range(size.iterations):
            batch = next(made)
        wait_for(device)
        batches = size.iterations / (time.perf_counter() - began)
        tensors = [torch.as_tensor(values).to(device) for values in (batch.raw, batch.target, batch.weight)]
    bare, _ = timed(bare_loop(make_run(size, variant), variant, tensors, device), size, device)
    torch.compiler.reset()
    return Result(seconds, bare, batches, busy, memory)


def bare_loop(run: Run, variant: Variant, tensors: list[torch.Tensor], device: torch.device) -> Callable[[int], None]:
    """Return what trains for some iterations on one batch, the plain way."""
    raw, target, weight = tensors
    model: Any = run.model.to(device).train()
    if variant.channels_last:
        model = model.to(memory_format=torch.channels_last_3d)
        raw = raw.contiguous(memory_format=torch.channels_last_3d)
    forward = torch.compile(model) if variant.compiled else model

    def train(count: int) -> None:
        for _ in range(count):
            run.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=variant.precision == "bf16"):
                prediction = forward(raw)
            run.task.loss.compute(prediction.float(), target, weight).backward()  # type: ignore[no-untyped-call]
            run.optimizer.step()

    return train


def timed(train: Callable[[int], None], size: Size, device: torch.device) -> tuple[float, float | None]:
    """Return seconds per iteration after a warm-up, and how busy the GPU was."""
    train(size.warm_up)
    wait_for(device)
    with watched(device) as percents:
        began = time.perf_counter()
        train(size.iterations)
        wait_for(device)
        seconds = (time.perf_counter() - began) / size.iterations
    return seconds, float(np.mean(percents)) if percents else None


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def watched(device: torch.device) -> Iterator[list[float]]:
    """Give a list that holds, at the end, the percentages of time for which the GPU was busy; none if nobody tells."""
    percents: list[float] = []
    tool = shutil.which("nvidia-smi") if device.type == "cuda" else None
    if tool is None:
        yield percents
        return
    which = f"--id=GPU-{torch.cuda.get_device_properties(device).uuid}"
    query = [tool, which, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
    with subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield percents
        finally:
            process.terminate()
            output, _ = process.communicate()
            percents += [float(line) for line in output.splitlines() if line.strip().isdigit()]


def describe(size: Size, device: torch.device) -> list[str]:
    """Describe the device and the network."""
    model = make_run(size, Variant("fp32", False, False)).model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return [
        *machine(),
        f"device      {name}",
        f"network     {parameters / 1e6:.1f} million parameters, input {tuple(model.input_shape)}, batches of 1",
        f"batches     made by {size.fetchers} processes, {len(AUGMENTS)} augmentations",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all variants; return 1 if one falls short of the goal, where the device is a GPU."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description="Time training on a GPU beside a bare loop.")
    parser.add_argument("--device", help="'cuda', 'cuda:1', 'cpu'; a GPU where there is one (default)")
    parser.add_argument("--quick", action="store_true", help="a small network and few iterations, not compiled")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes minutes")
    parser.add_argument("--edge", type=int, help="edge of a patch in voxels (default: 192)")
    parser.add_argument("--iterations", type=int, help="how many are timed for each variant (default: 50)")
    options = parser.parse_args(arguments)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    chosen = {name: value for name in ("edge", "iterations") if (value := getattr(options, name)) is not None}
    size = attrs.evolve(QUICK if options.quick else FULL, **chosen)
    print("\n".join(describe(size, device)), flush=True)
    rows, missed = [], []
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_dataset(Path(folder), 2 * size.edge)
        each = list(variants([False] if options.quick or options.no_compile else [False, True]))
        for variant in progress(each, desc="gpu", unit="variant"):
            result = measure(size, variant, dataset, device)
            rows.append(result.row(variant))
            if result.bare < GOAL * result.seconds:
                missed.append(variant)
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    print(f"\n{text_table(HEADER, rows)}")
    return 1 if missed and device.type == "cuda" else 0


if __name__ == "__main__":
    sys.exit(main())
