"""Fewer samples that contain nothing but background."""

from __future__ import annotations

import random

import gunpowder as gp

from dacapo.errors import ConfigError
from dacapo.utils.attempts import Attempts


class RejectIfEmpty(gp.BatchFilter):  # type: ignore[misc]
    """Reject samples without foreground with some probability, and request others.

    A request with a seed is repeated with another seed, because the same seed would give the same sample.

    Attributes:
        max_attempts: Number of rejected samples in a row that is an error.
    """

    max_attempts = 10_000

    def __init__(self, gt: gp.ArrayKey | None = None, p: float = 0.5, background: int = 0) -> None:
        """Set which samples are empty.

        Args:
            gt: Key of the labels.
            p: Probability of rejecting an empty sample.
            background: The label of background.
        """
        self.gt = gt
        self.p = p
        self.background = background

    def setup(self) -> None:
        """Check that the labels are provided.

        Raises:
            ConfigError: If they are not.
        """
        if self.gt is None or self.gt not in self.spec:
            raise ConfigError(f"RejectIfEmpty needs labels, but {self.gt} is not provided upstream")

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Request samples until one is accepted.

        Raises:
            TrainingError: If too many are rejected in a row.
        """
        attempts = Attempts(
            f"they contain only background ({self.background}); check the ground truth or lower p", self.max_attempts
        )
        while True:
            attempt = request.copy()
            if request.is_deterministic():
                attempt._random_seed = random.randint(0, 2**32 - 1)
            batch = self.get_upstream_provider().request_batch(attempt)
            if (batch[self.gt].data != self.background).any() or random.random() >= self.p:
                return batch
            attempts.reject()
