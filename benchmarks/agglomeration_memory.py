"""The memory that agglomeration takes per voxel, beside the estimate of it.

    python -m benchmarks.agglomeration_memory
    python -m benchmarks.agglomeration_memory --edges 256 --channels 3 --dtypes uint8

Each piece of work runs in a forked process of its own, with the smallest fragments (seeds one voxel apart), on the
affinities of synthetic cells and on noise: cutting a block into fragments, counting their contacts, and segmenting a
volume as a whole, by the mean and by the median. Numbers are bytes per voxel of the peak of its resident memory beyond
what it held before. The last column is the estimate divided by the largest of them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi
from scipy.ndimage import gaussian_filter

from dacapo.blockwise.agglomeration import FragmentGraphPlan
from dacapo.blockwise.scheduling.run_operation import run_stage
from dacapo.blockwise.watershed_function import read_affinities
from dacapo.compute_context import Execution
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.agglomeration import Cut, Fragmented
from dacapo.utils.fragments import FragmentParameters, direct_channels
from dacapo.utils.memory_estimates import agglomeration_voxel_bytes
from dacapo.utils.text_table import text_table

from .agglomeration import OFFSETS, synthetic_levels
from .growth import forget_peak, status
from .harness import machine

WORK = ("cut", "count", "mean", "median")
HEADER = ("affinities", "edge", "channels", "values", *WORK, "estimate", "ratio")
SMALLEST = FragmentParameters(seed_distance=1)
WARM = 32  # edge of a volume on which everything is done once, so that all is compiled


Levels = npt.NDArray[np.uint8]


@attrs.frozen
class Volume:
    """A stored prediction of affinities, first those to direct neighbors, and how to segment it."""

    folder: Path
    offsets: list[list[int]]

    @property
    def prediction(self) -> LocalArrayIdentifier:
        return LocalArrayIdentifier(self.folder / "volume.zarr", "prediction")

    def write(self, levels: Levels, dtype: str) -> None:
        """Write the prediction slab by slab."""
        shape = levels.shape[1:]
        array = ZarrArray.create_from_array_identifier(
            self.prediction,
            ["c", "z", "y", "x"],
            Roi((0, 0, 0), shape),
            len(self.offsets),
            Coordinate(1, 1, 1),
            np.dtype(dtype),
            write_size=Coordinate(64, 64, 64),
        )
        for z in range(0, shape[0], 64):
            slab = np.stack([levels[channel % len(levels), z : z + 64] for channel in range(len(self.offsets))])
            values = slab if dtype == "uint8" else (slab / np.float32(255)).astype(dtype)
            array[Roi((z, 0, 0), slab.shape[1:])] = values

    def do(self, work: str) -> None:
        """Do a piece of work; counting comes after cutting."""
        if work in ("mean", "median"):
            affinities, value_range = read_affinities(
                ZarrArray.open_from_array_identifier(self.prediction), len(self.offsets)
            )
            fragmented = Fragmented.of(affinities, self.offsets, SMALLEST, value_range)
            del affinities
            list(fragmented.segmentations([Cut(0.5, None if work == "mean" else 0.5)]))
            return
        shape = ZarrArray.open_from_array_identifier(self.prediction).roi.shape
        plan = FragmentGraphPlan(input=self.prediction, offsets=self.offsets, fragments=SMALLEST, block_shape=shape)
        passes = plan.passes(LocalArrayIdentifier(self.folder / "volume.zarr", "fragments"), self.folder)
        if work == "cut":
            passes[0].create_output()
        run_stage(passes[WORK.index(work)], None, Execution(1), in_process=True)


def noise_levels(edge: int) -> Levels:
    """Return affinities of smoothed noise, as levels."""
    rng = np.random.default_rng(0)
    smooth = [gaussian_filter(rng.standard_normal((edge,) * 3, dtype=np.float32), 1) for _ in OFFSETS]
    return np.stack([np.clip(128 + 90 * one / one.std(), 0, 255) for one in smooth]).astype(np.uint8)


def forked(work: Callable[[], Any]) -> int:
    """Return the bytes that some work takes at its peak, in a forked process."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)

    def measure() -> None:
        before = forget_peak()
        work()
        sending.send(status("VmHWM") - before)

    process = context.Process(target=measure)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"the work ended with exit code {process.exitcode}")
    return int(receiving.recv())


def measure(name: str, levels: Levels, channels: int, dtype: str) -> list[str]:
    """Return a row of the table for a volume of some levels."""
    far = [[4 * step for step in OFFSETS[channel % len(OFFSETS)]] for channel in range(channels - len(OFFSETS))]
    offsets = [list(offset) for offset in OFFSETS] + far
    edge = levels.shape[1]
    with tempfile.TemporaryDirectory(prefix="agglomeration_") as folder:
        volume = Volume(Path(folder), offsets)
        forked(lambda: volume.write(levels, dtype))
        taken = [forked(lambda work=work: volume.do(work)) / edge**3 for work in WORK]
    estimate = agglomeration_voxel_bytes(len(direct_channels(offsets)), channels, np.dtype(dtype).itemsize)
    numbers = [f"{number:.1f}" for number in (*taken, estimate)]
    return [name, f"{edge}^3", str(channels), dtype, *numbers, f"{estimate / max(taken):.2f}"]


def warm_up(levels: Levels) -> None:
    """Do everything once, on a small volume."""
    with tempfile.TemporaryDirectory(prefix="agglomeration_") as folder:
        volume = Volume(Path(folder), [list(offset) for offset in OFFSETS])
        volume.write(np.ascontiguousarray(levels[:, :WARM, :WARM, :WARM]), "float32")
        for work in WORK:
            volume.do(work)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, nargs="+", default=[128, 192, 256])
    parser.add_argument("--channels", type=int, nargs="+", default=[3, 9])
    parser.add_argument("--dtypes", nargs="+", default=["uint8", "float32"])
    arguments = parser.parse_args()
    print(*machine(), sep="\n")
    most = max(arguments.edges)
    volumes = {"cells": synthetic_levels(most), "noise": noise_levels(most)}
    warm_up(volumes["noise"])
    rows = [
        measure(name, np.ascontiguousarray(levels[:, :edge, :edge, :edge]), channels, dtype)
        for name, levels in volumes.items()
        for edge in arguments.edges
        for channels in arguments.channels
        for dtype in arguments.dtypes
    ]
    print(text_table(HEADER, rows))


if __name__ == "__main__":
    main()
