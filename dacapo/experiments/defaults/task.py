"""The task: objects by affinities, or classes by their probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from funlib.geometry import Coordinate

from dacapo.experiments.tasks import AffinitiesTaskConfig, OneHotTaskConfig

from .facts import Facts

SMALLEST = 50  # voxels; the mutex watershed leaves specks between objects
STEPS = {True: (1, 2), False: (1, 3, 9)}
"""Voxels to the neighbors that a voxel is compared with along an axis, by whether the axis is coarse."""


def instance_task(facts: Facts) -> AffinitiesTaskConfig:
    """Return the task of segmenting objects."""
    steps = [STEPS[is_coarse] for is_coarse in facts.coarse_axes]
    neighborhood = [
        Coordinate(step if a == axis else 0 for a in range(len(steps)))
        for _, axis, step in sorted((i, axis, step) for axis, own in enumerate(steps) for i, step in enumerate(own))
    ]
    return AffinitiesTaskConfig(name="affinities", neighborhood=neighborhood, min_size=SMALLEST)


def semantic_task(classes: Sequence[str]) -> OneHotTaskConfig:
    """Return the task of assigning a class to every voxel.

    Args:
        classes: Name of the class of each label, from 0 on.
    """
    return OneHotTaskConfig(name="classes", classes=list(classes))
