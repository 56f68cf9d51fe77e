"""Augmentations: random changes of samples that a network should not depend on."""

from .augment_config import AugmentConfig, GeometryAugmentConfig, ValueAugmentConfig
from .elastic_config import ElasticAugmentConfig
from .gamma_config import GammaAugmentConfig
from .intensity_config import IntensityAugmentConfig
from .intensity_scale_shift_config import IntensityScaleShiftAugmentConfig
from .noise_config import NoiseAugmentConfig
from .simple_config import SimpleAugmentConfig

__all__ = [
    "AugmentConfig",
    "ElasticAugmentConfig",
    "GammaAugmentConfig",
    "GeometryAugmentConfig",
    "IntensityAugmentConfig",
    "IntensityScaleShiftAugmentConfig",
    "NoiseAugmentConfig",
    "SimpleAugmentConfig",
    "ValueAugmentConfig",
]
