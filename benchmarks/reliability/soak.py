"""Train, resume, validate and apply small runs in one process, over and over, and see what grows.

    python -m benchmarks.reliability.soak --minutes 60        an hour
    python -m benchmarks.reliability.soak --loops 40          a number of loops

Each loop stores a new run, trains the first half of it, resumes it from its checkpoint, validates it once more and
applies it to the volume, with another trainer, number of data fetchers and network each time. After a loop the
memory, open files, threads and children of the process are counted. The first third of the loops is the warm-up:
libraries compile and fill caches of limited size. The slope is that of a line through the rest.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dacapo.apply import apply
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.trainers import GunpowderTrainerConfig, TorchTrainerConfig
from dacapo.options import Options
from dacapo.store.create_store import create_config_store
from dacapo.train import train
from dacapo.utils.text_table import text_table
from dacapo.validate import validate
from tests.helpers.runs import affinities_run_config, unet_config

MIB = 1 << 20
TRAINERS = [(kind, fetchers) for kind in (GunpowderTrainerConfig, TorchTrainerConfig) for fetchers in (1, 2)]
COUNTED = ("anonymous [MiB]", "open files", "threads", "children", "shared memory")
WARM_UP = 1 / 3


def sample() -> list[float]:
    """Return what this process holds: memory, open files, threads, children, and segments of shared memory."""
    gc.collect()
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    anonymous = next(int(line.split()[1]) for line in rollup if line.startswith("Anonymous:"))
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [
        anonymous / 1024,
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
        len(children),
        len(list(Path("/dev/shm").glob("*"))),
    ]


def one_loop(folder: Path, number: int, dims: int) -> None:
    """Train half of a run, resume it, validate it, and apply it."""
    kind, fetchers = TRAINERS[number % len(TRAINERS)]
    trainer = kind(f"trainer_{number}", 1, 1e-3, num_data_fetchers=fetchers)
    name, store = f"run_{number}", create_config_store()
    shape = (28 + 2 * (number % 6),) * dims
    config: RunConfig = affinities_run_config(
        folder,
        name,
        dims,
        num_iterations=4,
        validation_interval=4,
        trainer_config=trainer,
        architecture_config=unet_config(dims, input_shape=shape, num_fmaps=2 + number % 7),
    )
    config.num_iterations = 2
    store.store_run_config(config)
    train(name, check=False)
    config.num_iterations = 4
    store.delete_run_config(name)
    store.store_run_config(config)
    train(name, check=False)
    validate(name, 4, num_workers=1)
    apply(name, folder / "validate.zarr", "raw", folder / "out.zarr", iteration=4, num_workers=1)
    shutil.rmtree(folder / "out.zarr")
    shutil.rmtree(folder / "runs")


def slope(values: Sequence[float]) -> float:
    """Return how much values grow from one to the next, by a line through those after the warm-up."""
    late = values[int(len(values) * WARM_UP) :]
    return float(np.polyfit(range(len(late)), late, 1)[0]) if len(late) > 1 else 0.0


def rows(samples: Sequence[Sequence[float]]) -> list[list[str]]:
    """Return a row for each thing that was counted."""
    columns = zip(*samples, strict=True)
    warm = int(len(samples) * WARM_UP)
    return [
        [
            name,
            *(f"{value:.0f}" for value in (values[0], values[warm], values[-1], max(values))),
            f"{slope(values):.3f}",
        ]
        for name, values in zip(COUNTED, columns, strict=True)
    ]


def soak(loops: int | None, minutes: float | None, dims: int, log: Path | None = None) -> list[list[float]]:
    """Run loops until their number or the time is reached, and return the samples."""
    samples: list[list[float]] = []
    end = None if minutes is None else time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="soak_") as temporary:
        folder = Path(temporary)
        Options.instance(runs_base_dir=folder / "runs")
        while (loops is None or len(samples) < loops) and (end is None or time.monotonic() < end):
            one_loop(folder, len(samples), dims)
            samples.append(sample())
            if log is not None:
                with log.open("a") as file:
                    file.write(json.dumps([round(time.monotonic(), 1), *samples[-1]]) + "\n")
    return samples


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the loops and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", type=int, help="number of loops")
    parser.add_argument("--minutes", type=float, help="time after which no loop begins")
    parser.add_argument("--dims", type=int, default=3, choices=(2, 3), help="dimensions of the volume")
    parser.add_argument("--log", type=Path, help="file for the sample of each loop, as JSON lines")
    chosen: Any = parser.parse_args(arguments)
    loops = 40 if chosen.loops is None and chosen.minutes is None else chosen.loops
    started = time.monotonic()
    samples = soak(loops, chosen.minutes, chosen.dims, chosen.log)
    print(text_table(("", "first loop", "after warm-up", "last loop", "most", "growth per loop"), rows(samples)))
    print(f"{len(samples)} loops in {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
