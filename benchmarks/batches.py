"""Training batches of two samples, made in this process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate

from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.datasplits import DummyDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDataset, RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import IntensitiesArrayConfig, ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import AffinitiesTaskConfig, DistanceTaskConfig, TaskConfig
from dacapo.experiments.tasks.predictors import AffinitiesPredictor
from dacapo.experiments.trainers import GunpowderTrainerConfig, TorchTrainerConfig
from dacapo.experiments.trainers.batch_trainer_config import BatchTrainerConfig
from dacapo.experiments.trainers.gp_augments import (
    AugmentConfig,
    ElasticAugmentConfig,
    GammaAugmentConfig,
    IntensityAugmentConfig,
    NoiseAugmentConfig,
    SimpleAugmentConfig,
)

from .arrays import on_disk
from .data import cells, image
from .floors import (
    DISPLACEMENT,
    OFFSETS,
    SAMPLES,
    SCALE,
    SPACING,
    Batch,
    PlainBatches,
    Values,
    box,
)
from .harness import Case, Setting

NEIGHBORHOOD = [Coordinate(offset) for offset in OFFSETS]
AFFINITIES = AffinitiesTaskConfig(name="affinities", neighborhood=NEIGHBORHOOD)
DESCRIPTORS = AffinitiesTaskConfig(name="descriptors", neighborhood=NEIGHBORHOOD, lsds=True)
SIGMA = 10  # of the descriptors, voxels
DISTANCES = DistanceTaskConfig(
    name="distances", channels=["cells"], clip_distance=200, tol_distance=16, scale_factor=SCALE, mask_distances=False
)
AUGMENTS = [
    SimpleAugmentConfig(),
    ElasticAugmentConfig(
        control_point_spacing=[SPACING] * 3,
        control_point_displacement_sigma=[DISPLACEMENT] * 3,
        rotation_interval=(0.0, np.pi / 2),
        uniform_3d_rotation=True,
    ),
    IntensityAugmentConfig(scale=(0.8, 1.2), shift=(-0.1, 0.1)),
    GammaAugmentConfig(gamma_range=(0.8, 1.25)),
    NoiseAugmentConfig(variance=0.001),
]


def make_run(
    task: TaskConfig,
    augments: list[AugmentConfig],
    input_size: int,
    features: int = 8,
    fetchers: int = 1,
    trainer: type[BatchTrainerConfig] = GunpowderTrainerConfig,
    steps: int = 1,
) -> Run:
    """Return a run with a U-Net that samples down in some steps; with one, its prediction is 16 voxels smaller."""
    return Run(
        RunConfig(
            name="benchmark",
            repetition=0,
            num_iterations=1000,
            validation_interval=1000,
            task_config=task,
            architecture_config=CNNectomeUNetConfig(
                name="unet",
                input_shape=Coordinate((input_size,) * 3),
                eval_shape_increase=Coordinate((0, 0, 0)),
                fmaps_in=1,
                fmaps_out=features,
                num_fmaps=features,
                fmap_inc_factor=2,
                downsample_factors=[Coordinate((2, 2, 2))] * steps,
            ),
            trainer_config=trainer(
                name="trainer",
                batch_size=SAMPLES,
                learning_rate=1e-4,
                num_data_fetchers=fetchers,
                augments=augments,
                warmup_iterations=0,
            ),
            datasplit_config=DummyDataSplitConfig(name="none"),
        )
    )


def write_dataset(folder: Path, size: int) -> tuple[RawGTDataset, Values, Values]:
    """Write an image of cells and its labels; return them as a dataset, and as arrays."""
    labels = cells(size)
    raw = image(labels)
    places = {name: on_disk(folder, name, values) for name, values in (("raw", raw), ("gt", labels))}
    stored = {
        name: ZarrArrayConfig(name=name, file_name=place.container, dataset=place.dataset)
        for name, place in places.items()
    }
    config = RawGTDatasetConfig(
        name="cells",
        raw_config=IntensitiesArrayConfig(name="scaled", source_array_config=stored["raw"], min=0.0, max=255.0),
        gt_config=stored["gt"],
    )
    return RawGTDataset(config), raw.astype(np.float32) / np.float32(255), labels


def find(volume: Values, sample: Values) -> list[Values]:
    """Return all places where a sample lies in a volume; several if the volume repeats by reflection."""
    row = sample[0, 0]
    rows = np.lib.stride_tricks.sliding_window_view(volume, row.size, axis=2)
    begins = [np.array(place) for place in np.argwhere(rows[..., 0] == row[0])]
    begins = [place for place in begins if np.array_equal(rows[tuple(place)], row)]
    return [place for place in begins if np.array_equal(volume[box(place, row.size)], sample)]


def correlation(a: Values, b: Values) -> float:
    """Return the correlation of two arrays, 0 where one is constant."""
    scale = float(a.std() * b.std())
    return float(np.mean((a - a.mean()) * (b - b.mean()))) / scale if scale > 1e-6 else 0.0


def measured(batch: Any) -> tuple[Values, Values, Values, Values]:
    """Return what of random batches is alike, and only if raw data, targets and weights are of the same voxels.

    Returns:
        Means and deviations of the three arrays; correlations of neighboring voxels of raw data, along each axis; and
        those of each channel of targets and weights with raw data in the same place, and two voxels further along each
        axis: affinities of long offsets are low where a dark border lies in between.
    """
    arrays = batch.raw, batch.target, batch.weight
    means, deviations = np.array([(values.mean(), values.std()) for values in arrays]).T
    size = batch.target.shape[-1]
    context = (batch.raw.shape[-1] - size) // 2
    steps = [np.zeros(3, dtype=int), *(2 * np.eye(3, dtype=int))]
    smooth, same = [], []
    for raw, learned in zip(batch.raw[:, 0], np.concatenate([batch.target, batch.weight], axis=1), strict=True):
        along = [np.moveaxis(raw, axis, 0) for axis in range(3)]
        smooth.append([correlation(values[1:], values[:-1]) for values in along])
        seen = [raw[box(context + step, size)] for step in steps]
        same.append([correlation(channel, values) for channel in learned for values in seen])
    return means, deviations, np.mean(smooth, axis=0), np.mean(same, axis=0)


def batches(setting: Setting, task: TaskConfig, augment: bool, trainer: type[BatchTrainerConfig]) -> Case:
    size = setting.size(64, 28)
    run = make_run(task, AUGMENTS if augment else [], size, trainer=trainer)
    sigma = setting.size(SIGMA, 3) if task is DESCRIPTORS else 0
    predictor = run.task.predictor
    if isinstance(predictor, AffinitiesPredictor) and sigma:
        predictor.num_voxels = sigma
    dataset, raw, labels = write_dataset(setting.folder, setting.size(160, 48))
    run.trainer.build_batch_provider([dataset], run.model, run.task)
    ours = iter(setting.stack.enter_context(run.trainer))  # type: ignore[call-overload]
    plain = PlainBatches(raw, labels, size, int(run.model.output_shape[0]), task is not DISTANCES, sigma)

    def check_same(batch: Any, _: Batch) -> None:
        """Make the batch of the same places the plain way; it is the first, so no classes are counted before."""
        corners = [find(plain.raw, sample[0]) for sample in batch.raw]
        np.testing.assert_equal([len(found) > 0 for found in corners], [True] * SAMPLES)
        plain.forget()
        expected = plain.at([found[0] for found in corners])
        for got, want in zip((batch.raw, batch.target, batch.weight), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-3 if task is DESCRIPTORS else 1e-5)

    def check_similar(batch: Any, expected: Batch) -> None:
        """Compare what chance leaves alike, over several batches."""
        for got, want in zip((batch.raw, batch.target, batch.weight), expected, strict=True):
            np.testing.assert_equal((got.shape, got.dtype), (want.shape, want.dtype))
        more = range(setting.size(3, 11))
        found = [measured(made) for made in (batch, *(next(ours) for _ in more))]
        wanted = [measured(made) for made in (expected, *(plain.augmented() for _ in more))]
        # Of the full size, correlations vary by up to 0.02 and 0.08; without any, 0 stands for 0.4 to 0.6.
        for part, tolerance in enumerate((0.2, 0.3, 0.1, 0.25) if setting.quick else (0.2, 0.3, 0.05, 0.15)):
            got, want = (np.mean([made[part] for made in several], axis=0) for several in (found, wanted))
            np.testing.assert_allclose(got, want, atol=tolerance)

    if augment:
        return Case(lambda: next(ours), plain.augmented, check_similar, "2")
    return Case(lambda: next(ours), plain.plain, check_same, "2")


TASKS = {"affinities": AFFINITIES, "distances": DISTANCES, "affinities and LSDs": DESCRIPTORS}
TRAINERS: dict[str, type[BatchTrainerConfig]] = {"batches": GunpowderTrainerConfig, "torch batches": TorchTrainerConfig}

CASES: dict[str, Callable[[Setting], Case]] = {
    f"{made}, {learned}{', all augments' if augment else ''}, 2 x 64^3": partial(
        batches, task=task, augment=augment, trainer=trainer
    )
    for made, trainer in TRAINERS.items()
    for learned, task in TASKS.items()
    for augment in (False, True)
}
