"""A worker module as an operation, so that interrupted work with it can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import attrs
import daisy.v2 as daisy

from dacapo.blockwise.journal.identity import code_identity
from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.outputs import create_output
from dacapo.blockwise.worker.call import WorkerCall
from dacapo.blockwise.worker.user_modules import open_module
from dacapo.compute_context import Step
from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import open_identifier
from dacapo.store.array_store import LocalArrayIdentifier


@attrs.define(kw_only=True, eq=False)
class WorkerModule(BlockwiseOperation):
    """Calls the function of a worker module for each block; see :mod:`dacapo.blockwise`.

    Attributes:
        input: Gives axes and voxel size to the output.
        worker_file: A Python file, or the import path of a module.
        args: For the function.
        kwargs: For the function.
        dtype: Type of the output.
        channels: Length of its channel axis, None without one.
    """

    fixed_blocks: ClassVar[bool] = True

    input: LocalArrayIdentifier
    worker_file: str
    args: list[Any] = attrs.field(factory=list)
    kwargs: dict[str, Any] = attrs.field(factory=dict)
    dtype: str = "uint8"
    channels: int | None = None

    @property
    def name(self) -> str:
        return Path(self.worker_file).stem if self.worker_file.endswith(".py") else self.worker_file.rpartition(".")[2]

    @property
    def step(self) -> Step:
        return WorkerCall.of(self.worker_file, self.args, self.kwargs).step

    @property
    def needs_process(self) -> bool:
        return WorkerCall.of(self.worker_file, self.args, self.kwargs).needs_process

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), "code": code_identity(self.worker_file)}

    def create_output(self) -> None:
        like = open_identifier(self.input)
        origin = {"operation": "run_blockwise", "worker": self.worker_file}
        create_output(self.output, like, self.region, self.block_shape, self.channels, self.dtype, True, origin)

    def worker(self) -> tuple[str, list[Any], dict[str, Any]]:
        return self.worker_file, self.args, self.kwargs

    def open(self) -> None:
        process = open_module(self.worker_file, self.args, self.kwargs)
        if process is None:
            raise ConfigError(f"start_worker of {self.worker_file} returned nothing; it needs a process of its own")
        self._process = process

    def process(self, block: daisy.Block) -> None:
        self._process(block)
