"""Agglomeration beside waterz, in one run: the same affinities, the same fragments, the same thresholds.

    python -m benchmarks.agglomeration --waterz /path/to/venv/bin/python

``waterz`` needs an environment of its own, named by its Python. Both take turns, each with one
thread; times are processor times, the least of several.
Affinities are those of synthetic cells with noise; ``--edge`` sets the size of the volume.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from dacapo.utils.agglomeration import Cut, Fragmented, merge_tree
from dacapo.utils.fragments import FragmentParameters, volume_fragments
from dacapo.utils.region_graph import region_graph
from dacapo.utils.voi import voi

OFFSETS = [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]  # those of waterz
THRESHOLDS = (0.7, 0.6, 0.5, 0.4, 0.3)
REPEATS = 3

WATERZ = """
import json, os, sys, time
import numpy as np, waterz
folder, thresholds = sys.argv[1], json.loads(sys.argv[2])
affinities = np.load(folder + "/levels.npy").astype(np.float32) / 255
fragments = np.load(folder + "/fragments.npy").astype(np.uint64)
scores = {"mean": "OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>",
          "quantile": "OneMinus<HistogramQuantileAffinity<RegionGraphType, 50, ScoreValue, 256, false>>"}
out = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # it prints
for name, score in scores.items():
    for what, given in (("merge", fragments), ("all", None)):
        values = None if given is None else given.copy()
        start = time.process_time()
        results = [np.array(one) for one in waterz.agglomerate(
            affinities, [1 - t for t in thresholds], fragments=values, scoring_function=score)]
        took = time.process_time() - start
        if given is not None:
            np.save(f"{folder}/{name}.npy", np.stack(results))
        os.write(out, (json.dumps([f"{what}, {name}", took]) + "\\n").encode())
"""


def synthetic_levels(edge: int, spacing: int = 16) -> np.ndarray:
    """Return affinities of cells with blurred walls and noise, as levels."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, edge, (max(2, (edge // spacing) ** 3), 3))
    grid = np.stack(np.indices((edge,) * 3), axis=-1).reshape(-1, 3)
    cells = cKDTree(points).query(grid)[1].reshape((edge,) * 3)
    wall = np.zeros(cells.shape, dtype=bool)
    for axis in range(3):
        wall |= cells != np.roll(cells, 1, axis)
    sharp = 1 - 2 * gaussian_filter(wall.astype(np.float32), 1)
    channels = []
    for _ in OFFSETS:
        noise = gaussian_filter(rng.standard_normal(cells.shape).astype(np.float32), 1)
        channels.append(np.clip(sharp + 0.15 * noise / noise.std(), 0, 1))
    return np.rint(np.stack(channels) * 255).astype(np.uint8)


def ours(
    levels: np.ndarray, fragments: np.ndarray, quantile: float | None
) -> dict[str, tuple[float, list[np.ndarray]]]:
    """Return times and results, of merging given fragments and of everything."""
    cuts = [Cut(threshold, quantile) for threshold in THRESHOLDS]
    start = time.process_time()
    graph = region_graph(fragments, levels, OFFSETS)
    graph = type(graph)(graph.edges - 1, graph.starts, graph.levels, graph.counts)
    sizes = np.bincount(fragments.ravel())[1:]
    merged = list(Fragmented(fragments, sizes, graph).segmentations(cuts))
    between = time.process_time()
    everything = list(Fragmented.of(levels, OFFSETS).segmentations(cuts))
    return {"merge": (between - start, merged), "all": (time.process_time() - between, everything)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waterz", help="the Python of an environment that has waterz")
    parser.add_argument("--edge", type=int, default=192, help="edge of the volume in voxels")
    parser.add_argument("--seed-distance", type=int, default=1, help="of the given fragments; 1 makes many small ones")
    arguments = parser.parse_args()
    levels = synthetic_levels(arguments.edge)
    parameters = FragmentParameters(seed_distance=arguments.seed_distance)
    fragments, count = volume_fragments(levels, OFFSETS, parameters)
    graph = region_graph(fragments, levels, OFFSETS)
    print(
        f"{arguments.edge}^3 voxels, {count} fragments, {len(graph.edges)} edges, {len(graph.counts)} histogram entries"
    )
    names = {"mean": None, "quantile": 0.5}
    for quantile in names.values():  # compile
        ours(levels[:, :24, :24, :24], np.ascontiguousarray(fragments[:24, :24, :24]), quantile)
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "levels.npy", levels)
        np.save(Path(folder) / "fragments.npy", fragments)
        for _ in range(REPEATS):
            for name, quantile in names.items():
                for what, (took, labels) in ours(levels, fragments, quantile).items():
                    times.setdefault(f"{what}, {name}", []).append(took)
                    if what == "merge":
                        np.save(Path(folder) / f"ours_{name}.npy", np.stack(labels))
            if arguments.waterz:
                command = [arguments.waterz, "-c", WATERZ, folder, json.dumps(THRESHOLDS)]
                for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
                    name, took = json.loads(line)
                    times.setdefault(f"waterz {name}", []).append(took)
        print(f"{'work':<18}{'ours [s]':>10}{'waterz [s]':>12}{'ratio':>8}")
        for name in [name for name in times if not name.startswith("waterz")]:
            mine, theirs = min(times[name]), min(times.get(f"waterz {name}", [float("nan")]))
            print(f"{name:<18}{mine:>10.3f}{theirs:>12.3f}{mine / theirs:>8.2f}")
        if arguments.waterz:
            for name in names:
                pairs = zip(np.load(f"{folder}/ours_{name}.npy"), np.load(f"{folder}/{name}.npy"), strict=True)
                print(
                    f"difference, {name}: " + " ".join(f"{sum(voi(one, other)):.4f}" for one, other in pairs) + " bits"
                )
    start = time.process_time()
    merge_tree(graph, count + 1, None, -1.0)
    print(f"all merges of the graph: {time.process_time() - start:.3f} s")


if __name__ == "__main__":
    main()
