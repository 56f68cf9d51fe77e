"""Fewer samples of nothing but background."""

from __future__ import annotations

import random

import gunpowder as gp

from dacapo.errors import ConfigError

from .reject import Reject


class RejectIfEmpty(Reject):
    """Reject samples without any foreground, with some probability."""

    def __init__(self, gt: gp.ArrayKey | None = None, p: float = 0.5, background: int = 0) -> None:
        """Set what counts as empty.

        Args:
            gt: The labels to look at.
            p: Probability with which an empty sample is rejected.
            background: The label that is no foreground.
        """
        self.gt = gt
        self.p = p
        self.background = background

    def setup(self) -> None:
        """Check that the labels are there.

        Raises:
            ConfigError: If they are not.
        """
        if self.gt is None or self.gt not in self.spec:
            raise ConfigError(f"RejectIfEmpty needs labels, but {self.gt} is not provided upstream")

    def accepts(self, batch: gp.Batch) -> bool:
        """Return whether there is foreground, or chance lets the batch pass."""
        if (batch[self.gt].data != self.background).any():
            return True
        return random.random() >= self.p

    def reason(self) -> str:
        """Say what was missing, and what to do about it."""
        return f"all consist of background ({self.background}) only; check the ground truth or lower p"
