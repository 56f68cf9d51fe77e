"""The base of all array types."""

from __future__ import annotations

from abc import ABC, abstractmethod


class ArrayType(ABC):
    """Say what the values of an array mean."""

    @property
    @abstractmethod
    def interpolatable(self) -> bool:
        """Whether values between two voxels may be averaged; labels may not."""
        raise NotImplementedError
