"""Joining the fragments of :mod:`.block_segmenter` and similar folders.

These functions read the files of all blocks into memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dacapo.blockwise.segmentation.block_segmenter import BLOCK_FILE
from dacapo.blockwise.segmentation.joining import roots_of
from dacapo.errors import BlockwiseError, ConfigError
from dacapo.store.files import files_below, paths_named


def block_contents(folder: Path) -> Iterable[dict[str, npt.NDArray[Any]]]:
    """Yield the content of the files of blocks, of the segment worker or of a segmentation that kept them.

    Raises:
        BlockwiseError: If one is damaged, or the folder holds none.
    """
    files = paths_named(folder, BLOCK_FILE.format("*"))
    files += [path for path in files_below(folder / "pairs") if path.suffix == ".npz"]
    if not files:
        raise BlockwiseError(f"{folder} holds no segments of blocks; run the segment worker first, with this folder")
    for file in files:
        try:
            with np.load(file, allow_pickle=False) as loaded:
                content = {name: np.asarray(loaded[name]) for name in loaded}
                edges = content["edges"] if "edges" in content else content["pairs"]
                nodes = content["nodes"] if "nodes" in content else np.unique(edges)
        except (OSError, ValueError, KeyError) as error:
            raise BlockwiseError(f"{file} is missing or damaged: {error}") from error
        yield {"nodes": nodes, "edges": edges.reshape(-1, 2), "sums": content.get("sums", np.zeros(0))}


def read_cross_block_merges(tmpdir: Path | str) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the fragments of all blocks, and the pairs that are one segment.

    Args:
        tmpdir: Folder of the segment worker, or one that :func:`dacapo.blockwise.segment_blockwise` kept, which only
            tells the fragments that have a pair.

    Returns:
        The fragments, sorted, and one row (fragment, other fragment) per pair.

    Raises:
        BlockwiseError: If the folder holds none, or a file in it is damaged.
    """
    contents = list(block_contents(Path(tmpdir)))
    nodes = np.unique(np.concatenate([content["nodes"] for content in contents]))
    return nodes, np.concatenate([content["edges"] for content in contents])


def find_components(nodes: npt.NDArray[Any], edges: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return for each node the least node of its connected component.

    Args:
        nodes: Distinct numbers, in any order.
        edges: Pairs of them, one per row.

    Raises:
        ConfigError: If an edge has an end that is no node.

    >>> find_components(np.array([7, 1, 3, 5]), np.array([[5, 3], [7, 5]])).tolist()
    [3, 1, 3, 3]
    """
    nodes = np.asarray(nodes)
    edges = np.asarray(edges).reshape(-1, 2).astype(nodes.dtype)  # comparing two types would round large numbers
    unknown = np.setdiff1d(edges, nodes)
    if len(unknown):
        raise ConfigError(f"edges join {unknown[:5].tolist()}, which are no nodes")
    ordered = np.sort(nodes)
    least = ordered[roots_of(ordered, edges)]
    return np.asarray(least[np.searchsorted(ordered, nodes)])


def without_doubtful(folder: Path, nodes: npt.NDArray[Any], components: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return components, with 0 for those whose evidence over all blocks sums up to less than 0."""
    parts = [(content["nodes"], content["sums"]) for content in block_contents(folder) if len(content["sums"])]
    if not parts:
        return components
    some, sums = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    order = np.argsort(nodes)
    _, index = np.unique(components, return_inverse=True)
    of_parts = index[order[np.searchsorted(nodes, some, sorter=order)]]
    totals = np.bincount(of_parts, sums, minlength=index.max(initial=-1) + 1)
    return np.where(totals[index] < 0, components.dtype.type(0), components)
