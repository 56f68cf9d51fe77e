"""Asking again until a sample is worth training on."""

from __future__ import annotations

import random
import time
from abc import abstractmethod
from logging import getLogger

import gunpowder as gp
from funlib.geometry import Roi

from dacapo.errors import TrainingError

logger = getLogger(__name__)


class Reject(gp.BatchFilter):  # type: ignore[misc]
    """Request batches from upstream until one is accepted.

    A request with a seed is repeated with another seed, since it would bring the same batch again.
    """

    max_attempts = 10_000

    @abstractmethod
    def accepts(self, batch: gp.Batch) -> bool:
        """Return whether to pass on a batch."""
        raise NotImplementedError

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Request until a batch is accepted.

        Raises:
            TrainingError: If none of very many batches is accepted.
        """
        warn_at = time.monotonic() + 10
        for attempt in range(1, self.max_attempts + 1):
            attempt_request = request.copy()
            if request.is_deterministic():
                attempt_request._random_seed = random.randint(0, 2**32 - 1)
            batch = self.get_upstream_provider().request_batch(attempt_request)
            if self.accepts(batch):
                return batch
            if time.monotonic() > warn_at:
                logger.warning("%s has rejected %d samples in a row, and goes on looking", self.name(), attempt)
                warn_at = time.monotonic() + 60
        raise TrainingError(f"{self.name()} has rejected {self.max_attempts} samples in a row: {self.reason()}")

    def reason(self) -> str:
        """Say what was missing, and what to do about it."""
        return "no sample meets its condition"


class RejectMasked(Reject):
    """Reject samples with too small a part of masked-in voxels."""

    def __init__(self, mask: gp.ArrayKey, min_masked: float, roi: Roi | None = None) -> None:
        """Set the smallest part.

        Args:
            mask: Array of 0 (left out) and any other values, such as 1.
            min_masked: Smallest part of it that must not be 0, from 0 to 1.
            roi: Where to look, in the coordinates of the request; by default all of the mask that is requested.
        """
        self.mask = mask
        self.min_masked = min_masked
        self.roi = roi

    def setup(self) -> None:
        """Nothing changes but the choice of samples."""

    def accepts(self, batch: gp.Batch) -> bool:
        """Return whether enough of the mask is set."""
        mask = batch[self.mask]
        roi = mask.spec.roi if self.roi is None else self.roi.intersect(mask.spec.roi)
        return bool((mask.crop(roi, copy=False).data != 0).mean() >= self.min_masked)

    def reason(self) -> str:
        """Say what was missing, and what to do about it."""
        return f"less than min_masked = {self.min_masked} of each was masked in; lower min_masked or check the masks"
