"""Print how well a real volume is segmented after a given processor time of training, by ours and by the original.

    python -m benchmarks.fib25 PATH --minutes 20 60
    python -m benchmarks.fib25 PATH --minutes 20 60 --original PYTHON

PATH is a volume as ``examples/fib25.py`` takes it. Ours is what that file configures, trained once for each of the
given times, the learning rate falling until the time is over; the states on the way, every five minutes, are scored
too. PYTHON is the interpreter of an environment with the original (see ``benchmarks/original/README.md``), which trains
once, at a constant rate, with the same network, neighborhood, augmentations and part of the volume through its own
interface; what it segments is scored here.

Time is the user and system time of all processes, with one thread each, from the first batch on. Validation comes
afterwards and does not count. The score is the variation of information (VOI, in bits) over labeled voxels of
140 <= z < 180, of the best of the biases that each tries.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import numpy as np
import torch

from dacapo import Options
from dacapo.experiments import Run
from dacapo.report import text_table
from dacapo.store.create_store import create_weights_store
from dacapo.utils.voi import voi
from dacapo.validate import validate_run

from .cpu_time import tree_seconds
from .harness import machine
from .peer import run_script

ROOT = Path(__file__).parents[1]
EARLY, ESTIMATE = 5, 50  # iterations between which the speed is first measured; the warm-up takes longer
STEP = 300  # seconds between states that are scored
HEADER = ("package", "trained for", "minutes", "iteration", "loss", "split", "merge", "VOI", "bias")


@attrs.frozen
class State:
    """The network after some time of training.

    Attributes:
        seconds: Processor time spent.
        iteration: Iterations done.
        loss: Mean of the last hundred.
    """

    seconds: float
    iteration: int
    loss: float


def example() -> ModuleType:
    """Return ``examples/fib25.py``, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("fib25_example", ROOT / "examples" / "fib25.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def marks(minutes: float) -> list[float]:
    """Return after how many seconds to keep the state of a training of the given length."""
    return [*np.arange(STEP, minutes * 60, STEP).tolist(), minutes * 60]


def train(run: Run, seconds: list[float]) -> list[State]:
    """Train for a time, and keep the weights at each of the given seconds, in ascending order."""
    todo, states, losses, early = list(seconds), [], [], 0.0
    before = tree_seconds()
    run.trainer.build_batch_provider(run.datasplit.train, run.model, run.task)
    with run.trainer as trainer:
        for stats in trainer.iterate(1_000_000, run.model, run.optimizer, torch.device("cpu")):
            losses.append(stats.loss)
            spent = tree_seconds() - before
            if stats.iteration == EARLY:
                early = spent
            if stats.iteration % ESTIMATE == 0 and stats.iteration > 0:
                # The learning rate falls until the time is over, however fast the machine.
                left = (stats.iteration - EARLY) / (spent - early) * (todo[-1] - spent)
                trainer.decay_iterations = max(trainer.warmup_iterations + 1, round(stats.iteration + left))
                print(f"{stats.iteration} {np.mean(losses[-ESTIMATE:]):.4f} {spent:.0f} s", flush=True)
            if spent < todo[0]:
                continue
            create_weights_store().store_weights(run, len(losses))
            states.append(State(spent, len(losses), float(np.mean(losses[-100:]))))
            del todo[0]
            if not todo:
                break
    return states


def rows_of_ours(path: Path, folder: Path, minutes: float) -> list[list[str]]:
    """Train ours for a time; return a row for each state on the way."""
    Options.instance(runs_base_dir=folder, compute_context={"type": "LocalTorch", "config": {"_device": "cpu"}})
    config = example().run_config(path, 1_000_000)
    config.trainer_config.num_data_fetchers = 1
    config.trainer_config.decay_iterations = None
    run = Run(config)
    rows = []
    for state in train(run, marks(minutes)):
        create_weights_store().load_weights(run, state.iteration)
        scores = validate_run(run, state.iteration).scores[0]
        # Criteria come in the order split, merge and their sum.
        best = min(range(len(scores)), key=lambda index: scores[index][2])
        bias = list(run.task.parameters)[best].bias
        rows.append(row("ours", minutes, state, scores[best][0], scores[best][1], str(bias)))
    Options.reset()
    return rows


def rows_of_original(python: str, path: Path, folder: Path, minutes: float, labels: np.ndarray) -> list[list[str]]:
    """Train the original for a time, in a process of its own; return a row for each state on the way."""
    seconds = [str(mark) for mark in marks(minutes)]
    run_script(python, "fib25.py", [path, folder, "--seconds", *seconds], folder)
    rows = []
    for mark in json.loads((folder / "marks.json").read_text()):
        scores = {
            bias: voi(np.load(file).reshape(labels.shape), labels, ignore_groundtruth=[0])
            for bias, file in mark.pop("segmentations").items()
        }
        best = min(scores, key=lambda bias: sum(scores[bias]))
        state = State(mark["seconds"], mark["iteration"], mark["loss"])
        rows.append(row("original", minutes, state, *scores[best], best))
    return rows


def row(package: str, minutes: float, state: State, split: float, merge: float, bias: str) -> list[str]:
    """Return what the table shows of a state."""
    scores = [f"{value:.3f}" for value in (split, merge, split + merge)]
    spent = f"{state.seconds / 60:.1f}"
    return [package, f"{minutes:g} min", spent, str(state.iteration), f"{state.loss:.3f}", *scores, bias]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.fib25", description="Train for a fixed processor time.")
    parser.add_argument("path", type=Path, help="Zarr container with the datasets raw and labels")
    parser.add_argument("--minutes", type=float, nargs="+", default=[20.0, 60.0], help="processor time of training")
    parser.add_argument("--original", metavar="PYTHON", help="interpreter of an environment with the original")
    parser.add_argument("--output", type=Path, help="folder to keep what is written; a temporary one without")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    about, rows = machine(), []
    with tempfile.TemporaryDirectory() as temporary:
        output = (options.output or Path(temporary)).resolve()
        path = options.path.resolve()
        for minutes in options.minutes:
            rows += rows_of_ours(path, made(output / f"ours_{minutes:g}"), minutes)
        if options.original:
            labels = validation_labels(path)
            rows += rows_of_original(options.original, path, made(output / "original"), max(options.minutes), labels)
    about.append(f"load        {', '.join(f'{load:.2f}' for load in os.getloadavg())} (after the last)")
    print("\n".join([*about, "", text_table(HEADER, rows)]))


def made(folder: Path) -> Path:
    """Create a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def validation_labels(path: Path) -> Any:
    """Return the labels of the validation slab."""
    part = example()
    config = part.dataset(path, "validate", part.VALIDATE, part.VALIDATE).gt_config
    return config.array_type(config)[part.VALIDATE]


if __name__ == "__main__":
    main()
