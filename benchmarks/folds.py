"""Print how well slices of a real volume are segmented on which nothing was chosen, in three folds.

    python -m benchmarks.folds PATH --minutes 60 --seeds 1
    python -m benchmarks.folds PATH --minutes 5 --folds 2 --seeds 1 2 3 --output FOLDER

PATH is a volume as ``examples/fib25.py`` takes it, 180 slices thick. Each fold leaves out 40 slices, which are scored
at the end, and 20 others, on which the checkpoint and the parameters of post-processing are chosen; the rest trains
what ``examples/fib25.py`` configures, with an average of its weights (``ema_decay``), for a given processor time with
one thread. A checkpoint is kept every five minutes. All that is written is kept in FOLDER, where a fold that has been
trained is only scored again.

Scores are the variation of information (VOI, in bits; split and merge apart) and the adapted Rand error, both over
labeled voxels of the slices that were left out. The column "cut" is the part of "split" that no segmentation of these
slices avoids, since they hold neurons in several parts: the split of their connected parts. "Worst" is the part of
"merge" that the segment has which merges the most. "One segment" is the VOI of everything as one segment, the last
column says how well the chosen slices were segmented.

    python -m benchmarks.folds PATH --minutes 5 --folds 2 --pictures FOLDER

also draws sections of the slices that were left out: raw data, neurons, segments, and the worst segment in the colors
of the neurons.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import attrs
import numpy as np
import torch
from funlib.geometry import Roi
from skimage.measure import label

from dacapo import Options
from dacapo.experiments import Run, RunConfig
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.create_store import create_array_store, create_weights_store
from dacapo.utils.contingency import ContingencyTable, adapted_rand
from dacapo.utils.label_colors import label_colors, match_labels
from dacapo.utils.text_table import text_table
from dacapo.utils.voi import voi
from dacapo.validate import validate_run

from .fib25 import Schedule, State, config_of_ours, example, made, train
from .harness import machine

DEPTH, SIDE, VOXEL = 180, 250, 10  # voxels, voxels, nm
CONTEXT = 40  # voxels of raw data that training may see beside its labels, since a patch is thicker than some parts
DECAY = 0.999
BIASES = [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]
EVERY = 5.0  # minutes
SECTIONS = 3  # in a picture
HEADER = (
    "left out",
    "seed",
    "trained for",
    "checkpoint",
    "bias",
    "split",
    "cut",
    "merge",
    "worst",
    "VOI",
    "Rand error",
    "one segment",
    "chosen on",
    "VOI",
)


def slab(first: int, end: int) -> Roi:
    """Return a part of the volume from a slice up to another."""
    return Roi((first * VOXEL, 0, 0), ((end - first) * VOXEL, SIDE * VOXEL, SIDE * VOXEL))


@attrs.frozen
class Fold:
    """A division of the slices of the volume.

    Attributes:
        scored: First and end of the slices that are left out.
        chosen: First and end of the slices that checkpoint and parameters are chosen on.
    """

    scored: tuple[int, int]
    chosen: tuple[int, int]

    def trained(self) -> list[tuple[int, int]]:
        """Return first and end of each part that trains."""
        held = sorted([self.scored, self.chosen])
        edges = [0, *(slice_ for part in held for slice_ in part), DEPTH]
        return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]


FOLDS = (Fold((0, 40), (160, 180)), Fold((70, 110), (160, 180)), Fold((140, 180), (0, 20)))


@attrs.frozen
class Setup:
    """What is trained.

    Attributes:
        path: The volume.
        fold: The division of its slices.
        as_original: Whether the network is the U-Net of the original.
    """

    path: Path
    fold: Fold
    as_original: bool = False

    def config(self, name: str, biases: list[float], validated: tuple[int, int]) -> RunConfig:
        """Return the config of ``examples/fib25.py`` with the parts of the fold.

        Args:
            name: Name of the run, and of what is validated.
            biases: Biases to try.
            validated: First and end of the slices to validate.
        """
        config = config_of_ours(self.path, self.as_original)
        config.name = name
        config.task_config.biases = biases
        dataset, everything = example().dataset, slab(0, DEPTH)
        config.datasplit_config = TrainValidateDataSplitConfig(
            name="fold",
            train_configs=[
                dataset(self.path, f"train_{a}", slab(a, b), slab(a - CONTEXT, b + CONTEXT).intersect(everything))
                for a, b in self.fold.trained()
            ],
            validate_configs=[dataset(self.path, name, slab(*validated), everything)],
        )
        return config


def trained(setup: Setup, folder: Path, minutes: float, seed: int) -> tuple[Run, list[State]]:
    """Train, or find what was trained before; return the run with the averaged weights, and its states."""
    config = setup.config("chosen", BIASES, setup.fold.chosen)
    config.trainer_config.seed = seed
    run, average = Run(config), Run(attrs.evolve(config, name="average"))
    file = folder / "states.json"
    if not file.exists():
        states = train(run, Schedule(minutes, minutes, min(EVERY, minutes)), {average: DECAY})
        file.write_text(json.dumps([attrs.asdict(state) for state in states]))
    return average, [State(**state) for state in json.loads(file.read_text())]


def row(setup: Setup, folder: Path, minutes: float, seed: int, picture: Path | None = None) -> list[str]:
    """Train a fold, choose, score what was left out and draw it if wanted, and return what the table shows."""
    made(folder)
    Options.instance(runs_base_dir=folder, compute_context={"type": "LocalTorch", "config": {"_device": "cpu"}})
    fold = setup.fold
    run, states = trained(setup, folder, minutes, seed)
    best = min((chosen_on(run, state) for state in states), key=lambda found: found[0])
    voi_of_chosen, state, bias = best
    scored = Run(setup.config("scored", [bias], fold.scored))
    create_weights_store().load_model(run, state.iteration)
    scored.model.load_state_dict(run.model.state_dict())
    create_weights_store().store_weights(scored, state.iteration)
    validate_run(scored, state.iteration)
    found = ZarrArray.open_from_array_identifier(
        create_array_store().best_validation_array(scored.name, "voi", "scored")
    )
    validated = scored.datasplit.validate[0]
    labels, segments = validated.gt[found.roi], found[found.roi]
    split, merge, error = scores(segments, labels)
    worst, merged = worst_merge(segments, labels)
    if picture is not None:
        draw(picture, validated.raw[found.roi], labels, segments, worst)
    cut, _, _ = scores(label(labels, connectivity=1), labels)
    nothing = sum(scores(np.ones_like(labels), labels)[:2])
    Options.reset()
    return [
        f"{fold.scored[0]} to {fold.scored[1]}",
        str(seed),
        f"{minutes:g} min",
        f"{state.seconds / 60:.0f} min",
        str(bias),
        *(f"{value:.3f}" for value in (split, cut, merge, merged, split + merge, error, nothing)),
        f"{fold.chosen[0]} to {fold.chosen[1]}",
        f"{voi_of_chosen:.3f}",
    ]


def chosen_on(run: Run, state: State) -> tuple[float, State, float]:
    """Return the score of a state with its best bias on the slices to choose on, the state and the bias."""
    create_weights_store().load_model(run, state.iteration)
    by_bias = validate_run(run, state.iteration).scores[0]
    best = min(range(len(by_bias)), key=lambda index: by_bias[index][2])
    return float(by_bias[best][2]), state, list(run.task.parameters)[best].bias


def scores(segmentation: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Return VOI split and merge in bits and the adapted Rand error, over labeled voxels."""
    inside = labels > 0
    table = ContingencyTable.of(segmentation[inside], labels[inside])
    return *voi(segmentation, labels, ignore_groundtruth=[0]), adapted_rand(table).error


def worst_merge(segmentation: np.ndarray, labels: np.ndarray) -> tuple[int, float]:
    """Return the segment that merges the most, and its part of the VOI merge in bits, over labeled voxels."""
    table = ContingencyTable.of(segmentation[labels > 0], labels[labels > 0])
    segments, index = np.unique(table.first, return_inverse=True)
    sizes = np.bincount(index, table.counts)
    bits = np.bincount(index, table.counts * np.log2(sizes[index] / table.counts)) / table.total
    return int(segments[bits.argmax()]), float(bits.max())


def draw(file: Path, raw: np.ndarray, labels: np.ndarray, segmentation: np.ndarray, worst: int) -> None:
    """Draw sections: raw data, neurons, segments, and one of the segments in the colors of the neurons."""
    from matplotlib.image import imsave

    neurons, segments = label_colors(labels), label_colors(match_labels(segmentation, labels))
    gray = np.repeat(np.interp(raw, (raw.min(), raw.max()), (0, 1))[..., None], 3, axis=-1)
    within = np.where((segmentation == worst)[..., None], 0.6 * neurons + 0.4 * gray, gray)
    parts = [gray, 0.6 * neurons + 0.4 * gray, 0.6 * segments + 0.4 * gray, within]
    shown = np.linspace(0, len(raw) - 1, SECTIONS + 2).astype(int)[1:-1]
    sheet = np.concatenate([np.concatenate([part[section] for part in parts], axis=1) for section in shown])
    imsave(file, sheet.clip(0, 1))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.folds", description="Score slices that nothing was chosen on.")
    parser.add_argument("path", type=Path, help="Zarr container with the datasets raw and labels")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 60.0], help="processor time of training")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3], choices=[1, 2, 3], help="which of three")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="seeds of trainings")
    parser.add_argument("--as-original", action="store_true", help="train the U-Net of the original")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the slices that were left out")
    parser.add_argument("--output", type=Path, help="folder to keep what is written; a temporary one without")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path = options.path.resolve()
    about, rows = machine(), []
    with tempfile.TemporaryDirectory() as temporary:
        output = (options.output or Path(temporary)).resolve()
        for minutes in options.minutes:
            for number in options.folds:
                for seed in options.seeds:
                    folder = output / f"{minutes:g}_minutes" / f"fold_{number}" / f"seed_{seed}"
                    setup = Setup(path, FOLDS[number - 1], options.as_original)
                    picture = None
                    if options.pictures is not None:
                        picture = made(options.pictures) / f"{minutes:g}_minutes_fold_{number}_seed_{seed}.png"
                    rows.append(row(setup, folder, minutes, seed, picture))
                    print(text_table(HEADER, rows[-1:]), flush=True)
    print("\n".join([*about, "", text_table(HEADER, rows)]))


if __name__ == "__main__":
    main()
