"""Training batches of two samples, made in this process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate
from scipy.ndimage import map_coordinates, zoom
from scipy.spatial.transform import Rotation

from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.datasplits import DummyDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDataset, RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import IntensitiesArrayConfig, ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import AffinitiesTaskConfig, DistanceTaskConfig, TaskConfig
from dacapo.experiments.trainers import GunpowderTrainerConfig
from dacapo.experiments.trainers.gp_augments import (
    AugmentConfig,
    ElasticAugmentConfig,
    GammaAugmentConfig,
    IntensityAugmentConfig,
    NoiseAugmentConfig,
    SimpleAugmentConfig,
)

from .data import DIRECT, LONG_RANGE, VOXEL_SIZE, cells, image, on_disk
from .harness import Case, Setting
from .targets import affinities, counted_weights, doubled_grid_distance, no_counts

Values = npt.NDArray[Any]
SAMPLES = 2
OFFSETS = DIRECT + LONG_RANGE
REACH = 4  # the longest offset, which is how far ground truth is needed behind a sample
SCALE = 40.0
SPACING, DISPLACEMENT = 16, 1.0  # voxels
AFFINITIES = AffinitiesTaskConfig(name="affinities", neighborhood=[Coordinate(offset) for offset in OFFSETS])
DISTANCES = DistanceTaskConfig(
    name="distances", channels=["cells"], clip_distance=200, tol_distance=16, scale_factor=SCALE, mask_distances=False
)
AUGMENTS = [
    SimpleAugmentConfig(),
    ElasticAugmentConfig(
        control_point_spacing=[SPACING * v for v in VOXEL_SIZE],
        control_point_displacement_sigma=[DISPLACEMENT * v for v in VOXEL_SIZE],
        rotation_interval=(0.0, np.pi / 2),
        uniform_3d_rotation=True,
    ),
    IntensityAugmentConfig(scale=(0.8, 1.2), shift=(-0.1, 0.1)),
    GammaAugmentConfig(gamma_range=(0.8, 1.25)),
    NoiseAugmentConfig(variance=0.001),
]


class Batch(NamedTuple):
    """Raw data, target and weight, each with the axes sample, channel, space."""

    raw: Values
    target: Values
    weight: Values


def make_run(
    task: TaskConfig, augments: list[AugmentConfig], input_size: int, features: int = 8, fetchers: int = 1
) -> Run:
    """Return a run with a U-Net of two levels whose prediction is 16 voxels smaller than its input."""
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
                downsample_factors=[Coordinate((2, 2, 2))],
            ),
            trainer_config=GunpowderTrainerConfig(
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


class PlainBatches:
    """Makes batches from arrays in memory with NumPy and SciPy.

    Args:
        raw: The whole image.
        labels: Labels of the same shape.
        input_size: Edge of a raw sample.
        output_size: Edge of a target, in the middle of it.
        task: Its targets are made.
    """

    def __init__(self, raw: Values, labels: Values, input_size: int, output_size: int, task: TaskConfig) -> None:
        self.input_size, self.output_size, self.task = input_size, output_size, task
        self.context = (input_size - output_size) // 2
        # Wide enough for whatever a sample reaches for, as in the package.
        self.margin = input_size
        self.raw = np.pad(raw, self.margin, mode="reflect")
        self.labels = np.pad(labels.astype(np.int32), self.margin)
        self.mask = np.pad(np.ones(labels.shape, dtype=np.uint8), self.margin)
        self.rng = np.random.default_rng(0)
        self.forget()

    def forget(self) -> None:
        """Start counting classes anew."""
        self.counts = [no_counts() for _ in OFFSETS]

    def draw(self) -> Values:
        """Return where in the padded volume a raw sample begins, such that its target lies in the volume."""
        extent = self.raw.shape[0] - 2 * self.margin
        return self.rng.integers(0, extent - self.output_size + 1, 3) + self.margin - self.context

    def plain(self) -> Batch:
        """Return samples as they are."""
        return self.at([self.draw() for _ in range(SAMPLES)])

    def at(self, corners: list[Values]) -> Batch:
        """Return the samples that begin at the given corners."""
        samples = []
        for corner in corners:
            raw = self.raw[_box(corner, self.input_size)]
            box = _box(corner + self.context, self.output_size + self.reach)
            samples.append(Batch(raw[np.newaxis], *self.learn(self.labels[box], self.mask[box])))
        return _stack(samples)

    @property
    def reach(self) -> int:
        """How far ground truth is needed behind a sample."""
        return REACH if isinstance(self.task, AffinitiesTaskConfig) else 0

    def learn(self, labels: Values, mask: Values) -> tuple[Values, Values]:
        """Return target and weight of labels, without what they have in excess."""
        if isinstance(self.task, AffinitiesTaskConfig):
            target = affinities(labels, OFFSETS)
            classes = target.astype(np.uint8)
        else:
            target = np.tanh(doubled_grid_distance(labels) / np.float32(SCALE))[np.newaxis]
            classes = (labels > 0).astype(np.uint8)[np.newaxis]
        known = mask != 0
        weight = np.stack([counted_weights(c, known, n) for c, n in zip(classes, self.counts, strict=False)])
        inner = (slice(None), *(slice(0, self.output_size),) * 3)
        return target[inner], weight[inner]

    def augmented(self) -> Batch:
        """Return samples after all augmentations."""
        return _stack([self._augmented_sample(self.draw()) for _ in range(SAMPLES)])

    def _augmented_sample(self, corner: Values) -> Batch:
        around = self._deformation() + corner.reshape(3, 1, 1, 1).astype(np.float32)
        box = slice(self.context, self.context + self.output_size + self.reach)
        inner = around[:, box, box, box]
        raw = map_coordinates(self.raw, around[(slice(None), *(slice(0, self.input_size),) * 3)], order=1)
        labels, mask = (map_coordinates(values, inner, order=0) for values in (self.labels, self.mask))
        target, weight = self.learn(labels, mask)
        flips = (slice(None), *(slice(None, None, int(step)) for step in self.rng.choice((-1, 1), 3)))
        axes = (0, *(self.rng.permutation(3) + 1))
        raw, target, weight = (v[flips].transpose(axes) for v in (self._intensities(raw)[np.newaxis], target, weight))
        return Batch(raw, target, weight)

    def _deformation(self) -> Values:
        """Return where the voxels of a sample come from: randomly rotated, and displaced by a smooth field."""
        size = self.input_size
        knots = -(-size // SPACING) + 1
        grid = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32) - size / 2] * 3, indexing="ij"))
        matrix = Rotation.random(random_state=int(self.rng.integers(2**31))).as_matrix().astype(np.float32)
        field = self.rng.normal(0, DISPLACEMENT, (3, *(knots,) * 3)).astype(np.float32)
        smooth = np.stack([zoom(component, size / knots, order=3) for component in field])
        return np.tensordot(matrix, grid, axes=1) + smooth + np.float32(size / 2)

    def _intensities(self, raw: Values) -> Values:
        mean = raw.mean()
        raw = np.clip((raw - mean) * self.rng.uniform(0.8, 1.2) + mean + self.rng.uniform(-0.1, 0.1), 0, 1)
        low, high = raw.min(), raw.max()
        raw = ((raw - low) / (high - low)) ** self.rng.uniform(0.8, 1.25) * (high - low) + low
        return np.clip(raw + self.rng.normal(0, 0.001**0.5, raw.shape), 0, 1).astype(np.float32)


def _box(corner: Values, size: int) -> tuple[slice, ...]:
    return tuple(slice(int(begin), int(begin) + size) for begin in corner)


def _stack(samples: list[Batch]) -> Batch:
    return Batch(*(np.ascontiguousarray(np.stack(arrays), dtype=np.float32) for arrays in zip(*samples, strict=True)))


def find(volume: Values, sample: Values) -> list[Values]:
    """Return all places where a sample lies in a volume; several if the volume repeats by reflection."""
    row = sample[0, 0]
    rows = np.lib.stride_tricks.sliding_window_view(volume, row.size, axis=2)
    begins = [np.array(place) for place in np.argwhere(rows[..., 0] == row[0])]
    begins = [place for place in begins if np.array_equal(rows[tuple(place)], row)]
    return [place for place in begins if np.array_equal(volume[_box(place, row.size)], sample)]


def batches(setting: Setting, task: TaskConfig, augment: bool) -> Case:
    size = setting.size(64, 28)
    run = make_run(task, AUGMENTS if augment else [], size)
    dataset, raw, labels = write_dataset(setting.folder, setting.size(160, 48))
    run.trainer.build_batch_provider([dataset], run.model, run.task)
    ours = iter(setting.stack.enter_context(run.trainer))
    plain = PlainBatches(raw, labels, size, int(run.model.output_shape[0]), task)

    def check_same(batch: Any, _: Batch) -> None:
        """Make the batch of the same places the plain way; it is the first, so no classes are counted before."""
        corners = [find(plain.raw, sample[0]) for sample in batch.raw]
        np.testing.assert_equal([len(found) > 0 for found in corners], [True] * SAMPLES)
        plain.forget()
        expected = plain.at([found[0] for found in corners])
        for got, want in zip((batch.raw, batch.target, batch.weight), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-5)

    def check_similar(batch: Any, expected: Batch) -> None:
        """Compare what chance leaves alike."""
        for got, want in zip((batch.raw, batch.target, batch.weight), expected, strict=True):
            np.testing.assert_equal((got.shape, got.dtype), (want.shape, want.dtype))
            np.testing.assert_allclose(got.mean(), want.mean(), atol=0.2)
            np.testing.assert_allclose(got.std(), want.std(), atol=0.3)

    if augment:
        return Case(lambda: next(ours), plain.augmented, check_similar, "2")
    return Case(lambda: next(ours), plain.plain, check_same, "2")


CASES: dict[str, Callable[[Setting], Case]] = {
    "batches, affinities, 2 x 64^3": partial(batches, task=AFFINITIES, augment=False),
    "batches, affinities, all augments, 2 x 64^3": partial(batches, task=AFFINITIES, augment=True),
    "batches, distances, 2 x 64^3": partial(batches, task=DISTANCES, augment=False),
    "batches, distances, all augments, 2 x 64^3": partial(batches, task=DISTANCES, augment=True),
}
