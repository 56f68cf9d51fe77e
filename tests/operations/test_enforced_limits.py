"""Work without a limit of its own stays within that of its container."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.memory import control_group, kills_in, run_within

pytestmark = [pytest.mark.destructive, pytest.mark.slow]

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


def test_a_segmentation_fits_into_its_container(tmp_path: Path) -> None:
    """A volume that takes 1.1 GB at once is segmented in smaller blocks where there is 1 GB."""
    limit = 1 << 30
    with control_group(limit) as group:
        done = run_within(group, SEGMENT, tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        assert kills_in(group) == 0
    assert done.stdout.startswith(f"{limit} ")
