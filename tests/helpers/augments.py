"""A config of each augmentation."""

from __future__ import annotations

import math

from dacapo.experiments.trainers.gp_augments import (
    ElasticAugmentConfig,
    GammaAugmentConfig,
    IntensityAugmentConfig,
    IntensityScaleShiftAugmentConfig,
    NoiseAugmentConfig,
    SimpleAugmentConfig,
)

ALL_AUGMENTS = [
    ElasticAugmentConfig([100] * 3, [10.0] * 3, (0.0, math.pi / 2), subsample=8, uniform_3d_rotation=True),
    GammaAugmentConfig((0.5, 2.0)),
    IntensityAugmentConfig((0.7, 1.3), (-0.2, 0.2)),
    IntensityScaleShiftAugmentConfig(2.0, -1.0),
    NoiseAugmentConfig(),
    SimpleAugmentConfig(),
]
