"""Agglomeration in blocks, with exactly the result of the whole volume.

Two passes make a *fragment graph*, which depends on no threshold:

1. :class:`.CutFragments` cuts each block into fragments, tile by tile, and writes them to an array;
2. :class:`.CountContacts` counts the affinities between the fragments of a block, and between those of a block and the
   next ones, as histograms.

Tiles have a fixed size and depend on nothing outside, and the contacts of two fragments are all counted in one block,
that of their lower voxels; so neither fragments nor edges depend on the blocks. The graph of all blocks is then merged
in memory, by the :func:`~dacapo.utils.agglomeration.merge_tree` that serves whole volumes as well. A third pass,
:class:`.PaintSegments`, writes the segments of one threshold. For another threshold only merging and that pass are
repeated.
"""

from .fragment_graph import FragmentGraphPlan, stored_graph
from .run import agglomerate_in_blocks

__all__ = ["FragmentGraphPlan", "agglomerate_in_blocks", "stored_graph"]
