"""Limit on how often a random draw is repeated."""

from __future__ import annotations

import time
from logging import getLogger

from dacapo.errors import TrainingError

logger = getLogger(__name__)


class Attempts:
    """Count rejected draws: warn if they take long, and fail if there are too many."""

    def __init__(self, reason: str, limit: int = 10_000) -> None:
        """Set the limit.

        Args:
            reason: Why draws are rejected, and what to do about it.
            limit: Number of rejections that is an error.
        """
        self.reason = reason
        self.limit = limit
        self.rejected = 0
        self._warn_at = time.monotonic() + 10

    def reject(self) -> None:
        """Count a rejection.

        Raises:
            TrainingError: If it is one too many.
        """
        self.rejected += 1
        if self.rejected >= self.limit:
            raise TrainingError(f"rejected {self.rejected} samples in a row: {self.reason}")
        if time.monotonic() > self._warn_at:
            logger.warning("rejected %d samples in a row, still looking: %s", self.rejected, self.reason)
            self._warn_at = time.monotonic() + 60
