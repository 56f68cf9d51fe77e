"""Foreground and instances with dacapo: the config, training for a time, and the choice on a band of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate, Roi

import dacapo
from dacapo import Options
from dacapo.experiments import Run, RunConfig
from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import (
    ArrayConfig,
    BinarizeArrayConfig,
    CropArrayConfig,
    ZarrArrayConfig,
)
from dacapo.experiments.defaults import scaled
from dacapo.experiments.tasks import AffinitiesTaskConfig, HotDistanceTaskConfig, TaskConfig
from dacapo.experiments.trainers import (
    ElasticAugmentConfig,
    IntensityAugmentConfig,
    SimpleAugmentConfig,
    TorchTrainerConfig,
)
from dacapo.store.create_store import create_config_store
from dacapo.validate import validate_run

from ..fib25 import Schedule, train
from .data import VOXEL, Fold, Nuclei, Result, band_rows

PATCH = 96  # pixels; bands are higher
NEIGHBORHOOD = [Coordinate(offset) for step in (1, 3, 9) for offset in ((step, 0), (0, step))]
PERCENTILES = (0.5, 99.5)  # of the intensities that become -1 and 1
TASKS: dict[str, tuple[TaskConfig, str]] = {
    "instances": (
        # Weights balance the few pairs of pixels in one nucleus with the many others, which raises predictions.
        AffinitiesTaskConfig(
            name="instances",
            neighborhood=NEIGHBORHOOD,
            biases=[0.4, 0.5, 0.6, 0.7],
            long_range_bias=0.7,
            min_size=30,
        ),
        "voi",
    ),
    "foreground": (
        HotDistanceTaskConfig(name="foreground", channels=["nuclei"], scale_factor=5, clip_distance=20, tol_distance=1),
        "f1_score",
    ),
}


def run_config(container: Path, nuclei: Nuclei, fold: Fold, kind: str, seed: int) -> RunConfig:
    """Return the config of a run.

    Args:
        container: The image as Zarr.
        nuclei: The same image.
        fold: Its division.
        kind: One of the tasks.
        seed: Seed of the training.
    """
    height = len(nuclei.raw)
    trained = np.concatenate([nuclei.rows(*rows).raw for rows in fold.trained(height)])
    low, high = map(float, np.percentile(trained, PERCENTILES))

    def dataset(first: int, end: int) -> RawGTDatasetConfig:
        roi = Roi(Coordinate(first, 0) * VOXEL, Coordinate(end - first, nuclei.raw.shape[1]) * VOXEL)

        def part(name: str) -> ArrayConfig:
            source = ZarrArrayConfig(name=name, file_name=container, dataset=name, mode="r")
            return CropArrayConfig(name=f"{name}_{first}", source_array_config=source, roi=roi)

        labels = part("labels")
        if kind == "foreground":
            labels = BinarizeArrayConfig(name=f"mask_{first}", source_array_config=labels, groupings=[("nuclei", [])])
        return RawGTDatasetConfig(name=f"rows_{first}", raw_config=scaled(part("raw"), low, high), gt_config=labels)

    return RunConfig(
        name=kind,
        repetition=0,
        num_iterations=1_000_000,
        validation_interval=1_000_000,
        task_config=TASKS[kind][0],
        architecture_config=CNNectomeUNetConfig(
            name="unet",
            input_shape=Coordinate(PATCH, PATCH),
            fmaps_in=1,
            num_fmaps=16,
            fmap_inc_factor=2,
            fmaps_out=16,
            downsample_factors=[Coordinate(2, 2)] * 3,
            padding="same",
        ),
        trainer_config=TorchTrainerConfig(
            name="trainer",
            batch_size=2,
            learning_rate=2e-3,
            warmup_iterations=50,
            num_data_fetchers=1,
            clip_raw=True,  # nothing is seen of the bands that do not train
            seed=seed,
            augments=[
                ElasticAugmentConfig(
                    control_point_spacing=[32, 32],
                    control_point_displacement_sigma=[2.0, 2.0],
                    rotation_interval=(0.0, np.pi / 2),
                    subsample=4,
                ),
                SimpleAugmentConfig(),
                IntensityAugmentConfig(scale=(0.7, 1.3), shift=(-0.2, 0.2), clip=False),
            ],
        ),
        datasplit_config=TrainValidateDataSplitConfig(
            name="bands",
            train_configs=[dataset(*rows) for rows in fold.trained(height)],
            validate_configs=[dataset(*band_rows(fold.chosen, height))],
        ),
    )


def segmented(nuclei: Nuclei, fold: Fold, kind: str, seconds: float, seed: int, folder: Path) -> Result:
    """Train for a processor time, choose parameters on one band, and segment the one that is left out."""
    context = {"type": "LocalTorch", "config": {"_device": "cpu"}}
    with Options.override(runs_base_dir=folder, compute_context=context):
        config = run_config(nuclei.write(folder / "nuclei.zarr"), nuclei, fold, kind, seed)
        create_config_store().store_run_config(config)
        run = Run(config)
        (state,) = train(run, Schedule(seconds / 60, seconds / 60, seconds / 60), {})
        validate_run(run, state.iteration)
        model = dacapo.load_model(run.name, criterion=TASKS[kind][1])
        segments = np.asarray(model.segment(nuclei.band(fold.scored).raw, num_workers=1))
    chosen = f"{state.iteration} iterations, {model.parameters}"
    return Result(segments.reshape(nuclei.band(fold.scored).raw.shape), state.seconds, chosen)
