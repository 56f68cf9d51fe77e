"""How much memory a validation takes as the volume grows.

    python -m benchmarks.validation_memory                         # distances, 256^3 to 1024^3
    python -m benchmarks.validation_memory --task affinities --sizes 256 512

Each validation runs in a process of its own: prediction, post-processing with one set of parameters, scores, and
keeping what is best. The peak is the largest sum of the resident memory of that process and of those that it starts,
looked at twenty times a second. The network is a fixed one of three differences between neighbors, as what it takes
does not depend on the volume. Volumes are made chunk by chunk, in a temporary folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.architectures import Architecture, ArchitectureConfig
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import IntensitiesArrayConfig, ZarrArray, ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import AffinitiesTaskConfig, DistanceTaskConfig, OneHotTaskConfig, TaskConfig
from dacapo.experiments.trainers import DummyTrainerConfig
from dacapo.options import Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.utils.blocks import BlockGrid
from dacapo.utils.text_table import text_table
from dacapo.validate import validate_run

from .data import DIRECT, VOXEL_SIZE
from .harness import machine

SIZES = (256, 512, 768, 1024)
CELL = 32
DARK, BRIGHT = 60, 200
MIB = 1 << 20


class Differences(Architecture):
    """Returns the input, and by how much it differs from the next voxel along each axis."""

    def __init__(self, config: DifferencesConfig) -> None:
        super().__init__()
        self.edge = config.edge

    @property
    def input_shape(self) -> Coordinate:
        return Coordinate((self.edge + 2,) * 3)

    num_in_channels = 1
    num_out_channels = 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = [slice(None), slice(None), *[slice(1, -1)] * 3]
        features = [x[tuple(inner)]]
        for axis in (2, 3, 4):
            shifted = list(inner)
            shifted[axis] = slice(2, None)
            features.append((x[tuple(shifted)] - features[0]).abs())
        return torch.cat(features, dim=1)


@attrs.define
class DifferencesConfig(ArchitectureConfig):
    """Config of a network without weights."""

    architecture_type: ClassVar[type[Architecture]] = Differences
    edge: int = attrs.field(default=128)


def task_config(name: str) -> TaskConfig:
    """Return one of three tasks."""
    if name == "affinities":
        return AffinitiesTaskConfig(name=name, neighborhood=[Coordinate(offset) for offset in DIRECT])
    if name == "onehot":
        return OneHotTaskConfig(name=name, classes=["background", "cell"])
    return DistanceTaskConfig(name=name, channels=["cell"], clip_distance=200, tol_distance=16, scale_factor=100)


# Rows of the last, pointwise layer: affinities fall where neighbors differ, classes follow from brightness.
HEADS: dict[str, tuple[list[list[float]], list[float]]] = {
    "affinities": ([[0, *(-40.0 * (axis == a) for a in range(3))] for axis in range(3)], [6.0] * 3),
    "onehot": ([[-20.0, 0, 0, 0], [20.0, 0, 0, 0]], [10.0, -10.0]),
    "distance": ([[20.0, 0, 0, 0]], [-10.0]),
}


def make_block(block: Roi, size: int) -> dict[str, npt.NDArray[Any]]:
    """Return a block of a checkerboard of cells: the image, the true labels, and the true class.

    Some cells are as bright as their neighbors: they are merged, or missed. Far from the others some are bright in the
    image only.
    """
    begin, end = (np.array(corner) // VOXEL_SIZE for corner in (block.begin, block.end))
    places = [np.arange(b, e) // CELL for b, e in zip(begin, end, strict=True)]
    z, y, x = np.meshgrid(*places, indexing="ij", sparse=True)
    cells = -(-size // CELL)
    ids = ((z * cells + y) * cells + x + 1).astype(np.uint64)
    bright, empty = (z + y + x) % 2 == 1, z >= cells * 3 // 4
    seen = np.where(empty, (z == cells * 7 // 8) & (y == 1), bright ^ (ids % 11 == 0))
    return {
        "raw": np.where(seen, BRIGHT, DARK).astype(np.uint8),
        "labels": np.where(empty, np.uint64(0), ids),
        "classes": (bright & ~empty).astype(np.uint8) + np.zeros(ids.shape, np.uint8),
    }


def write_volumes(folder: Path, size: int) -> None:
    """Write the image, labels and classes of a cube, block by block."""
    whole = Roi((0, 0, 0), Coordinate((size,) * 3) * VOXEL_SIZE)
    arrays = {
        dataset: ZarrArray.create_from_array_identifier(
            LocalArrayIdentifier(folder / "data.zarr", dataset), ["z", "y", "x"], whole, None, VOXEL_SIZE, dtype
        )
        for dataset, dtype in (("raw", np.uint8), ("labels", np.uint64), ("classes", np.uint8))
    }
    for block in BlockGrid(whole, Coordinate((128,) * 3) * VOXEL_SIZE):
        for dataset, values in make_block(block, size).items():
            arrays[dataset][block] = values


def store_run(folder: Path, task: str, edge: int = 128) -> str:
    """Store a run that validates on the volumes of a folder, and return its name."""
    Options.instance(runs_base_dir=folder / "runs")
    container = folder / "data.zarr"
    raw = IntensitiesArrayConfig("raw", ZarrArrayConfig("stored", container, "raw"), min=0.0, max=255.0)
    truth = ZarrArrayConfig("truth", container, "labels" if task == "affinities" else "classes")
    data = RawGTDatasetConfig("cells", raw_config=raw, gt_config=truth)
    config = RunConfig(
        task_config=task_config(task),
        architecture_config=DifferencesConfig("differences", edge=edge),
        trainer_config=DummyTrainerConfig("none", batch_size=1, learning_rate=1e-3, mirror_augment=False),
        datasplit_config=TrainValidateDataSplitConfig("split", train_configs=[data], validate_configs=[data]),
        name=f"memory_{task}",
        repetition=0,
        num_iterations=1,
        validation_interval=1,
    )
    create_config_store().store_run_config(config)
    run = Run(config)
    head = next(module for module in run.model.prediction_head.modules() if isinstance(module, torch.nn.Conv3d))
    weight, bias = HEADS[task]
    with torch.no_grad():
        head.weight[:] = torch.tensor(weight)[:, :, None, None, None]
        head.bias[:] = torch.tensor(bias)
    create_weights_store().store_weights(run, 1)
    return config.name


def validate_stored(folder: Path, name: str) -> dict[str, float]:
    """Validate a stored run with one set of parameters, and return its scores."""
    Options.instance(runs_base_dir=folder / "runs")
    run = Run(create_config_store().retrieve_run_config(name), load_starter_model=False)
    create_weights_store().load_weights(run, 1)
    post_processor: Any = run.task.post_processor
    middle = run.task.parameters[len(run.task.parameters) // 2]
    post_processor.enumerate_parameters = lambda: [middle]
    run.validation_scores.parameters = [middle]
    scores = validate_run(run, 1)
    return dict(zip(run.validation_scores.criteria, scores.scores[0][0], strict=True))


def resident(pid: int) -> int:
    """Return the bytes of memory that a process and those below it have, as far as they are still there."""
    try:
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        children = [int(p) for file in Path(f"/proc/{pid}/task").glob("*/children") for p in file.read_text().split()]
    except (OSError, IndexError):
        return 0
    return own + sum(map(resident, children))


@attrs.frozen
class Measurement:
    """One validation: edge of the volume in voxels, peak in bytes, seconds, and the scores."""

    size: int
    peak: int
    seconds: float
    scores: dict[str, float]


def measure(task: str, size: int, where: Path | None) -> Measurement:
    """Validate on a new volume in a new process."""
    with tempfile.TemporaryDirectory(dir=where) as temporary:
        folder = Path(temporary)
        write_volumes(folder, size)
        name = store_run(folder, task)
        command = [sys.executable, "-m", "benchmarks.validation_memory", "--validate", str(folder), name]
        began, peak = time.perf_counter(), 0
        with (
            open(folder / "log", "w+", encoding="utf-8") as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):
            while process.poll() is None:
                peak = max(peak, resident(process.pid))
                time.sleep(0.05)
            seconds = time.perf_counter() - began
            output = process.stdout.read() if process.stdout else ""
            if process.returncode:
                log.seek(0)
                raise SystemExit(log.read())
    return Measurement(size, peak, seconds, json.loads(output.splitlines()[-1]))


def table(measurements: list[Measurement]) -> str:
    """Return measurements as text, each with its growth over the one before."""
    rows = []
    for before, now in itertools.zip_longest([None, *measurements[:-1]], measurements):
        growth = (
            [""] * 2 if before is None else [f"{(now.size / before.size) ** 3:.2f}", f"{now.peak / before.peak:.2f}"]
        )
        rows.append(
            [f"{now.size}^3", f"{now.size**3 / MIB:.0f}", f"{now.peak / MIB:.0f}", *growth, f"{now.seconds:.0f}"]
        )
    header = ("volume", "Mi voxels", "peak [MiB]", "volume x", "peak x", "time [s]")
    return text_table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--task", choices=list(HEADS), default="distance")
    parser.add_argument(
        "--where", type=Path, help="folder for the volumes, by default the system's for temporary files"
    )
    parser.add_argument("--validate", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.validate:
        folder, name = arguments.validate
        print(json.dumps(validate_stored(Path(folder), name)))
        return
    print(*machine(), sep="\n")
    done: list[Measurement] = []
    for size in arguments.sizes:
        done.append(measure(arguments.task, size, arguments.where))
        print(f"\n{arguments.task}\n{table(done)}", flush=True)
        print("scores", {name: round(value, 4) for name, value in list(done[-1].scores.items())[:3]}, flush=True)


if __name__ == "__main__":
    main()
