"""Segmentation of an array in blocks, and how the blocks become one segmentation.

:func:`.run_segmentation` makes four passes over the blocks. None of them depends on the order of blocks, and each can
repeat a block without harm:

1. :class:`.Fragments` segments each block with context. It writes the segments of the block, called fragments, with
   unique numbers to an array of their own, and keeps the labels that it found in the *halo*, a layer of voxels around
   the block.
2. :class:`.Matching` compares the halo of each block with the fragments that its neighbors wrote there, and notes the
   pairs that both blocks consider to be one segment.
3. :class:`.Gathering` joins the fragments of some hundred consecutive blocks by these pairs. The calling process joins
   the results by the pairs that are left, and makes a lookup table (:func:`.write_lookup_table`).
4. :class:`.Relabeling` writes the output through this table.

Joining the segments of blocks by their overlap follows Plaza and Berg (2016), `Large-Scale Electron Microscopy Image
Segmentation in Spark <https://arxiv.org/abs/1604.00385>`_. Here both blocks must find the pair, since one block may see
too little of an object near its face, and a single wrong pair joins two objects everywhere.

The number of a fragment is the number of its block times the voxels of a block, plus its number in the block. It is
unique and, for any array that can be stored, below 2^63. Memory of the calling process grows with the fragments that
have a pair, by some 30 bytes for each (``python -m benchmarks.joining``); everything else is on disk.

The passes share a :class:`.SegmentationPlan` and a :class:`.Workspace`, the folder of intermediate results. For users
who segment in two Daisy tasks of their own, :mod:`.block_segmenter` and :mod:`.cross_block_merges` need no plan.
"""

from .plan import SegmentationPlan
from .run import run_segmentation

__all__ = ["SegmentationPlan", "run_segmentation"]
