"""Gunpowder nodes that turn arrays into training samples."""

from .apply_change import ApplyChange
from .copy import CopyMask
from .dacapo_array_source import DaCapoArraySource
from .dacapo_create_target import DaCapoTargetFilter
from .dacapo_points_source import GraphSource
from .elastic_augment_fuse import ElasticAugment
from .gamma_noise import GammaAugment
from .product import Product
from .reject_if_empty import RejectIfEmpty
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
    "Product",
    "RejectIfEmpty",
    "Request",
    "SimpleAugment",
    "Spec",
]
