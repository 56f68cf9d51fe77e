"""What a volume of 10^12 voxels takes, computed from what single blocks take here.

    python -m benchmarks.teravoxel --gpus 1 8 64
    python -m benchmarks.teravoxel --quick

The network is that of :mod:`benchmarks.gpu`. Measured in this process, with one thread: reading a block with its
context, storing its prediction, handing out a block (by the fit of :mod:`benchmarks.scaling`), the mutex watershed of a
block, and joining the fragments of blocks (:mod:`benchmarks.joining`). Counted: the operations of the network. Assumed,
since this needs no GPU: which share of the published peak of a GPU the network reaches (``benchmarks.gpu`` tells for
one that is there), and that the storage is fast enough for all workers.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import attrs
import numpy as np
import torch
from funlib.geometry import Coordinate, Roi
from torch.utils.flop_counter import FlopCounterMode

from dacapo.experiments.datasplits.datasets.arrays import IntensitiesArray, IntensitiesArrayConfig, ZarrArrayConfig
from dacapo.experiments.run import Run
from dacapo.inference.budget import plan_within
from dacapo.utils.quantize import dequantize, quantize
from dacapo.utils.segmentation import mutex_watershed
from dacapo.utils.text_table import text_table

from . import gpu, joining, scaling
from .arrays import in_memory, on_disk
from .data import VOXEL_SIZE, cells, image
from .harness import machine, timed
from .watershed_context import LITTLE, OFFSETS, noisy

VOXELS = 10**12
# Dense bfloat16 operations of the tensor cores per second, as the vendor's data sheets give them, and memory in GB.
GPUS = {"A100": (312e12, 80), "H100": (989e12, 80), "H200": (989e12, 141)}
SHARES = (0.05, 0.2)


@attrs.frozen
class Prediction:
    """What a block of a prediction takes.

    Attributes:
        written: Voxels that it writes.
        read: Voxels that it reads.
        operations: Floating-point operations of the network.
        seconds: Reading, preparing, rounding and writing, without the network.
    """

    written: int
    read: int
    operations: int
    seconds: float


def prediction(run: Run, folder: Path, memory: int, limit: int | None) -> Prediction:
    """Measure and count for a block that fits into so many bytes, of ``limit`` voxels along an axis at most."""
    large = in_memory(np.broadcast_to(np.uint8(0), (4096,) * 3))
    plan = plan_within(run.model, large, max_memory=memory).plan
    write = plan.write_shape if limit is None else Coordinate(map(min, plan.write_shape, VOXEL_SIZE * limit))
    # Somewhere inside the volume, where there is context on all sides.
    read = plan.read_roi(Roi(write, write)).shape / VOXEL_SIZE
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        run.model.to("meta").eval()(torch.empty((1, 1, *read), device="meta"))
    stored = on_disk(folder, "raw", image(cells(max(read))))
    config = ZarrArrayConfig(name="raw", file_name=stored.container, dataset=stored.dataset)
    raw = IntensitiesArray(IntensitiesArrayConfig(name="scaled", source_array_config=config, min=0.0, max=255.0))
    part, shape = Roi((0, 0, 0), read * VOXEL_SIZE), write / VOXEL_SIZE
    one = np.resize(dequantize(noisy(cells(64), LITTLE), (0.0, 1.0)), (run.model.num_out_channels, *shape))
    seconds = timed(lambda: torch.from_numpy(np.ascontiguousarray(raw.read_padded(part), np.float32)))
    seconds += timed(lambda: on_disk(folder, "prediction", quantize(one, (0.0, 1.0), np.dtype(np.uint8))))
    return Prediction(math.prod(shape), math.prod(read), int(counter.get_total_flops()), seconds)


def watershed_seconds(block: int, context: int) -> float:
    """Return the seconds per voxel of the mutex watershed in blocks with context."""
    values = noisy(cells(block + 2 * context), LITTLE)
    offsets = [Coordinate(offset) for offset in OFFSETS]
    mutex_watershed(values[:, :8, :8, :8], offsets, bias=0.5, value_range=(0.0, 1.0))  # compiles
    return timed(lambda: mutex_watershed(values, offsets, bias=0.5, value_range=(0.0, 1.0))) / block**3


def hours(block: Prediction, peak: float, gpus: int, workers: int, handed: float) -> tuple[float, float, float]:
    """Return the hours of the networks, those of reading and writing, and those that all takes.

    Workers that share a GPU take turns with it, and read and write while others use it.
    """
    blocks = math.ceil(VOXELS / block.written)
    network = blocks * block.operations / peak / gpus / 3600
    files = blocks * block.seconds / gpus / workers / 3600
    return network, files, max(network, network / workers + files, blocks * handed / 3600)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64], help="how many there are")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4], help="how many share a GPU")
    parser.add_argument("--kind", choices=sorted(GPUS), default="H200")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    peak, memory = GPUS[options.kind]
    run = gpu.make_run(gpu.QUICK if options.quick else gpu.FULL, gpu.Variant("bf16", False, True))
    print("\n".join(machine()), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="teravoxel_") as name:
        counts = [50, 100] if options.quick else [10_000, 100_000]
        taken = [scaling.measure(scaling.Setting("empty", "2", count, 1, name))["seconds"] for count in counts]
        handed = scaling.fitted(counts, taken)[1]  # what two workers take to start comes once
    watershed = watershed_seconds(*((24, 4) if options.quick else (192, 32)))
    print(f"network       {sum(p.numel() for p in run.model.parameters()) / 1e6:.1f} million parameters")
    print(f"handing out   {handed * 1e3:.3f} ms per block")
    print(f"watershed     {watershed * 1e6:.2f} s per million voxels: {VOXELS * watershed / 3600:.0f} core hours")
    joined = joining.measure(2 if options.quick else 12)
    times = VOXELS / joining.EDGE**3 / joined.blocks
    print(
        f"joining       {joined.gather[1] * times / 60:.0f} core minutes in workers, "
        f"{joined.join * times / 60:.1f} minutes and {joined.peak * times / 1e9:.1f} GB in the calling process"
    )
    rows = []
    for workers in options.workers:
        with tempfile.TemporaryDirectory(prefix="teravoxel_") as name:
            block = prediction(run, Path(name), int(memory * 1e9 / 2 / workers), 32 if options.quick else None)
        edges = [round(voxels ** (1 / 3)) for voxels in (block.written, block.read)]
        print(f"{workers} per GPU: a block writes {edges[0]}^3 voxels, reads {edges[1]}^3")
        print(f"              {block.operations / block.written / 1e6:.2f} million operations per voxel written")
        print(f"              reading and writing takes {block.seconds:.1f} s per block on one core")
        for share in SHARES:
            for gpus in options.gpus:
                times = hours(block, peak * share, gpus, workers, handed)
                rows.append([f"{gpus} x {options.kind}", str(workers), f"{share:.0%}", *(f"{t:.2f}" for t in times)])
    header = ("GPUs", "workers per GPU", "of the peak", "network [h]", "read and write [h]", "prediction [h]")
    print("\n" + text_table(header, rows))


if __name__ == "__main__":
    main()
