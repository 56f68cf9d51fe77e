"""Print how much test-time augmentation changes scores, and how long it takes.

    python -m benchmarks.tta
    python -m benchmarks.tta --data nuclei --iterations 500 --seeds 1 2 3

Trains ``dacapo.segment`` on synthetic data, once for each seed, which makes the data, too: cells in 3D
(``synthetic_tissue``) or nuclei in 2D (``synthetic_nuclei``). The last checkpoint is validated with each way of
test-time augmentation, which chooses the parameters of post-processing for it, and segments another image. Scores are
the variation of information (VOI) of that segmentation in bits, lower is better; seconds are those of the processor
for predicting and segmenting it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from typing import Any

import attrs

import dacapo
from dacapo import Options
from dacapo.demo import synthetic_nuclei, synthetic_tissue
from dacapo.experiments import Run
from dacapo.utils.symmetries import TTA
from dacapo.utils.text_table import text_table
from dacapo.utils.voi import voi
from dacapo.validate import validate

from .harness import machine

HEADER = ("data", "seed", "tta", "split", "merge", "VOI", "seconds")


@attrs.frozen
class Data:
    """Synthetic images: how to make them, and the shapes of those to train on and to segment."""

    make: Callable[..., Any]
    train: tuple[int, ...]
    unseen: tuple[int, ...]


DATA = {
    "tissue": Data(synthetic_tissue, (96, 96, 160), (64, 64, 64)),
    "nuclei": Data(synthetic_nuclei, (512, 640), (512, 512)),
}


def trained(data: Data, seed: int, iterations: int) -> Run:
    """Train a network, validated once, at its end."""
    raw, labels = data.make(data.train, seed=2 * seed)
    name = f"tta_{len(data.train)}d_{seed}"
    return dacapo.segment(raw, labels, name=name, seed=seed, num_iterations=iterations, validation_interval=iterations)


def scored(run: Run, iteration: int, tta: str, raw: Any, labels: Any) -> tuple[float, float, float]:
    """Return split and merge VOI of an image, and the seconds of the processor that its segmentation takes."""
    validate(run.name, iteration, num_workers=1, tta=tta)
    model = dacapo.load_model(run.name, iteration)
    begin = time.process_time()
    segmentation = model.segment(raw, num_workers=1, tta=tta)
    seconds = time.process_time() - begin
    split, merge = voi(segmentation, labels)
    return split, merge, seconds


def rows(name: str, seed: int, iterations: int) -> list[list[str]]:
    """Return a row of the table for each way of test-time augmentation."""
    data = DATA[name]
    run = trained(data, seed, iterations)
    raw, labels = data.make(data.unseen, seed=2 * seed + 1)
    found = []
    for tta in TTA:
        split, merge, seconds = scored(run, iterations, tta, raw, labels)
        numbers = [f"{value:.3f}" for value in (split, merge, split + merge)]
        found.append([name, str(seed), tta, *numbers, f"{seconds:.1f}"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores with and without test-time augmentation.")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    print("\n".join(machine()))
    table = []
    with tempfile.TemporaryDirectory() as folder, Options.override(runs_base_dir=folder):
        for name in arguments.data:
            for seed in arguments.seeds:
                table += rows(name, seed, arguments.iterations)
                print(text_table(HEADER, table[-len(TTA) :]), flush=True)
    print(text_table(HEADER, table))


if __name__ == "__main__":
    main()
