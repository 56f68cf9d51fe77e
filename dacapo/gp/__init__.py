"""Gunpowder nodes that turn arrays into training batches."""

from .apply_change import ApplyChange
from .copy import CopyMask
from .dacapo_array_source import DaCapoArraySource
from .dacapo_create_target import DaCapoTargetFilter
from .dacapo_points_source import GraphSource
from .elastic_augment_fuse import ElasticAugment
from .gamma_noise import GammaAugment
from .padded_array_source import PaddedArraySource
from .product import Product
from .random_target_location import RandomTargetLocation
from .reject import Reject, RejectMasked
from .reject_if_empty import RejectIfEmpty
from .sample_source import SampleSource
from .simple_augment import SimpleAugment
from .specs import Request, Spec

__all__ = [
    "ApplyChange",
    "CopyMask",
    "DaCapoArraySource",
    "DaCapoTargetFilter",
    "ElasticAugment",
    "GammaAugment",
    "GraphSource",
    "PaddedArraySource",
    "Product",
    "RandomTargetLocation",
    "Reject",
    "RejectIfEmpty",
    "RejectMasked",
    "Request",
    "SampleSource",
    "SimpleAugment",
    "Spec",
]
