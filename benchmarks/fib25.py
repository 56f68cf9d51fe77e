"""Print how well a real volume is segmented after a given processor time of training, by ours and by the original.

    python -m benchmarks.fib25 PATH --minutes 20 60
    python -m benchmarks.fib25 PATH --minutes 20 60 --original PYTHON

PATH is a volume as ``examples/fib25.py`` takes it. Ours is what that file configures, trained once for each of the
given times, the learning rate falling until the time is over; the states on the way, every five minutes, are scored
too. PYTHON is the interpreter of an environment with the original (see ``benchmarks/original/README.md``), which trains
once, at a constant rate, with its U-Net and the same neighborhood, augmentations and part of the volume through its own
interface; what it segments is scored here. Ours then has that U-Net too, and with ``--as-original`` also alone.

    python -m benchmarks.fib25 PATH --minutes 60 --until 25 --every 120 --ema 0.99 0.999 --seeds 1 2 3 --curves ema.json

also averages the weights of the same training (``ema_decay``), scores raw weights and averages at the same times, and
writes all scores to a file and a picture beside it, as they come; see ``benchmarks/curves.py``.

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
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import numpy as np
import torch
from funlib.geometry import Coordinate

from dacapo import Options
from dacapo.experiments import Run, RunConfig
from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.trainers.weight_average import WeightAverage
from dacapo.store.create_store import create_weights_store
from dacapo.utils.text_table import text_table
from dacapo.utils.voi import voi
from dacapo.validate import validate_run

from .cpu_time import tree_seconds
from .curves import Curves
from .harness import machine
from .peer import run_script

ROOT = Path(__file__).parents[1]
EARLY, ESTIMATE = 5, 50  # iterations between which the speed is first measured; the warm-up takes longer
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


@attrs.frozen
class Schedule:
    """When a training ends, and when its states are scored; all in minutes of processor time.

    Attributes:
        minutes: Time over which the learning rate falls.
        until: Time after which to stop, at most ``minutes``.
        every: Time between states.
    """

    minutes: float
    until: float
    every: float

    def marks(self) -> list[float]:
        """Return after how many seconds to keep the state of a training."""
        return [*np.arange(self.every, self.until, self.every) * 60, self.until * 60]


def train(run: Run, schedule: Schedule, averages: dict[Run, float]) -> list[State]:
    """Train for a time, and keep the weights at each mark of the schedule.

    Args:
        run: The run to train.
        schedule: How long, and when to keep weights.
        averages: The decay of the average of the weights that each of other runs stands for.
    """
    todo, states, losses, early = schedule.marks(), [], [], 0.0
    means = [(other, WeightAverage.of_model(run.model, decay)) for other, decay in averages.items()]
    before = tree_seconds()
    run.trainer.build_batch_provider(run.datasplit.train, run.model, run.task)
    with run.trainer as trainer:
        for stats in trainer.iterate(1_000_000, run.model, run.optimizer, torch.device("cpu")):
            losses.append(stats.loss)
            for _, mean in means:
                mean.update(run.model)
            spent = tree_seconds() - before
            if stats.iteration == EARLY:
                early = spent
            if stats.iteration % ESTIMATE == 0 and stats.iteration > 0:
                # The learning rate falls until the time is over, however fast the machine.
                left = (stats.iteration - EARLY) / (spent - early) * (schedule.minutes * 60 - spent)
                trainer.decay_iterations = max(trainer.warmup_iterations + 1, round(stats.iteration + left))
                print(f"{stats.iteration} {np.mean(losses[-ESTIMATE:]):.4f} {spent:.0f} s", flush=True)
            if spent < todo[0]:
                continue
            create_weights_store().store_weights(run, len(losses))
            for other, mean in means:
                mean.show(run.model)
                other.model.load_state_dict(run.model.state_dict())
                mean.hide(run.model)
                create_weights_store().store_weights(other, len(losses))
            states.append(State(spent, len(losses), float(np.mean(losses[-100:]))))
            del todo[0]
            if not todo:
                break
    return states


def config_of_ours(path: Path, as_original: bool) -> RunConfig:
    """Return the config of ``examples/fib25.py`` for one process, whose training :class:`Schedule` ends.

    Args:
        path: The volume.
        as_original: Whether to train the U-Net of the original instead, at a rate that suits it.
    """
    config: RunConfig = example().run_config(path, 1_000_000)
    config.trainer_config.num_data_fetchers = 1
    config.trainer_config.decay_iterations = None
    if as_original:
        config.architecture_config = CNNectomeUNetConfig(
            name="fib25_unet_of_original",
            input_shape=Coordinate(64, 64, 64),
            eval_shape_increase=Coordinate(64, 200, 200),
            fmaps_in=1,
            num_fmaps=16,
            fmap_inc_factor=2,
            fmaps_out=16,
            downsample_factors=[Coordinate(2, 2, 2)] * 3,
            padding="same",
        )
        config.trainer_config.learning_rate = 2e-3
    return config


def rows_of_ours(
    config: RunConfig, folder: Path, schedule: Schedule, ema: Sequence[float], seed: int | None, curves: Curves
) -> list[list[str]]:
    """Train ours for a time; return a row for each state on the way, and for each average of its weights."""
    Options.instance(runs_base_dir=folder, compute_context={"type": "LocalTorch", "config": {"_device": "cpu"}})
    config.trainer_config.seed = seed
    run = Run(config)
    averages = {Run(attrs.evolve(config, name=f"fib25_ema_{decay}")): decay for decay in ema}
    names = {run: "ours"} | {other: f"ours, EMA {decay}" for other, decay in averages.items()}
    rows = []
    for state in train(run, schedule, averages):
        for scored, name in names.items():
            create_weights_store().load_model(scored, state.iteration)
            scores = validate_run(scored, state.iteration).scores[0]
            # Criteria come in the order split, merge and their sum.
            best = min(range(len(scores)), key=lambda index: scores[index][2])
            bias = list(run.task.parameters)[best].bias
            rows.append(row(name, schedule.minutes, state, scores[best][0], scores[best][1], str(bias)))
            curves.add(name, seed, state.seconds, state.iteration, *scores[best][:2], bias)
    Options.reset()
    return rows


def rows_of_original(python: str, path: Path, folder: Path, schedule: Schedule, labels: np.ndarray) -> list[list[str]]:
    """Train the original for a time, in a process of its own; return a row for each state on the way."""
    seconds = [str(mark) for mark in schedule.marks()]
    run_script(python, "fib25.py", [path, folder, "--seconds", *seconds], folder)
    rows = []
    for mark in json.loads((folder / "marks.json").read_text()):
        scores = {
            bias: voi(np.load(file).reshape(labels.shape), labels, ignore_groundtruth=[0])
            for bias, file in mark.pop("segmentations").items()
        }
        best = min(scores, key=lambda bias: sum(scores[bias]))
        state = State(mark["seconds"], mark["iteration"], mark["loss"])
        rows.append(row("original", schedule.minutes, state, *scores[best], best))
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
    parser.add_argument("--until", type=float, help="processor time after which to stop earlier, the rate still high")
    parser.add_argument("--every", type=float, default=300, metavar="SECONDS", help="time between scored states")
    parser.add_argument("--ema", type=float, nargs="*", default=[], metavar="DECAY", help="score averaged weights, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[None], help="seeds of trainings; one by default")
    parser.add_argument("--curves", type=Path, metavar="JSON", help="file for all scores; a picture lies beside it")
    parser.add_argument("--original", metavar="PYTHON", help="interpreter of an environment with the original")
    parser.add_argument("--as-original", action="store_true", help="train the U-Net of the original without it, too")
    parser.add_argument("--output", type=Path, help="folder to keep what is written; a temporary one without")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    about, rows, curves = machine(), [], Curves(options.curves)
    with tempfile.TemporaryDirectory() as temporary:
        output = (options.output or Path(temporary)).resolve()
        path = options.path.resolve()
        schedules = [Schedule(m, min(m, options.until or m), options.every / 60) for m in options.minutes]
        for schedule in schedules:
            for seed in options.seeds:
                folder = made(output / f"ours_{schedule.minutes:g}" / ("" if seed is None else f"seed_{seed}"))
                config = config_of_ours(path, options.as_original or options.original is not None)
                rows += rows_of_ours(config, folder, schedule, options.ema, seed, curves)
        if options.original:
            longest = max(schedules, key=lambda schedule: schedule.minutes)
            rows += rows_of_original(
                options.original, path, made(output / "original"), longest, validation_labels(path)
            )
    about.append(f"load        {', '.join(f'{load:.2f}' for load in os.getloadavg())} (after the last)")
    print("\n".join([*about, "", text_table(HEADER, rows)]))
    if options.ema:
        print(f"\n{curves.summary()}")


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
