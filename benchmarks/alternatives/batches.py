"""Training batches of two augmented samples, made in this process.

Ours come from a volume on disk and end with affinities and their weights. Those of the others come from a volume in
memory and end with labels, so they do less. Augmentations are of the same kinds, each as the library makes it: turns
and mirroring, a smooth deformation with a rotation, changes of intensity, gamma, noise. Each sample goes through all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dacapo.experiments.trainers import TorchTrainerConfig

from ..batches import AFFINITIES, AUGMENTS, make_run, write_dataset
from ..floors import DISPLACEMENT, SAMPLES, SPACING
from ..harness import Case, Setting
from .comparison import Comparison
from .limits import seconds_of_bytes

SCALE, SHIFT, GAMMA, VARIANCE = 0.2, 0.1, (0.8, 1.25), 0.001
Sample = Callable[[np.ndarray, np.ndarray, int], tuple[Any, Any]]


def monai_sample(raw: np.ndarray, labels: np.ndarray, size: int) -> Callable[[], tuple[Any, Any]]:
    from monai import transforms as t

    both = ["raw", "labels"]
    pipeline = t.Compose(
        [
            t.RandSpatialCropd(both, size, random_size=False),
            *(t.RandFlipd(both, 0.5, axis) for axis in range(3)),
            t.RandRotate90d(both, 0.5),
            t.Rand3DElasticd(
                both,
                (SPACING / 2, SPACING / 2),
                (DISPLACEMENT, DISPLACEMENT),
                prob=1,
                rotate_range=[np.pi / 2] * 3,
                mode=["bilinear", "nearest"],
            ),
            t.RandScaleIntensityd("raw", SCALE, prob=1),
            t.RandShiftIntensityd("raw", SHIFT, prob=1),
            t.RandAdjustContrastd("raw", prob=1, gamma=GAMMA),
            t.RandGaussianNoised("raw", prob=1, std=VARIANCE**0.5),
        ]
    )
    data = {"raw": torch.from_numpy(raw)[None], "labels": torch.from_numpy(labels.astype(np.int32))[None]}

    def sample() -> tuple[Any, Any]:
        made: Any = pipeline(data)
        return made["raw"], made["labels"]

    return sample


def torchio_sample(raw: np.ndarray, labels: np.ndarray, size: int) -> Callable[[], tuple[Any, Any]]:
    import torchio as tio

    subject = tio.Subject(
        raw=tio.ScalarImage(tensor=torch.from_numpy(raw)[None]),
        labels=tio.LabelMap(tensor=torch.from_numpy(labels.astype(np.int32))[None]),
    )
    patches = tio.UniformSampler(size)(subject)
    pipeline = tio.Compose(
        [
            tio.RandomFlip(axes=(0, 1, 2)),
            tio.RandomElasticDeformation(size // SPACING + 3, max_displacement=2 * DISPLACEMENT),
            tio.RandomAffine(scales=0, degrees=90),
            tio.RandomGamma(tuple(np.log(GAMMA))),
            tio.RandomNoise(std=VARIANCE**0.5),
        ]
    )

    def sample() -> tuple[Any, Any]:
        made = pipeline(next(patches))
        return made["raw"].data, made["labels"].data

    return sample


def batchgenerators_sample(raw: np.ndarray, labels: np.ndarray, size: int) -> Callable[[], tuple[Any, Any]]:
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.spatial.transpose import TransposeAxesTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

    pipeline = ComposeTransforms(
        [
            SpatialTransform(
                (size,) * 3,
                size // 2,
                random_crop=True,
                p_elastic_deform=1,
                elastic_deform_scale=SPACING / size,
                elastic_deform_magnitude=DISPLACEMENT / size,
                p_rotation=1,
                rotation=(0, np.pi / 2),
                mode_seg="nearest",
            ),
            MirrorTransform((0, 1, 2)),
            TransposeAxesTransform({0, 1, 2}),
            MultiplicativeBrightnessTransform((1 - SCALE, 1 + SCALE), synchronize_channels=True),
            GammaTransform(GAMMA, p_invert_image=0, synchronize_channels=True, p_per_channel=1, p_retain_stats=0),
            GaussianNoiseTransform((VARIANCE, VARIANCE)),
        ]
    )
    image, segmentation = torch.from_numpy(raw)[None], torch.from_numpy(labels.astype(np.int16))[None]

    def sample() -> tuple[Any, Any]:
        made = pipeline(image=image, segmentation=segmentation)
        return made["image"], made["segmentation"]

    return sample


def batches(setting: Setting, other: str, make: Callable[..., Callable[[], tuple[Any, Any]]]) -> Comparison:
    size = setting.size(64, 32)
    run = make_run(AFFINITIES, AUGMENTS, size, trainer=TorchTrainerConfig)
    dataset, raw, labels = write_dataset(setting.folder, setting.size(160, 64))
    run.trainer.build_batch_provider([dataset], run.model, run.task)
    ours = iter(setting.stack.enter_context(run.trainer))  # type: ignore[call-overload]
    sample = make(raw, labels, size)

    def theirs() -> tuple[np.ndarray, np.ndarray]:
        samples = [sample() for _ in range(SAMPLES)]
        raws, truths = (np.stack([np.asarray(values) for values in column]) for column in zip(*samples, strict=True))
        return raws, truths

    def check(batch: Any, made: tuple[np.ndarray, np.ndarray]) -> None:
        """Chance decides the values, so compare shapes, brightness, and that both have several cells."""
        raws, truths = made
        np.testing.assert_equal(batch.raw.shape, raws.shape)
        np.testing.assert_equal(raws.shape, truths.shape)
        np.testing.assert_allclose([batch.raw.mean(), raws.mean()], raw.mean(), atol=0.3)
        np.testing.assert_array_less(2, len(np.unique(truths)))
        np.testing.assert_array_less(0, np.std(batch.target))

    moved = np.empty((SAMPLES, 2, *(size,) * 3), dtype=np.float32)
    return Comparison(
        "batches, all augments, 2 x 64^3",
        other,
        Case(lambda: next(ours), theirs, check),
        lambda: seconds_of_bytes(moved),
    )


OTHERS = {"MONAI": monai_sample, "torchio": torchio_sample, "batchgeneratorsv2": batchgenerators_sample}
