"""The memory that trainings take, beside the estimates of it.

    python -m benchmarks.training_memory
    python -m benchmarks.training_memory --cases 3d --batches 1 4 --fetchers 1 3

Each training runs in a process of its own, for three iterations and without validation, on noise. The peak is that of
the process, or the largest sum over it and its data fetchers of the memory that is theirs, looked at ten times a
second. ``least`` is the estimate by which a training is refused where that is not free, ``told`` the one that batches
are divided by (``max_memory``). The last two columns are these, divided by the peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from funlib.geometry import Coordinate

from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import IntensitiesArrayConfig, ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import AffinitiesTaskConfig
from dacapo.experiments.trainers import GunpowderTrainerConfig, TorchTrainerConfig
from dacapo.experiments.trainers.batch_trainer import BatchTrainer
from dacapo.experiments.trainers.gp_augments import IntensityAugmentConfig, SimpleAugmentConfig
from dacapo.experiments.trainers.training_memory import least_memory, training_memory
from dacapo.options import Options
from dacapo.store.create_store import create_config_store
from dacapo.train import train
from dacapo.utils.text_table import text_table
from tests.helpers.volumes import write_array

from .growth import status
from .harness import machine

MIB = 1 << 20
TRAINERS = {"torch": TorchTrainerConfig, "gunpowder": GunpowderTrainerConfig}
HEADER = ("network", "trainer", "batch", "fetchers", "peak [MiB]", "least [MiB]", "told [MiB]", "least", "told")


@attrs.frozen
class Network:
    """A U-Net: its input shape, features at the top, factor of features, and factors of downsampling."""

    shape: tuple[int, ...]
    features: int
    factor: int
    down: tuple[int, ...]
    padding: str = "valid"


NETWORKS = {
    "2d": Network((188, 188), 16, 2, (2, 2)),
    "2d wide": Network((256, 256), 32, 2, (2, 2, 2), "same"),
    "3d": Network((52, 52, 52), 12, 2, (2,)),
    "3d deep": Network((84, 84, 84), 12, 3, (2, 2)),
    "3d weights": Network((40, 40, 40), 32, 6, (2, 2)),
}


def store_run(folder: Path, network: Network, trainer: str, batch: int, fetchers: int) -> str:
    """Store a run of a network on noise, and return its name."""
    dims = len(network.shape)
    rng = np.random.default_rng(0)
    edge = max(network.shape) + 16
    volumes = {
        "raw": rng.integers(0, 256, (edge,) * dims).astype(np.uint8),
        "labels": np.indices((edge,) * dims).sum(0) // 12 + 1,
    }
    stored, ones = {}, Coordinate((1,) * dims)
    for name, values in volumes.items():
        identifier = write_array(folder / "data.zarr", name, values, ones, ones * 0)
        stored[name] = ZarrArrayConfig(name, identifier.container, name)
    raw = IntensitiesArrayConfig("raw", stored["raw"], min=0.0, max=255.0)
    data = RawGTDatasetConfig("noise", raw_config=raw, gt_config=stored["labels"])
    config = RunConfig(
        name="memory",
        repetition=0,
        num_iterations=3,
        validation_interval=3,
        task_config=AffinitiesTaskConfig("affinities", [Coordinate(row) for row in np.eye(dims, dtype=int).tolist()]),
        architecture_config=CNNectomeUNetConfig(
            "unet",
            input_shape=Coordinate(network.shape),
            fmaps_in=1,
            fmaps_out=network.features,
            num_fmaps=network.features,
            fmap_inc_factor=network.factor,
            downsample_factors=[Coordinate((factor,) * dims) for factor in network.down],
            padding=network.padding,
        ),
        trainer_config=TRAINERS[trainer](
            "trainer",
            batch,
            1e-4,
            num_data_fetchers=fetchers,
            augments=[SimpleAugmentConfig(), IntensityAugmentConfig(scale=(0.8, 1.2), shift=(-0.1, 0.1))],
        ),
        datasplit_config=TrainValidateDataSplitConfig("split", train_configs=[data], validate_configs=[]),
    )
    create_config_store().store_run_config(config)
    return config.name


def train_stored(name: str) -> dict[str, int]:
    """Train a stored run, and return both estimates and the peak of this process, in bytes."""
    torch.set_num_threads(1)
    run = Run.to_train(create_config_store().retrieve_run_config(name))
    assert isinstance(run.trainer, BatchTrainer)
    told = training_memory(run.trainer, run.model, run.trainer.batch_size, run.trainer.accumulate).total
    least = least_memory(run.trainer, run.model, run.optimizer, torch.device("cpu")).total
    train(name, check=False)
    return {"told": told, "least": least, "peak": status("VmHWM")}


def own_memory(pid: int) -> int:
    """Return the bytes of a process and those below it, with its part of what they share."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = [int(p) for file in Path(f"/proc/{pid}/task").glob("*/children") for p in file.read_text().split()]
    except OSError:
        return 0
    (own,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return own + sum(map(own_memory, children))


def measure(network: str, trainer: str, batch: int, fetchers: int) -> list[str]:
    """Train in a new process, and return a row of the table."""
    with tempfile.TemporaryDirectory() as temporary, Options.override(runs_base_dir=Path(temporary)):
        name = store_run(Path(temporary), NETWORKS[network], trainer, batch, fetchers)
        command = [sys.executable, "-m", "benchmarks.training_memory", "--train", temporary, name]
        most = 0
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                most = max(most, own_memory(process.pid))
                time.sleep(0.1)
            output, errors = process.communicate()
        if process.returncode:
            raise SystemExit(errors)
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    peak = max(found["peak"], most)
    sizes = [f"{size / MIB:.0f}" for size in (peak, found["least"], found["told"])]
    ratios = [f"{found[which] / peak:.2f}" for which in ("least", "told")]
    return [network, trainer, str(batch), str(fetchers), *sizes, *ratios]


def rows(arguments: argparse.Namespace) -> Iterator[list[str]]:
    for network in arguments.cases:
        for trainer in arguments.trainers:
            for fetchers in arguments.fetchers:
                for batch in arguments.batches:
                    yield measure(network, trainer, batch, fetchers)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--trainers", nargs="+", choices=TRAINERS, default=list(TRAINERS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--fetchers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--train", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        folder, name = arguments.train
        Options.instance(runs_base_dir=Path(folder))
        print(json.dumps(train_stored(name)))
        return
    print(*machine(), sep="\n")
    table = []
    for row in rows(arguments):
        table.append(row)
        print(" ".join(row), file=sys.stderr, flush=True)
    print(text_table(HEADER, table))


if __name__ == "__main__":
    main()
