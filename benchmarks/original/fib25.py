"""Train the original on a real volume for a given processor time, and segment with it, through its own interface.

Runs in the original's environment, as a script: ``python benchmarks/original/fib25.py PATH FOLDER``. At each mark it
writes the weights to ``FOLDER/<seconds>.pt``, after training segmentations of the validation slab, one for each bias
that the original tries, to ``FOLDER/<seconds>_<bias>.npy``, and in the end ``FOLDER/marks.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

# What the benchmarks share comes last, so that `dacapo` is that of this environment.
sys.path.append(str(Path(__file__).parents[2]))

import benchmarks.cpu_time  # noqa: F401, I001  (sets the number of threads, which NumPy reads once)
import numpy as np
import torch
import zarr
from dacapo.experiments import Run, RunConfig
from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import CropArrayConfig, IntensitiesArrayConfig, ZarrArrayConfig
from dacapo.experiments.tasks import AffinitiesTaskConfig
from dacapo.experiments.trainers import GunpowderTrainerConfig
from dacapo.experiments.trainers.gp_augments import (
    ElasticAugmentConfig,
    GammaAugmentConfig,
    IntensityAugmentConfig,
    IntensityScaleShiftAugmentConfig,
    SimpleAugmentConfig,
)
from dacapo.store.array_store import LocalArrayIdentifier
from funlib.geometry import Coordinate, Roi
from funlib.persistence import prepare_ds
from upath import UPath

from benchmarks.cpu_time import tree_seconds

VOXEL = 10  # nm
BORDER, SIZE = 140, 250  # voxels: training below the border along z, validation from there on
CONTEXT = (44, 7, 7)  # voxels around the validation slab that make its input 128 x 264 x 264


def readable(path: Path, folder: Path) -> UPath:
    """Copy a container, its metadata written in the way that this package reads."""
    copy = folder / "data.zarr"
    if not copy.exists():
        shutil.copytree(path, copy, copy_function=shutil.copyfile)
    container = zarr.open_group(str(copy), mode="a")
    for name in ("raw", "labels"):
        container[name].attrs.update(voxel_size=[VOXEL] * 3, axis_names=["z", "y", "x"])
    return UPath(copy)


def make_run(path: UPath, learning_rate: float) -> Run:
    """Build the run: neighborhood, data and augmentations as in ``examples/fib25.py``."""
    roi = Roi((0, 0, 0), (BORDER * VOXEL, SIZE * VOXEL, SIZE * VOXEL))
    raw, labels = (
        CropArrayConfig(
            name=name,
            source_array_config=ZarrArrayConfig(name=f"all_{name}", file_name=path, dataset=name, mode="r"),
            roi=roi,
        )
        for name in ("raw", "labels")
    )
    dataset = RawGTDatasetConfig(
        name="train",
        raw_config=IntensitiesArrayConfig(name="scaled", source_array_config=raw, min=0, max=255),
        gt_config=labels,
    )
    return Run(
        RunConfig(
            name="fib25",
            repetition=0,
            num_iterations=1_000_000,
            validation_interval=1_000_000,
            task_config=AffinitiesTaskConfig(
                name="fib25_affinities",
                neighborhood=[Coordinate(row) for step in (1, 3, 9) for row in (np.eye(3, dtype=int) * step).tolist()],
            ),
            architecture_config=CNNectomeUNetConfig(
                name="fib25_unet",
                input_shape=Coordinate(64, 64, 64),
                fmaps_in=1,
                num_fmaps=16,
                fmap_inc_factor=2,
                fmaps_out=16,
                downsample_factors=[Coordinate(2, 2, 2)] * 3,
                padding="same",
            ),
            trainer_config=GunpowderTrainerConfig(
                name="fib25_trainer",
                batch_size=1,
                learning_rate=learning_rate,
                num_data_fetchers=2,
                augments=[
                    ElasticAugmentConfig(
                        control_point_spacing=[32, 32, 32],
                        control_point_displacement_sigma=[2.0, 2.0, 2.0],
                        rotation_interval=(0.0, 0.0),
                        subsample=4,
                    ),
                    SimpleAugmentConfig(),
                    GammaAugmentConfig(gamma_range=(0.75, 1.33)),
                    IntensityAugmentConfig(scale=(0.8, 1.2), shift=(-0.12, 0.12)),
                    IntensityScaleShiftAugmentConfig(scale=2.0, shift=-1.0),
                ],
            ),
            datasplit_config=TrainValidateDataSplitConfig(
                name="fib25_split", train_configs=[dataset], validate_configs=[]
            ),
        )
    )


def train(run: Run, folder: Path, seconds: list[float]) -> list[dict[str, Any]]:
    """Train for a time, and keep the weights at each of the given seconds."""
    todo, marks, losses = sorted(seconds), [], []
    before = tree_seconds()
    run.trainer.build_batch_provider(run.datasplit.train, run.model, run.task)
    with run.trainer as trainer:
        for stats in trainer.iterate(1_000_000, run.model, run.optimizer, torch.device("cpu")):
            losses.append(stats.loss)
            spent = tree_seconds() - before
            if stats.iteration % 50 == 0:
                print(f"{stats.iteration} {np.mean(losses[-50:]):.4f} {spent:.1f} s", file=sys.stderr, flush=True)
            if spent < todo[0]:
                continue
            weights = folder / f"{todo.pop(0):.0f}.pt"
            torch.save(run.model.state_dict(), weights)
            marks.append(
                {
                    "seconds": spent,
                    "iteration": stats.iteration + 1,
                    "loss": float(np.mean(losses[-100:])),
                    "weights": str(weights),
                    "load": os.getloadavg(),
                }
            )
            if not todo:
                break
    return marks


def predict(run: Run, path: UPath) -> np.ndarray:
    """Return the affinities of the validation slab.

    The network is called directly: ``validate_run`` raises an IndexError for a slab that does not begin at the origin
    unless voxels have size 1, and it does not scale raw data as the last augmentation does.
    """
    raw = zarr.open_group(str(path), mode="r")["raw"][:].astype(np.float32) / 255 * 2 - 1
    begin = BORDER - CONTEXT[0]
    raw = np.pad(raw[begin:], [(0, CONTEXT[0]), *((side, side) for side in CONTEXT[1:])], mode="reflect")
    run.model.eval()
    with torch.inference_mode():
        predicted = run.model(torch.from_numpy(raw[np.newaxis, np.newaxis]))[0].numpy()
    lost = [(before - after) // 2 for before, after in zip(raw.shape, predicted.shape[1:], strict=True)]
    inner = [slice(c - m, s - c - m) for c, m, s in zip(CONTEXT, lost, raw.shape, strict=True)]
    return predicted[(slice(None), *inner)]


def segment(run: Run, affinities: np.ndarray, folder: Path, stem: str) -> dict[str, str]:
    """Return files with the segmentation of affinities, by bias."""
    container = UPath(folder / "segments.zarr")
    zarr.open_group(str(container), mode="a")
    array = prepare_ds(
        str(container / "affinities"),
        shape=affinities.shape,
        offset=(0, 0, 0),
        voxel_size=(1, 1, 1),
        axis_names=["c^", "z", "y", "x"],
        dtype=affinities.dtype,
        chunk_shape=affinities.shape,
        mode="w",
    )
    array[array.roi] = affinities
    run.task.post_processor.set_prediction(LocalArrayIdentifier(container, "affinities"))
    files = {}
    for parameters in run.task.parameters:
        run.task.post_processor.process(
            parameters,
            LocalArrayIdentifier(container, "labels"),
            num_workers=1,
            block_size=Coordinate(affinities.shape[1:]),
        )
        file = folder / f"{stem}_{parameters.bias}.npy"
        np.save(file, zarr.open_group(str(container), mode="r")["labels"][:])
        files[str(parameters.bias)] = str(file)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the original for a given processor time.")
    parser.add_argument("path", type=Path, help="Zarr container with the datasets raw and labels")
    parser.add_argument("folder", type=Path, help="folder for what is written")
    parser.add_argument("--seconds", type=float, nargs="+", default=[1200.0, 3600.0], help="when to keep the weights")
    parser.add_argument("--learning-rate", type=float, default=7e-4)
    parser.add_argument("--scored-only", action="store_true", help="segment again with the weights that are there")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    path = readable(arguments.path.resolve(), folder)
    run = make_run(path, arguments.learning_rate)
    summary = folder / "marks.json"
    if arguments.scored_only:
        marks = json.loads(summary.read_text())
    else:
        marks = train(run, folder, arguments.seconds)
        summary.write_text(json.dumps(marks))
    for mark in marks:
        run.model.load_state_dict(torch.load(mark["weights"]))
        mark["segmentations"] = segment(run, predict(run, path), folder, Path(mark["weights"]).stem)
        summary.write_text(json.dumps(marks))


if __name__ == "__main__":
    main()
