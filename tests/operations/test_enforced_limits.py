"""Work stays within the limit of its container, which kills whatever takes more."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
from funlib.geometry import Coordinate

from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store, create_stats_store
from tests.helpers.memory import control_group, kills_in, run_within
from tests.helpers.runs import affinities_run_config, unet_config
from tests.helpers.volumes import write_array

pytestmark = [pytest.mark.destructive, pytest.mark.slow]

LIMIT = 1 << 30


def within(limit: int, script: str, *arguments: object) -> list[str]:
    """Run a script in a control group, in which nothing may be killed, and return the lines that it prints."""
    with control_group(limit) as group:
        done = run_within(group, script, *arguments)
        assert kills_in(group) == 0
        assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


SEGMENT = """
import sys
from pathlib import Path
import numpy as np
from funlib.geometry import Coordinate, Roi
from dacapo.compute_context import Execution
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.tasks.post_processors import WatershedPostProcessor, WatershedPostProcessorParameters
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.memory import total_memory

if __name__ == "__main__":
    container, shape = Path(sys.argv[1]) / "data.zarr", (80, 176, 176)
    prediction, labels = (LocalArrayIdentifier(container, name) for name in ("affinities", "labels"))
    affinities = ZarrArray.create_from_array_identifier(
        prediction, ["c", "z", "y", "x"], Roi((0, 0, 0), shape), 9, Coordinate(1, 1, 1), np.float32)
    for z in range(0, 80, 20):
        slab = Roi((z, 0, 0), (20, 176, 176))
        affinities[slab] = np.random.default_rng(z).random((9, 20, 176, 176), np.float32)
    steps = [[step if axis == a else 0 for a in range(3)] for step in (1, 3, 9) for axis in range(3)]
    processor = WatershedPostProcessor(steps)
    processor.set_prediction(prediction)
    processor.process(WatershedPostProcessorParameters(id=0, context=Coordinate(4, 4, 4)), labels, num_workers=2)
    print(total_memory(), ZarrArray.open_from_array_identifier(labels).chunks)
"""


def test_a_segmentation(tmp_path: Path) -> None:
    """A volume that takes 1.1 GB at once is segmented in smaller blocks where there is 1 GB."""
    (found,) = within(LIMIT, SEGMENT, tmp_path)
    assert found.startswith(f"{LIMIT} ")


PREDICT = """
import sys
from pathlib import Path
from funlib.geometry import Coordinate
from dacapo.inference.budget import plan_within
from dacapo.inference.prediction import predict_array
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.memory import large
from tests.helpers.runs import unet_run

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with open(folder / "read", "rb") as file:
        while file.read(1 << 24):
            pass
    alone = {"kernel_size_down": [[(1, 1, 1)]] * 2, "kernel_size_up": [[(1, 1, 1)]]}  # many values, little work
    run = unet_run(folder, 3, padding="same", num_fmaps=24, eval_shape_increase=Coordinate(64, 112, 112), **alone)
    raw = large(folder, (92, 140, 140))
    budget = plan_within(run.model, raw)
    predict_array(run, raw, LocalArrayIdentifier(folder / "out.zarr", "affinities"))
    print(*budget.plan.write_shape / raw.voxel_size)
"""


def test_a_prediction_whose_evaluation_shape_is_too_large(tmp_path: Path) -> None:
    """All of the group's memory holds a file that was read, which the kernel can take back."""
    with (tmp_path / "read").open("wb") as file:
        file.truncate(LIMIT)  # of which nothing is on disk
    (shape,) = within(LIMIT, PREDICT, tmp_path)
    voxels = np.prod(list(map(int, shape.split())))
    assert 32**3 < voxels < 92 * 140 * 140


EVALUATE = """
import sys
from pathlib import Path
from dacapo.compute_context import Execution
from dacapo.experiments.datasplits.datasets.arrays import open_array
from dacapo.inference.evaluation import evaluate_array
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.runs import unet_run

if __name__ == "__main__":
    folder, run = Path(sys.argv[1]), unet_run(Path(sys.argv[1]), 3)
    truth, output = open_array(folder / "labels.zarr", "truth"), LocalArrayIdentifier(folder / "labels.zarr", "found")
    print(evaluate_array(run, run.datasplit.validate[0], truth, output, Execution(1)).voi)
"""


def test_an_evaluation(tmp_path: Path) -> None:
    """Blocks of the usual size take 290 MB, beside a process of 230 MB."""
    truth = np.kron(np.arange(1, 513, dtype=np.uint64).reshape(8, 8, 8), np.ones((32, 32, 32), np.uint64))
    for name, labels in (("truth", truth), ("found", np.roll(truth, 4, 0))):
        write_array(tmp_path / "labels.zarr", name, labels, Coordinate(4, 4, 4), Coordinate(0, 0, 0))
    (voi,) = within(7 << 26, EVALUATE, tmp_path)
    assert 0 < float(voi) < 2


TRAIN = """
import sys
from pathlib import Path
from dacapo.options import Options
from dacapo.train import train

if __name__ == "__main__":
    Options.instance(runs_base_dir=Path(sys.argv[1]))
    run = train("limited", max_memory=int(sys.argv[2]), check=False)
    print(run.trainer.batch_size, run.trainer.accumulate)
"""


def store_limited(folder: Path, batch_size: int) -> None:
    """Store a run of which each sample takes some 8 MB in the network."""
    trainer = TorchTrainerConfig("trainer", batch_size, 1e-3, num_data_fetchers=1)
    architecture = unet_config(3, num_fmaps=16)
    config = affinities_run_config(folder, "limited", 3, 1, 1, trainer_config=trainer, architecture_config=architecture)
    split = attrs.evolve(config.datasplit_config, validate_configs=[])
    create_config_store().store_run_config(attrs.evolve(config, datasplit_config=split))


def test_a_training(options: DaCapoConfig, tmp_path: Path) -> None:
    """An iteration that takes 1.5 GB more than the process does is divided into smaller batches."""
    store_limited(tmp_path, 192)
    (sizes,) = within(LIMIT, TRAIN, options.runs_base_dir, LIMIT)
    batch, accumulate = map(int, sizes.split())
    assert batch * accumulate == 192
    assert 16 < batch < 192
    assert create_stats_store().retrieve_training_stats("limited").trained_until() == 1


WITHOUT_LIMIT = """
import sys
from pathlib import Path
from dacapo.errors import MemoryBudgetError
from dacapo.options import Options
from dacapo.train import train

if __name__ == "__main__":
    Options.instance(runs_base_dir=Path(sys.argv[1]))
    try:
        print("trained", train("limited", check=False).trainer.iteration)
    except MemoryBudgetError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [(192, "an iteration with 1 x 192 samples takes about 1."), (48, "trained 1")],
    ids=["does not fit", "fits"],
)
def test_a_training_without_a_limit_of_its_own(
    options: DaCapoConfig, tmp_path: Path, batch_size: int, expected: str
) -> None:
    """It is refused before the group would kill it, and no sooner."""
    store_limited(tmp_path, batch_size)
    (found,) = within(LIMIT, WITHOUT_LIMIT, options.runs_base_dir)
    assert found.startswith(expected)
