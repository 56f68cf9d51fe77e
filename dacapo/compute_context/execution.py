"""How an operation on a volume is carried out, as one value that is passed down whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from dacapo.compute_context.worker_count import DEFAULT_WORKERS
from dacapo.errors import ConfigError
from dacapo.utils.memory import parse_size
from dacapo.utils.precision import PRECISIONS

if TYPE_CHECKING:
    from dacapo.blockwise.journal import Resume


def _check_precision(instance: object, attribute: object, value: str) -> None:
    if value not in PRECISIONS:
        raise ConfigError(f"precision is {value!r}; expected one of {', '.join(PRECISIONS)}")


@attrs.frozen
class Execution:
    """How to predict, post-process and score: with how many workers, in how much memory, and whether to replace earlier
    results.

    Attributes:
        num_workers: Number of worker processes at most. None if nobody said: then a prediction has workers only where
            there are several GPUs or a cluster, and never more than
            :data:`~dacapo.compute_context.worker_count.DEFAULT_WORKERS`.
        max_memory: Bytes that all processes may take together, None for the usual share. Sizes such as ``"8GB"`` are
            taken too.
        precision: How the network computes: ``float32``, or ``bfloat16`` for mixed precision, which is faster and less
            exact.
        overwrite: Whether to replace an earlier output of other parameters.
        resume: How to treat earlier work with the same parameters; None begins anew, and keeps no journal.
    """

    num_workers: int | None = None
    max_memory: int | None = attrs.field(default=None, converter=attrs.converters.optional(parse_size))
    precision: str = attrs.field(default="float32", validator=_check_precision)
    overwrite: bool = True
    resume: Resume | None = None

    @property
    def workers(self) -> int:
        """Number of worker processes at most, for operations that need no network."""
        return DEFAULT_WORKERS if self.num_workers is None else self.num_workers
