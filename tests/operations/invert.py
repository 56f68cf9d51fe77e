"""A blockwise operation for tests, in a module that loads quickly in worker processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.outputs import create_output
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier


@attrs.define(kw_only=True, eq=False)
class Invert(BlockwiseOperation):
    """Subtracts values from a number; leaves a line per block, and fails where it is told to."""

    input: LocalArrayIdentifier
    number: int = 255
    folder: Path = attrs.field()

    def create_output(self) -> None:
        like = ZarrArray.open_from_array_identifier(self.input, mode="r")
        create_output(self.output, like, self.region, self.block_shape, None, np.uint8, True, {"operation": "invert"})

    def parameters(self) -> dict[str, Any]:
        return {key: value for key, value in super().parameters().items() if key != "folder"}

    def open(self) -> None:
        self.source = ZarrArray.open_from_array_identifier(self.input, mode="r")
        self.target = ZarrArray.open_from_array_identifier(self.output)

    def process(self, block: Any) -> None:
        begin = list(map(int, block.write_roi.begin))
        with (self.folder / "log").open("a") as log:
            log.write(json.dumps(begin) + "\n")
        if (self.folder / "fault").exists() and begin == json.loads((self.folder / "fault").read_text()):
            raise ValueError("this block is bad")
        self.target[block.write_roi] = self.number - self.source[block.write_roi]
