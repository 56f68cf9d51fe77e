"""How an operation on a volume is carried out, as one value that is passed down whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from dacapo.compute_context.block_memory import BlockMemory
from dacapo.compute_context.compute_context import create_compute_context
from dacapo.compute_context.local_torch import LocalTorch
from dacapo.compute_context.steps import Step
from dacapo.compute_context.worker_count import DEFAULT_WORKERS
from dacapo.errors import ConfigError
from dacapo.utils import distributed
from dacapo.utils.memory import parse_size
from dacapo.utils.precision import PRECISIONS
from dacapo.utils.symmetries import NONE, TTA

if TYPE_CHECKING:
    from dacapo.blockwise.journal import Resume


def _check_precision(instance: object, attribute: object, value: str) -> None:
    if value not in PRECISIONS:
        raise ConfigError(f"precision is {value!r}; expected one of {', '.join(PRECISIONS)}")


def _check_tta(instance: object, attribute: object, value: str) -> None:
    if value not in TTA:
        raise ConfigError(f"tta is {value!r}; expected one of {', '.join(TTA)}")


@attrs.frozen
class Execution:
    """How to predict, post-process and score.

    Attributes:
        num_workers: Maximum number of worker processes. :mod:`dacapo.compute_context.worker_count` states what a number
            means, and None.
        max_memory: Bytes that all processes together may use, or a size such as ``"8GB"``; None for the default share
            of the memory.
        precision: Precision of the network: ``float32``, or ``bfloat16`` for mixed precision, which is faster and less
            exact.
        overwrite: Whether to replace an earlier output of other parameters. An output that this package did not write
            is never replaced.
        resume: How to treat earlier work with the same parameters. None starts over and keeps no journal.
        max_retries: Number of times to retry a failed block.
        timeout: Time limit of a block in a worker process, in seconds; None for no limit.
        tta: Test-time augmentation: ``none``; ``flips`` averages the predictions for mirrored raw data; ``turns`` also
            those for raw data turned by 90 degrees, between axes of the same voxel size.

    Raises:
        ConfigError: If a value is invalid, or the compute context of the options.
    """

    num_workers: int | None = None
    max_memory: int | None = attrs.field(default=None, converter=attrs.converters.optional(parse_size))
    precision: str = attrs.field(default="float32", validator=_check_precision)
    overwrite: bool = True
    resume: Resume | None = None
    max_retries: int = 2
    timeout: float | None = None
    tta: str = attrs.field(default=NONE, validator=_check_tta)

    def __attrs_post_init__(self) -> None:
        too_few = self.num_workers is not None and self.num_workers < 1
        if too_few or self.max_retries < 0 or (self.timeout is not None and not self.timeout > 0):
            raise ConfigError(
                f"got num_workers {self.num_workers}, max_retries {self.max_retries}, timeout {self.timeout}; "
                "expected at least 1 worker, no less than 0 retries, and a timeout above 0 or none"
            )
        create_compute_context()  # invalid settings are an error before anything is written

    @property
    def workers(self) -> int:
        """Maximum number of worker processes that segment."""
        return self.workers_for(Step.SEGMENT)

    def workers_for(self, step: Step) -> int:
        """Return the maximum number of worker processes of a step that needs no network."""
        if self.num_workers is None and distributed.world_size() > 1:
            return 1
        return create_compute_context(step=step).limited(self.num_workers) or DEFAULT_WORKERS

    @property
    def block_memory(self) -> BlockMemory:
        """The limits of memory for workers that segment."""
        return self.memory_for(Step.SEGMENT)

    def memory_for(self, step: Step) -> BlockMemory:
        """Return the limits of memory for workers of a step that needs no network."""
        return BlockMemory.of(self.max_memory, create_compute_context(step=step))

    @property
    def memory_here(self) -> BlockMemory:
        """The limits of memory for work that this process does, wherever workers run."""
        return BlockMemory.of(self.max_memory, LocalTorch())

    def for_blocks(self, block_bytes: int, step: Step = Step.SEGMENT) -> Execution:
        """Return the execution with as many workers as fit into memory, for work that needs no network.

        Args:
            block_bytes: Memory that a block takes.
            step: The step that takes most memory.

        Raises:
            MemoryBudgetError: If a single block is too large.
        """
        return attrs.evolve(self, num_workers=self.memory_for(step).workers(self.workers_for(step), block_bytes))
