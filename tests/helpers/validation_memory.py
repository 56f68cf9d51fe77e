"""Validation of volumes in blocks whose edges are 32 voxels."""

from __future__ import annotations

import functools
import sys
import tracemalloc
from pathlib import Path
from typing import Any

from funlib.geometry import Coordinate

from benchmarks.validation_memory import store_run, write_volumes
from dacapo.experiments.run import Run
from dacapo.inference import budget
from dacapo.options import Options
from dacapo.store.create_store import create_config_store, create_weights_store
from dacapo.validate import validate_run

EDGE = 32
PREDICTION_BLOCKS = {3: EDGE}


def prepare(folder: Path, task: str, size: int) -> Run:
    """Return a run on new volumes, all whose blocks have an edge of 32 voxels."""
    folder.mkdir()
    write_volumes(folder, size)
    Options.reset()
    name = store_run(folder, task, edge=EDGE)
    run = Run(create_config_store().retrieve_run_config(name), load_starter_model=False)
    create_weights_store().load_weights(run, 1)
    post_processor: Any = run.task.post_processor
    process, choice = post_processor.process, run.task.parameters[0]
    post_processor.process = functools.partial(process, block_size=Coordinate((EDGE,) * 3))
    post_processor.enumerate_parameters = lambda: [choice]
    run.validation_scores.parameters = [choice]
    evaluator: Any = run.task.evaluator
    evaluator.block_voxels, evaluator.margin = EDGE**3, 4
    return run


def print_peaks(folder: Path) -> None:
    """Write out the largest traced memory of validating two volumes, of 64 and of 128 voxels along each axis."""
    budget._ENOUGH_VOXELS = PREDICTION_BLOCKS
    for size in (64, 128):
        run = prepare(folder / str(size), "distance", size)
        validate_run(run, 1, num_workers=1)  # what is imported and made once
        tracemalloc.start()
        validate_run(run, 1, num_workers=1)
        sys.stdout.write(f"{tracemalloc.get_traced_memory()[1]}\n")
        tracemalloc.stop()


if __name__ == "__main__":
    print_peaks(Path(sys.argv[1]))
