"""Segment neurons in a real FIB-SEM volume, with the public API only.

The volume is ``training_sample2`` of the public repository ``janelia-flyem/neuroproof_examples`` (Drosophila medulla,
FlyEM project, Janelia; CC BY 3.0): isotropic voxels of 10 nm, every neuron labeled. To convert it, read the gray
values (PNG slices) and the labels (HDF5 supervoxels, mapped to bodies by the file beside them) as arrays in the order
z, y, x and write both with ``ZarrArray.create_from_array_identifier`` into one container:

    voxel_size = Coordinate(10, 10, 10)
    roi = Roi((0, 0, 0), Coordinate(gray.shape) * voxel_size)
    for name, values in (("raw", gray.astype("uint8")), ("labels", bodies.astype("uint32"))):
        array = ZarrArray.create_from_array_identifier(
            LocalArrayIdentifier("fib25.zarr", name), ["z", "y", "x"], roi, None, voxel_size, values.dtype
        )
        array[roi] = values

Run ``python examples/fib25.py fib25.zarr``. It trains on z < 140 (voxels), validates on 140 <= z < 180, and prints the
variation of information (VOI, in bits, over labeled voxels of the validation slab) of the trained and the untrained
network, and of two references. Stopped with Ctrl-C, it resumes when started again.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate, Roi
from scipy.ndimage import gaussian_filter, label, minimum_filter
from skimage.segmentation import watershed

from dacapo import Options
from dacapo.experiments import Run, RunConfig
from dacapo.experiments.architectures import ResidualUNetConfig
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import (
    CropArrayConfig,
    IntensitiesArrayConfig,
    ZarrArray,
    ZarrArrayConfig,
)
from dacapo.experiments.selection import select
from dacapo.experiments.tasks import AffinitiesTaskConfig
from dacapo.experiments.trainers import (
    ElasticAugmentConfig,
    GammaAugmentConfig,
    IntensityAugmentConfig,
    IntensityScaleShiftAugmentConfig,
    SimpleAugmentConfig,
    TorchTrainerConfig,
)
from dacapo.store.create_store import (
    create_array_store,
    create_config_store,
    create_weights_store,
)
from dacapo.train import train_run
from dacapo.utils.text_table import text_table
from dacapo.utils.voi import voi
from dacapo.validate import validate_run

VOXEL = 10  # nm
TRAIN = Roi((0, 0, 0), (140 * VOXEL, 250 * VOXEL, 250 * VOXEL))
VALIDATE = Roi((140 * VOXEL, 0, 0), (40 * VOXEL, 250 * VOXEL, 250 * VOXEL))


def dataset(path: Path, name: str, roi: Roi, raw_roi: Roi) -> RawGTDatasetConfig:
    """Describe a part of the volume; raw data may reach further than labels, as context."""
    raw = ZarrArrayConfig(name=f"{name}_gray", file_name=path, dataset="raw", mode="r")
    labels = ZarrArrayConfig(name=f"{name}_bodies", file_name=path, dataset="labels", mode="r")
    return RawGTDatasetConfig(
        name=name,
        raw_config=IntensitiesArrayConfig(
            name=f"{name}_raw",
            source_array_config=CropArrayConfig(name=f"{name}_raw_part", source_array_config=raw, roi=raw_roi),
            min=0,
            max=255,
        ),
        gt_config=CropArrayConfig(name=f"{name}_labels", source_array_config=labels, roi=roi),
    )


def affinity_offsets() -> list[Coordinate]:
    """Return steps of 1, 3 and 9 voxels along each axis: the first join voxels, the others tell neurons apart."""
    return [Coordinate(row) for step in (1, 3, 9) for row in (np.eye(3, dtype=int) * step).tolist()]


def run_config(path: Path, iterations: int) -> RunConfig:
    """Describe the whole run."""
    return RunConfig(
        name="fib25",
        repetition=0,
        num_iterations=iterations,
        validation_interval=1000,
        task_config=AffinitiesTaskConfig(
            name="fib25_affinities",
            neighborhood=affinity_offsets(),
            biases=[0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5],
            long_range_bias=0.65,
            min_size=500,
            fill_background=True,  # every voxel belongs to a neuron
        ),
        architecture_config=ResidualUNetConfig(
            name="fib25_unet",
            input_shape=Coordinate(64, 64, 64),
            eval_shape_increase=Coordinate(72, 200, 200),  # the whole slab at once when validating
            fmaps_in=1,
            fmaps_out=16,
            num_fmaps=[32, 64, 128],
            downsample_factors=[Coordinate(2, 2, 2)] * 3,
        ),
        trainer_config=TorchTrainerConfig(
            name="fib25_trainer",
            batch_size=1,
            learning_rate=6e-3,
            warmup_iterations=200,
            decay_iterations=iterations,
            precision="bfloat16",
            num_data_fetchers=2,
            augments=[
                ElasticAugmentConfig(
                    control_point_spacing=[32] * 3,
                    control_point_displacement_sigma=[2.0] * 3,
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
            name="fib25_split",
            train_configs=[dataset(path, "train", TRAIN, TRAIN)],
            validate_configs=[dataset(path, "validate", VALIDATE, TRAIN.union(VALIDATE))],
        ),
    )


def score(segmentation: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return VOI split and merge in bits, over labeled voxels."""
    return voi(segmentation, labels, ignore_groundtruth=[0])


def best_segmentation(run: Run) -> np.ndarray:
    """Return the segmentation of the validation slab with the lowest VOI so far."""
    identifier = create_array_store().best_validation_array(run.name, "voi", "validate")
    array = ZarrArray.open_from_array_identifier(identifier)
    return array[array.roi]


def watershed_of_raw(raw: np.ndarray, sigma: float = 3.0) -> np.ndarray:
    """Segment gray values without learning: flood from the minima of the smoothed, inverted intensities."""
    height = gaussian_filter(-raw.astype(np.float32), sigma)
    seeds, _ = label(height == minimum_filter(height, size=5))
    return watershed(height, seeds)


def prepare(path: Path, iterations: int) -> Run:
    """Store the run, or resume the stored one, and score its untrained network once."""
    store = create_config_store()
    store.store_run_config(run_config(path, iterations))
    run = Run(store.retrieve_run_config("fib25"))
    if create_weights_store().latest_iteration(run.name) is None:
        create_weights_store().store_weights(run, 0)
        validate_run(run, 0)
        labels = run.datasplit.validate[0].gt
        report_file().write_text(json.dumps(score(best_segmentation(run), labels[labels.roi])))
    return Run(run.config)


def report_file() -> Path:
    """Return where the score of the untrained network is kept."""
    return Options.instance().runs_base_dir / "untrained.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="Zarr container with the datasets raw and labels")
    parser.add_argument("--output", type=Path, default=Path("fib25_run"), help="folder for everything that is written")
    parser.add_argument("--iterations", type=int, default=5000)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    Options.instance(runs_base_dir=arguments.output)

    run = prepare(arguments.path.resolve(), arguments.iterations)
    train_run(run)
    validation = run.datasplit.validate[0]
    labels = validation.gt[VALIDATE]
    raw = validation.raw[VALIDATE]
    scores = {
        "everything one segment": score(np.ones_like(labels), labels),
        "watershed of the raw intensities": score(watershed_of_raw(raw), labels),
        "untrained network": tuple(json.loads(report_file().read_text())),
        "trained network": score(best_segmentation(run), labels),
    }
    rows = [[name, f"{s:.3f}", f"{m:.3f}", f"{s + m:.3f}"] for name, (s, m) in scores.items()]
    print(text_table(["VOI in bits, 140 <= z < 180", "split", "merge", "sum"], rows))
    selection = select(run, "voi", "validate")
    seconds = sum(s.time for s in run.training_stats.iteration_stats)
    print(f"{selection.reason}; {run.training_stats.trained_until()} iterations took {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes in all")
