"""The steps of work in blocks, whose workers may need different resources."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from dacapo.errors import ConfigError

CPU = "cpu"
"""Name that stands for all steps without a network, in the ``steps`` of a compute context."""


class Step(StrEnum):
    """A step of an operation, which the ``steps`` of a compute context name."""

    PREDICT = "predict"
    """A network predicts."""
    SEGMENT = "segment"
    """Blocks of a prediction are segmented: fragments of a watershed, thresholds, a segment function."""
    MATCH = "match"
    """Segments of neighboring blocks, or the contacts between them, are found."""
    RELABEL = "relabel"
    """Joined segments are written."""
    EVALUATE = "evaluate"
    """A segmentation is scored."""
    PYRAMID = "pyramid"
    """Smaller levels for viewers are written."""
    CONVERT = "convert"
    """An array is written in another format."""
    BLOCKWISE = "blockwise"
    """A worker file or an operation of the user does anything."""

    @property
    def may_need_gpu(self) -> bool:
        """Whether workers get the GPUs of the compute context; others compute on CPUs only."""
        return self in (Step.PREDICT, Step.BLOCKWISE)

    @classmethod
    def of(cls, name: object, where: str) -> Self:
        """Return the step of a name.

        Args:
            name: The name.
            where: Its place, for the error.

        Raises:
            ConfigError: If no step has the name.
        """
        try:
            return cls(name)  # type: ignore[arg-type]
        except ValueError as error:
            raise ConfigError(f"{where} names the step {name!r}; known are {', '.join(cls)}") from error
