"""What a rank does in the tests of training on several devices; run as a module by a launcher."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
import zarr
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.scheduling.run_operation import run_on_ranks
from dacapo.experiments.architectures import Architecture
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.tasks import AffinitiesTask, AffinitiesTaskConfig, OneHotTask, OneHotTaskConfig, Task
from dacapo.experiments.trainers import GunpowderTrainer, GunpowderTrainerConfig
from dacapo.experiments.trainers.gp_augments import SimpleAugmentConfig
from dacapo.store.array_store import LocalArrayIdentifier, LocalContainerIdentifier
from dacapo.utils import distributed

CPU = torch.device("cpu")
ITERATIONS = 4


class Net(Architecture):
    """A convolution, normalized, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, kernel_size=3)
        self.norm = torch.nn.BatchNorm2d(4, momentum=None)
        self.unused = torch.nn.Conv2d(4, 4, kernel_size=1)
        self.normalized = False

    @property
    def input_shape(self) -> Coordinate:
        return Coordinate(14, 14)

    @property
    def num_in_channels(self) -> int:
        return 1

    @property
    def num_out_channels(self) -> int:
        return 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.norm(x) if self.normalized else x.relu()


class Data(Dataset):
    """Squares of four classes."""

    def __init__(self) -> None:
        labels = np.kron(np.random.default_rng(0).integers(0, 4, (8, 8)), np.ones((5, 5), dtype=int))
        roi, voxel_size = Roi((0, 0), labels.shape), Coordinate(1, 1)
        self.name = "data"
        self.gt = NumpyArray.from_np_array(labels.astype(np.uint8), roi, voxel_size, ["y", "x"])
        self.raw = NumpyArray.from_np_array(labels.astype(np.float32) / 4, roi, voxel_size, ["y", "x"])
        self.mask = None


def classes() -> Task:
    """Return a task whose weights do not depend on what was seen before."""
    return OneHotTask(OneHotTaskConfig("task", ["a", "b", "c", "d"]))


def affinities() -> Task:
    """Return a task whose weights do."""
    return AffinitiesTask(AffinitiesTaskConfig("task", [Coordinate(1, 0), Coordinate(0, 1)]))


def session(task: Task, snapshots: Path | None = None, normalized: bool = False, **changes: Any) -> tuple[Any, ...]:
    """Return trainer, model and optimizer, ready to train."""
    settings = {"batch_size": 1, "learning_rate": 1e-2, "num_data_fetchers": 1, "warmup_iterations": 0, **changes}
    config = GunpowderTrainerConfig(name="trainer", augments=[SimpleAugmentConfig()], min_masked=0.0, **settings)
    trainer = GunpowderTrainer(config)
    trainer.seed = 3
    torch.manual_seed(0)
    network = Net()
    network.normalized = normalized
    model = task.create_model(network)
    container = None if snapshots is None else LocalContainerIdentifier(snapshots)
    trainer.build_batch_provider([Data()], model, task, container)
    return trainer, model, trainer.create_optimizer(model)


def train(task: Task, snapshots: Path | None = None, **changes: Any) -> tuple[list[float], dict[str, Any], Any]:
    """Train a few iterations; return losses, weights and the state of the trainer."""
    trainer, model, optimizer = session(task, snapshots, **changes)
    with trainer:
        losses = [stats.loss for stats in trainer.iterate(ITERATIONS, model, optimizer, CPU)]
    trainer.collect_state()
    return losses, model.state_dict(), trainer.state_dict()


@attrs.define(kw_only=True, eq=False)
class Sign(BlockwiseOperation):
    """Writes into every block which rank did it, counted from 1."""

    def create_output(self) -> None:
        shape = self.region.shape
        zarr.open(str(self.output.container), mode="w").create_dataset(self.output.dataset, shape=shape, chunks=(2, 2))

    def process(self, block: Any) -> None:
        array = zarr.open(str(self.output.container), mode="r+")[self.output.dataset]
        array[block.write_roi.to_slices()] += distributed.rank() + 1


def signed(container: Path) -> np.ndarray:
    """Return what all ranks together have written."""
    output = LocalArrayIdentifier(container, "signs")
    run_on_ranks(Sign(output=output, region=Roi((0, 0), (6, 9)), block_shape=Coordinate(2, 2)))
    values: np.ndarray = zarr.open(str(container), mode="r")["signs"][:]
    return values


def shown(folder: Path) -> dict[str, Any]:
    """Return what the functions of this rank give, and what it trains, for the test to look at."""
    rank = distributed.rank()
    buffers = torch.nn.BatchNorm1d(2)
    buffers.running_mean += rank + 1  # type: ignore[operator]
    distributed.copy_buffers(buffers)
    trainer, _, _ = session(classes(), batch_size=2)
    with trainer:
        samples = [batch.raw for batch in islice(iter(trainer), 2)]
    return {
        "group": (rank, distributed.world_size(), distributed.is_main()),
        "agree": distributed.agree(rank == 1, False, True),
        "mean": distributed.mean(float(rank)),
        "gather": distributed.gather({"rank": rank}),
        "share": distributed.share(list(range(5))),
        "buffers": buffers.running_mean,
        "samples": torch.from_numpy(np.stack(samples)),
        "accumulated": train(
            classes(), accumulate=3, batch_size=2, snapshots=folder / f"{rank}.zarr", snapshot_interval=2
        ),
        "clipped": train(classes(), batch_size=6, clip_gradients=1e-3),
        "averaged": train(classes(), batch_size=6, ema_decay=0.5),
        "half": train(classes(), batch_size=6, precision="float16"),
        "normalized": train(classes(), normalized=True),
        "signed": torch.from_numpy(signed(folder / "signed.zarr")),
        "counted": train(affinities(), num_data_fetchers=2),
    }


def threads() -> list[str]:
    """Return the names of the threads of this process, those that Python does not know of as well."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


def main(folder: Path) -> None:
    """Write a file per rank."""
    with distributed.process_group():
        result = shown(folder)
        result["threads"], rank = [threads()], distributed.rank()
    result["threads"].append(threads())
    torch.save(result, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
