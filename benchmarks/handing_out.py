"""How fast blocks are handed out to two workers, by the package and by Daisy alone.

    python -m benchmarks.handing_out           # some two minutes
    python -m benchmarks.handing_out --quick   # small, to see that all works

Both hand out blocks that do nothing, from this process to two worker processes, and mark each block on disk as done.
They take turns. The time per block is that of many blocks less that of few, so that the start of workers does not
count.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import daisy.v2 as daisy
import numpy as np
from daisy import logging as daisy_logging
from funlib.geometry import Roi

from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.scheduling.run_operation import run_operation
from dacapo.options import Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.text_table import text_table

from .harness import machine

WORKERS = 2
BLOCK = Roi((0, 0, 0), (1, 1, 1))


@attrs.define(kw_only=True, eq=False)
class Nothing(BlockwiseOperation):
    """Do nothing with each block."""

    def process(self, block: Any) -> None:
        """Do nothing."""


def nothing(block: Any) -> None:
    """Do nothing with a block."""


def by_package(count: int, folder: Path) -> None:
    """Hand out blocks with the package."""
    Options.instance(
        runs_base_dir=folder / "runs",
        compute_context={"type": "LocalTorch", "config": {"_device": "cpu", "distribute_workers": True}},
    )
    output = LocalArrayIdentifier(folder / "out.zarr", "result")
    run_operation(Nothing(output=output, region=Roi((0, 0, 0), (count, 1, 1)), block_shape=BLOCK.shape), WORKERS)


def by_daisy(count: int, folder: Path) -> None:
    """Hand out blocks with Daisy alone."""
    daisy_logging.set_log_basedir(folder / "logs")
    task = daisy.Task(
        "empty",
        Roi((0, 0, 0), (count, 1, 1)),
        BLOCK,
        BLOCK,
        nothing,
        read_write_conflict=False,
        max_workers=WORKERS,
        tracking_path=str(folder / "marks"),
    )
    if not daisy.run_blockwise(task, progress=False, summary=False):
        raise RuntimeError("not all blocks were done")


WAYS: dict[str, Callable[[int, Path], None]] = {"dacapo": by_package, "Daisy": by_daisy}


def timed(way: Callable[[int, Path], None], count: int) -> np.ndarray[Any, Any]:
    """Return the seconds that some blocks take, and those of processors in all processes."""
    with tempfile.TemporaryDirectory(prefix="handing_out_") as folder:
        before, started = sum(os.times()[:4]), time.perf_counter()
        way(count, Path(folder))
        return np.array([time.perf_counter() - started, sum(os.times()[:4]) - before])


def per_block(few: int, many: int, rounds: int) -> dict[str, np.ndarray[Any, Any]]:
    """Measure all ways in turn; return for each the microseconds per block, and those of processors, by round."""
    taken: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in WAYS}
    for number in range(rounds):
        for name in list(WAYS)[:: 1 if number % 2 == 0 else -1]:
            start = timed(WAYS[name], few)
            taken[name].append((timed(WAYS[name], many) - start) / (many - few) * 1e6)
    return {name: np.stack(each) for name, each in taken.items()}


def table(measured: dict[str, np.ndarray[Any, Any]]) -> str:
    """Return medians over the rounds as a table, with the median and quartiles of the ratios of single rounds."""
    rows = []
    for name, each in measured.items():
        wall, processors = np.median(each, axis=0)
        rows.append([name, f"{wall:.0f}", f"{1e6 / wall:.0f}", f"{processors:.0f}"])
    lines = [text_table(("by", "us per block", "blocks per second", "us of processors"), rows)]
    ratios = np.percentile(measured["dacapo"] / measured["Daisy"], [25, 50, 75], axis=0).T
    for kind, (low, median, high) in zip(("time", "processors"), ratios, strict=True):
        lines.append(f"ratio of {kind}: {median:.2f}, quartiles {low:.2f} to {high:.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=1_000, help="number of blocks of the short calls")
    parser.add_argument("--many", type=int, default=50_000, help="number of blocks of the long calls")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one small round")
    options = parser.parse_args()
    sizes = (10, 500, 1) if options.quick else (options.few, options.many, options.rounds)
    print("\n".join(machine()), end="\n\n", flush=True)
    print(table(per_block(*sizes)))


if __name__ == "__main__":
    main()
