"""Print how well nuclei of a real image are segmented on which nothing was chosen, by dacapo and by others.

    python -m benchmarks.nuclei PATH --seconds 60 --seeds 1 2
    python -m benchmarks.nuclei PATH --seconds 60 --seeds 1 2 --stardist PYTHON --output FOLDER

PATH is the folder ``stardist/data/images`` of the package StarDist (0.9.2; it is enough to unpack its wheel), which
holds a fluorescence image of 512 x 512 pixels with 125 nuclei, and their masks, from the Data Science Bowl 2018
(Caicedo et al., "Nucleus segmentation across imaging experiments", Nature Methods 16, 2019).

The image is divided into four bands of 128 rows. In each of four folds one band is scored, the next one is chosen on,
and the two others train, so that all of the image is scored. dacapo learns the foreground (distances and
probabilities) and instances (affinities, mutex watershed), each for the given processor time of one thread.
PYTHON is the interpreter of an environment with StarDist and TensorFlow (``pip install stardist==0.9.2
tensorflow-cpu==2.21.0``), which trains for the same time, or that of ``--stardist-seconds``. The watershed of
scikit-image learns nothing; its parameters have the lowest variation of information on the band to choose on.

Scores are the mean of the four bands, and of seeds, with the standard deviation of the seeds where there are several:
variation of information (VOI, in bits; background is one object), share of nuclei and segments that overlap by more
than half of their union (F1; AP counts pairs by pairs and errors), aggregated Jaccard index (AJI), and Dice and
intersection by union (IoU) of the foreground. Results are kept in FOLDER, and not made again.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import numpy as np
import torch

from dacapo.utils.text_table import text_table

from ..fib25 import made
from ..harness import machine
from . import by_stardist, ours, threshold
from .data import FOLDS, Fold, Nuclei, Result
from .scores import SCORES, of_foreground, of_instances


@attrs.frozen
class Program:
    """Something that segments.

    Attributes:
        name: Name of its row.
        finds_instances: Whether its segments are instances, or a mask.
        run: Segments the band that is left out, with a fold, a seed and a folder.
        seeds: Seeds of its trainings.
    """

    name: str
    finds_instances: bool
    run: Callable[[Fold, int, Path], Result]
    seeds: list[int]

    def results(self, nuclei: Nuclei, folds: list[int], folder: Path) -> list[list[Result]]:
        """Return for each seed a result of each fold; those that exist are read."""
        return [[self._result(nuclei, number, seed, folder) for number in folds] for seed in self.seeds]

    def _result(self, nuclei: Nuclei, number: int, seed: int, folder: Path) -> Result:
        place = folder / self.name.replace(" ", "_") / f"band_{number}" / f"seed_{seed}"
        file = place / "result.npz"
        if not file.exists():
            shutil.rmtree(place, ignore_errors=True)  # what an interrupted training left
            made(place)
            self.run(FOLDS[number], seed, place).save(file)
        result = Result.load(file)
        scores = self.scores(nuclei, number, result)
        print(f"{self.name}, band {number}, seed {seed}: {scores}; {result.chosen}", flush=True)
        return result

    def scores(self, nuclei: Nuclei, number: int, result: Result) -> dict[str, float]:
        """Return the scores of a band."""
        labels = nuclei.band(number).labels
        found = of_instances(result.segments, labels) if self.finds_instances else {}
        return found | of_foreground(result.segments, labels)

    def row(self, nuclei: Nuclei, folds: list[int], folder: Path) -> list[str]:
        """Return what the table shows."""
        results = self.results(nuclei, folds, folder)
        seconds = np.mean([one.seconds for of_seed in results for one in of_seed])
        by_seed = [
            [self.scores(nuclei, number, result) for number, result in zip(folds, of_seed, strict=True)]
            for of_seed in results
        ]
        cells = [
            shown([float(np.mean([scores[name] for scores in bands])) for bands in by_seed])
            if name in by_seed[0][0]
            else "-"
            for name in SCORES
        ]
        return [self.name, f"{seconds:.0f} s", str(len(self.seeds)), *cells]


def shown(values: list[float]) -> str:
    """Return the mean of the seeds and, of several, their standard deviation."""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def programs(nuclei: Nuclei, options: argparse.Namespace) -> list[Program]:
    """Return what to run."""

    def by_dacapo(kind: str, fold: Fold, seed: int, folder: Path) -> Result:
        return ours.segmented(nuclei, fold, kind, options.seconds, seed, folder)

    def by_peer(fold: Fold, seed: int, folder: Path) -> Result:
        seconds = options.stardist_seconds or options.seconds
        return by_stardist.segmented(nuclei, fold, options.stardist, seconds, seed, folder)

    def by_threshold(fold: Fold, seed: int, folder: Path) -> Result:
        return threshold.segmented(nuclei, fold)

    found = [
        Program("dacapo affinities", True, partial(by_dacapo, "instances"), options.seeds),
        Program("dacapo hot distances", False, partial(by_dacapo, "foreground"), options.seeds),
        Program("scikit-image watershed", True, by_threshold, [0]),
    ]
    if options.stardist:
        found.append(Program("StarDist", True, by_peer, options.stardist_seeds or options.seeds))
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.nuclei", description="Segment nuclei of a real image.")
    parser.add_argument("path", type=Path, help="folder with img2d.tif and mask2d.tif")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of a training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of trainings")
    parser.add_argument("--bands", type=int, nargs="+", default=[0, 1, 2, 3], choices=range(4), help="bands to score")
    parser.add_argument("--stardist", metavar="PYTHON", help="interpreter of an environment with StarDist")
    parser.add_argument("--stardist-seconds", type=float, help="processor time of its training, if it is another")
    parser.add_argument("--stardist-seeds", type=int, nargs="+", help="seeds of its trainings, if they are others")
    parser.add_argument("--output", type=Path, help="folder to keep what is written; a temporary one without")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    about, nuclei = machine(), Nuclei.read(options.path)
    with tempfile.TemporaryDirectory() as temporary:
        output = (options.output or Path(temporary)).resolve()
        rows = [program.row(nuclei, options.bands, output) for program in programs(nuclei, options)]
    print("\n".join([*about, "", text_table(("program", "trained", "seeds", *SCORES), rows)]))


if __name__ == "__main__":
    main()
