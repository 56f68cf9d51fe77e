"""The base class of all array types."""

from __future__ import annotations

from abc import ABC, abstractmethod


class ArrayType(ABC):
    """Describe the meaning of the values of an array."""

    @property
    @abstractmethod
    def interpolatable(self) -> bool:
        """Whether values between two voxels may be averaged; labels may not."""
        raise NotImplementedError
