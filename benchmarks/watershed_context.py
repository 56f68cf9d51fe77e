"""How far the mutex watershed in blocks is from that of the whole volume, as a function of the context.

    python -m benchmarks.watershed_context                             # cells that were made up, and the worst case
    python -m benchmarks.watershed_context --fib25 ../shared/data/fib25.zarr
    python -m benchmarks.watershed_context --growth                    # as a function of the number of blocks
    python -m benchmarks.watershed_context --quick

Affinities are those of true objects, blurred, with smooth noise, which leaves holes in boundaries and makes others
where there are none, as a network does; once with little noise and once with much. The worst case is noise alone,
where a segment anywhere depends on all of the volume. They are stored in 8 bits and segmented by the post-processor of
affinities, first as a whole, then in blocks. The distance is the variation of information in bits: how much the blocks
cut apart of the segments of the whole (split), and how much they join (merge).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from funlib.geometry import Coordinate
from scipy.ndimage import gaussian_filter

from dacapo.experiments.tasks.post_processors import WatershedPostProcessor, WatershedPostProcessorParameters
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.text_table import text_table
from dacapo.utils.voi import voi

from .arrays import on_disk
from .data import DIRECT, cells
from .floors import affinities
from .harness import machine

CONTEXTS = (1, 4, 8, 16, 32, 64)
OFFSETS = [*DIRECT, (6, 0, 0), (0, 6, 0), (0, 0, 6), (9, 9, 0), (0, 9, 9), (9, 0, 9)]
LITTLE, MUCH = 0.05, 0.1
PER_AXIS, GROWTH_CONTEXTS = (2, 3, 4), (8, 16, 32)
HEADER = ("context [voxels]", "VOI", "split", "merge", "segments", "of the whole")


def noisy(labels: npt.NDArray[Any], amount: float, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return affinities of labels, blurred, with smooth noise of a standard deviation, in 8 bits."""
    clean = affinities(labels, OFFSETS).astype(np.float32)
    rng = np.random.default_rng(seed)
    for channel in clean:
        noise = gaussian_filter(rng.standard_normal(channel.shape, dtype=np.float32), 2)
        channel[:] = gaussian_filter(channel, 1) + noise * (amount / noise.std())
    return np.rint(clean.clip(0, 1) * 255).astype(np.uint8)


def worst(size: int) -> npt.NDArray[np.uint8]:
    """Return smooth noise as affinities."""
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.standard_normal((len(OFFSETS), *(size,) * 3), dtype=np.float32), (0, 2, 2, 2))
    return np.rint((0.5 + 0.2 * noise / noise.std()).clip(0, 1) * 255).astype(np.uint8)


class Comparison:
    """Segments affinities as a whole and in blocks."""

    def __init__(self, values: npt.NDArray[np.uint8], folder: Path, bias: float = 0.5) -> None:
        """Segment the whole."""
        self.bias = bias
        place = on_disk(folder, "affinities", values, 64, {"value_range": [0.0, 1.0]})
        self.output = LocalArrayIdentifier(place.container, "labels")
        self.processor = WatershedPostProcessor(OFFSETS)
        self.processor.set_prediction(place)
        self.whole = self._segment(1, values.shape[-1])

    def _segment(self, context: int, block: int) -> npt.NDArray[np.uint64]:
        parameters = WatershedPostProcessorParameters(id=0, bias=self.bias, context=Coordinate((context,) * 3))
        self.processor.process(parameters, self.output, num_workers=1, block_size=Coordinate((block,) * 3))
        labels: npt.NDArray[np.uint64] = zarr.open(str(self.output.container), mode="r")[self.output.dataset][:]
        return labels

    def row(self, context: int, block: int) -> tuple[float, float, int, int]:
        """Segment in blocks; return how much of the whole is cut apart, how much is joined, and the two counts."""
        self.processor.whole_voxels = 0
        labels = self._segment(context, block)
        split, merge = voi(labels, self.whole, ignore_groundtruth=())
        return split, merge, int(labels.max()), int(self.whole.max())


def report(name: str, values: npt.NDArray[np.uint8], block: int, contexts: Sequence[int]) -> str:
    """Return the table of a volume."""
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(values, Path(folder))
        rows = []
        for context in contexts:
            split, merge, count, expected = comparison.row(context, block)
            rows.append([str(context), *(f"{v:.4f}" for v in (split + merge, split, merge)), str(count), str(expected)])
    shape = " x ".join(map(str, values.shape[1:]))
    return f"{name}, {shape} voxels in blocks of {block}^3\n\n{text_table(HEADER, rows)}\n"


def growth(block: int, per_axis: Sequence[int], contexts: Sequence[int]) -> str:
    """Return a table of cells with much noise in volumes of more and more blocks."""
    rows = []
    for count in per_axis:
        with tempfile.TemporaryDirectory() as folder:
            comparison = Comparison(noisy(cells(block * count), MUCH), Path(folder))
            for context in contexts:
                split, merge, *_ = comparison.row(context, block)
                rows.append([str(count**3), str(context), *(f"{v:.3f}" for v in (split + merge, split, merge))])
    header = ("blocks", "context [voxels]", "VOI", "split", "merge")
    return f"cells, much noise, in blocks of {block}^3\n\n{text_table(header, rows)}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each volume."""
    parser = argparse.ArgumentParser(prog="benchmarks.watershed_context", description="Measure the use of context.")
    parser.add_argument("--fib25", type=Path, help="Zarr container with real labels")
    parser.add_argument("--size", type=int, default=144, help="edge of the volumes")
    parser.add_argument("--block", type=int, default=48, help="edge of the blocks")
    parser.add_argument("--growth", action="store_true", help="volumes of more and more blocks instead")
    parser.add_argument("--quick", action="store_true", help="small volumes, to see that all works")
    options = parser.parse_args(arguments)
    size, block = (32, 16) if options.quick else (options.size, options.block)
    contexts = (1, 8, 32) if options.quick else CONTEXTS
    print("\n".join(machine()) + "\n")
    if options.growth:
        print(growth(block, *((2,), contexts) if options.quick else (PER_AXIS, GROWTH_CONTEXTS)))
        return
    volumes = {"cells": cells(size)}
    if options.fib25 is not None:
        volumes["neurons of fib25"] = zarr.open(str(options.fib25), mode="r")["labels"][(slice(0, size),) * 3]
    for name, labels in volumes.items():
        for amount, how in ((LITTLE, "little"), (MUCH, "much")):
            print(report(f"{name}, {how} noise", noisy(labels, amount), block, contexts), flush=True)
    print(report("noise alone", worst(size), block, contexts))


if __name__ == "__main__":
    main()
