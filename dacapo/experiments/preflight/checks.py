"""The table of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from . import estimates, label_checks, raw_checks, space_checks
from .look import Look
from .report import Finding


@attrs.frozen
class Check:
    """A check.

    Attributes:
        finds: The problem, as a sentence of the documentation.
        run: Yields a finding for each problem.
    """

    finds: str
    run: Callable[[Look], Iterator[Finding]]


DATA = (
    Check("Voxels that cannot be read.", raw_checks.unreadable),
    Check("Raw values that are NaN or infinite.", raw_checks.not_finite),
    Check("Raw data, or one of its channels, with a single value.", raw_checks.constant_raw),
    Check("Chunks of raw data that are not stored, and read as zeros.", raw_checks.missing_chunks),
    Check("Raw values far from 0..1 that reach the network.", raw_checks.unscaled),
    Check("Masks that leave nothing annotated.", label_checks.unannotated),
    Check("Labels with a single value, such as background.", label_checks.background_only),
    Check("Labels with less than a thousandth of foreground.", label_checks.sparse),
    Check("Ids that are not the number of a class, in a one-hot task.", label_checks.beyond_classes),
    Check("Classes without a voxel of ground truth.", label_checks.absent_classes),
    Check("One id for all objects, in a task that tells objects apart.", label_checks.single_object),
    Check("Ground truth that lies beyond raw data.", space_checks.coverage),
    Check("Raw data that does not reach as far as the context of the network.", space_checks.context),
    Check("Validation data of another voxel size than training data.", space_checks.voxel_sizes),
    Check("Files without a unit of lengths, where others have one.", space_checks.units),
)
"""The checks of data, which ``train`` runs."""

ESTIMATES = (
    Check("Memory of training, compared with that of the device.", estimates.memory),
    Check("Time of training.", estimates.duration),
)
"""Estimates, which take longer than the checks."""
