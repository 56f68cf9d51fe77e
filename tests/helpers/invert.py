"""A blockwise operation for tests, in a module that loads quickly in worker processes."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.outputs import create_output
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, write_array


def make_invert(
    folder: Path,
    values: np.ndarray,
    block: tuple[int, ...],
    output: Path | None = None,
    kind: type[Invert] | None = None,
) -> Invert:
    """Write values into a folder, and return the operation that inverts them in blocks of so many voxels."""
    return (kind or Invert)(
        input=write_array(folder / "in.zarr", "raw", values),
        output=LocalArrayIdentifier(output or folder / "out.zarr", "a/inverted"),
        region=Roi(OFFSET, Coordinate(values.shape) * VOXEL_SIZE),
        block_shape=Coordinate(block) * VOXEL_SIZE,
        folder=folder,
    )


def set_fault(folder: Path, how: str, begin: list[int]) -> Path:
    """Let the operation in a folder fail at a block, and return the file that says so."""
    file = folder / "fault"
    file.write_text(json.dumps([how, begin]))
    return file


def tried(folder: Path) -> list[list[int]]:
    """Return the blocks that were tried in a folder since the last call."""
    log = folder / "log"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return sorted(lines)


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
        with (self.folder / "pids").open("a") as pids:
            pids.write(f"{os.getpid()}\n")

    def process(self, block: Any) -> None:
        begin = list(map(int, block.write_roi.begin))
        with (self.folder / "log").open("a") as log:
            log.write(json.dumps(begin) + "\n")
        fault = self.folder / "fault"
        how, place = json.loads(fault.read_text()) if fault.exists() else ("", None)
        if begin == place:
            if how.endswith("once"):
                fault.unlink()
            self.fail(how)
        self.target[block.write_roi] = self.number - self.source[block.write_roi]

    def fail(self, how: str) -> None:
        """Do what a file in the folder asks for at this block."""
        if how.startswith("raise"):
            raise ValueError("this block is bad")
        if how == "kill all once":
            pids: list[int] = []
            while len(pids) < 2:
                pids = list(map(int, (self.folder / "pids").read_text().split()))
            for pid in sorted(pids, key=lambda pid: pid == os.getpid()):
                os.kill(pid, signal.SIGKILL)
        if how.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "wait":
            (self.folder / "waiting").touch()
            time.sleep(600)
