"""Agglomeration: fragments merged into objects, in the order of the affinities between them.

Regions merge two at a time, those of the highest score first. The score of two regions is the mean, or a quantile, of
all affinities between their voxels, and is computed anew when a merge changes it, as in `waterz
<https://github.com/funkey/waterz>`_ (Funke et al. 2019, `Large Scale Image Segmentation with Structured Loss Based Deep
Learning for Connectome Reconstruction <https://doi.org/10.1109/TPAMI.2018.2835450>`_). Scores of successive merges
never rise, so one tree of merges holds the results of all thresholds.

Importing this module does not load Numba.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError
from dacapo.utils.fragments import FragmentParameters, as_levels, direct_channels, volume_fragments
from dacapo.utils.region_graph import Integers, RegionGraph, region_graph
from dacapo.utils.segmentation import check_offsets


@attrs.frozen
class Cut:
    """The parameters of agglomeration.

    Attributes:
        threshold: Regions merge whose score is above this.
        quantile: The quantile of the affinities between two regions that is their score; None for the mean.
        min_size: Segments with fewer voxels go on merging below the threshold, see :meth:`MergeTree.cut`.
    """

    threshold: float
    quantile: float | None = None
    min_size: int = 0

    @property
    def lowest_score(self) -> float:
        """The limit of a tree that can be cut so."""
        return -1.0 if self.min_size > 1 else self.threshold


@attrs.frozen(eq=False)
class MergeTree:
    """Merges of regions, the best first.

    Attributes:
        ends: For each merge two fragments that touch, one in each of the regions.
        scores: Its score, from 0 to 1; never higher than that of the merge before.
    """

    ends: Integers
    scores: npt.NDArray[np.float64]

    def cut(self, sizes: Integers, threshold: float, min_size: int = 0) -> npt.NDArray[np.uint64]:
        """Return the segment of each fragment when all merges with scores above a threshold are done.

        Args:
            sizes: Number of voxels of each fragment.
            threshold: The threshold, not below the limit that the tree was made with; with a ``min_size``, that limit
                must be negative.
            min_size: Segments with fewer voxels go on merging below the threshold until they are large enough. Those
                that stay smaller become background.

        Returns:
            Labels from 1 on without a gap, in the order of the first fragments; 0 for background.
        """
        from dacapo.utils.merge_kernels import join

        parent, totals = np.arange(len(sizes), dtype=np.int64), np.array(sizes, dtype=np.int64)
        always = int(np.searchsorted(-self.scores, -threshold, side="left"))
        merges = np.arange(len(self.ends) if min_size > 1 else always, dtype=np.int64)
        join(parent, self.ends, merges, totals, always, min_size)
        is_root = (parent == np.arange(len(parent))) & (totals >= min_size)
        labels = np.zeros(len(parent), dtype=np.uint64)
        labels[is_root] = np.arange(1, int(is_root.sum()) + 1, dtype=np.uint64)
        return labels[parent]


def merge_tree(graph: RegionGraph, count: int, quantile: float | None = None, least: float = 0.0) -> MergeTree:
    """Merge the fragments of a graph.

    Ties go to the pair with the first edge of the graph among its contacts, so that the result is reproducible.

    Args:
        graph: The contacts of fragments numbered from 0.
        count: Number of fragments.
        quantile: Score regions by this quantile of the affinities between them, above 0 and at most 1; None for the
            mean.
        least: Stop when no score is above this.

    Raises:
        ConfigError: If the quantile is out of range.
    """
    from dacapo.utils import merge_kernels

    steps = quantile_steps(quantile)
    size = len(graph.edges)
    of_edges = {
        "ends": graph.edges.astype(np.int32),
        "links": np.empty((size, 2), dtype=np.int64),
        "sums": graph.sums,
        "counts": graph.sizes,
        "scores": np.empty(size),
        "ranks": np.arange(size, dtype=np.int32),
        "heap": np.empty(size, dtype=np.int32),
        "places": np.empty(size, dtype=np.int32),
    }
    merges, scores = np.empty(max(count - 1, 0), dtype=np.int32), np.empty(max(count - 1, 0))
    done = merge_kernels.merge_all(
        count, merge_kernels.Edges(**of_edges), _histograms(graph, quantile), steps, float(least), merges, scores
    )
    return MergeTree(graph.edges[merges[:done]], scores[:done].copy())


def quantile_steps(quantile: float | None) -> int:
    """Return a quantile as kernels take it.

    Raises:
        ConfigError: If it is out of range.
    """
    from dacapo.utils.merge_kernels import MEAN, QUANTILE_STEPS

    if quantile is None:
        return MEAN
    if not 0 < quantile <= 1:
        raise ConfigError(f"quantile is {quantile}; expected a number above 0 and up to 1, or None for the mean")
    return max(1, round(quantile * QUANTILE_STEPS))


def _histograms(graph: RegionGraph, quantile: float | None) -> Any:
    from dacapo.utils.merge_kernels import Histograms

    if quantile is None:
        nothing = np.zeros(0, dtype=np.int64)
        return Histograms(nothing, np.zeros(0, dtype=np.uint8), nothing, nothing)
    following = np.arange(1, len(graph.levels) + 1, dtype=np.int64)
    following[graph.starts[1:] - 1] = -1
    return Histograms(graph.starts[:-1].copy(), graph.levels, graph.counts.copy(), following)


def segment_fragments(graph: RegionGraph, sizes: Integers, cuts: Sequence[Cut]) -> Iterator[npt.NDArray[np.uint64]]:
    """Yield the segment of each fragment for several parameters; one tree serves all that have the same quantile.

    Args:
        graph: The contacts of fragments numbered from 0.
        sizes: Number of voxels of each fragment.
        cuts: The parameters.

    Raises:
        ConfigError: If a quantile is out of range.
    """
    trees: dict[float | None, MergeTree] = {}
    for one in cuts:
        if one.quantile not in trees:
            least = min(other.lowest_score for other in cuts if other.quantile == one.quantile)
            trees[one.quantile] = merge_tree(graph, len(sizes), one.quantile, least)
        yield trees[one.quantile].cut(sizes, one.threshold, one.min_size)


@attrs.frozen(eq=False)
class Fragmented:
    """The fragments of a volume, and the contacts between them.

    Attributes:
        labels: The fragment of each voxel, from 1 on; 0 for background.
        sizes: Number of voxels of each fragment.
        graph: The contacts of the fragments, numbered from 0.
    """

    labels: npt.NDArray[np.uint32]
    sizes: Integers
    graph: RegionGraph

    @classmethod
    def of(
        cls,
        affinities: npt.NDArray[Any],
        offsets: Sequence[Sequence[int]],
        parameters: FragmentParameters | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Fragmented:
        """Cut a volume into fragments.

        Args:
            affinities: Offset first, then two or three spatial axes; from 0 (different objects) to 1 (the same). Only
                those to direct neighbors are used.
            offsets: For each channel the step, in voxels, to the other voxel of the pair.
            parameters: Parameters of the fragments.
            value_range: Affinities of the lowest and the highest integer, if they are stored as unsigned integers.

        Raises:
            ChannelMismatchError: If affinities are fewer than offsets.
            ConfigError: If offsets do not fit, or an affinity is NaN.
        """
        check_offsets(len(affinities), affinities.ndim - 1, offsets)
        channels = direct_channels(offsets)
        direct = [offsets[channel] for channel in channels]
        levels = as_levels(affinities[channels], value_range)
        labels, count = volume_fragments(levels, direct, parameters or FragmentParameters())
        graph = region_graph(labels, levels, direct)
        ordered = attrs.evolve(graph, edges=graph.edges - 1)
        return cls(labels, np.bincount(labels.ravel(), minlength=count + 1)[1:], ordered)

    def segmentations(self, cuts: Sequence[Cut]) -> Iterator[npt.NDArray[np.uint64]]:
        """Yield the labels of the volume for several parameters, see :func:`segment_fragments`."""
        for segments in segment_fragments(self.graph, self.sizes, cuts):
            yield np.concatenate([np.zeros(1, dtype=np.uint64), segments])[self.labels]


def agglomerate(
    affinities: npt.NDArray[Any],
    offsets: Sequence[Sequence[int]],
    threshold: float,
    quantile: float | None = None,
    min_size: int = 0,
    parameters: FragmentParameters | None = None,
    value_range: tuple[float, float] | None = None,
) -> npt.NDArray[np.uint64]:
    """Segment a volume from its affinities: fragments by a seeded watershed, merged above a threshold.

    Args:
        affinities: See :meth:`Fragmented.of`.
        offsets: For each channel the step, in voxels, to the other voxel of the pair.
        threshold: Regions merge whose score is above this.
        quantile: Score regions by this quantile of the affinities between them; None for the mean.
        min_size: Smaller segments, in voxels, go on merging, see :meth:`MergeTree.cut`.
        parameters: Parameters of the fragments.
        value_range: Affinities of the lowest and the highest integer, if they are stored as unsigned integers.

    Returns:
        Labels of the spatial shape, from 1 without gaps; 0 is background.

    Raises:
        ChannelMismatchError: If affinities are fewer than offsets.
        ConfigError: If offsets or parameters do not fit, or an affinity is NaN.
    """
    fragmented = Fragmented.of(affinities, offsets, parameters, value_range)
    (labels,) = fragmented.segmentations([Cut(threshold, quantile, min_size)])
    return labels
