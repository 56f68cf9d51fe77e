"""Work on volumes block by block, in many processes and on many machines.

:func:`run_blockwise` runs a *worker module* over the blocks of a region, :func:`segment_blockwise` a function that
segments; both are on the command line too. Daisy hands out the blocks, and the compute context of the options says
where the workers run.

A worker module is a Python file, or the import path of a module. It defines one of two functions::

    def process_block(block, *args, **kwargs):
        ...                       # called for each block

    def start_worker(*args, **kwargs):
        array = ...               # called once per worker: open arrays, load a network
        def process(block):
            ...
        return process            # called for each block

``block.read_roi`` and ``block.write_roi`` are in world units. What is read may reach beyond the data where blocks have
context; what is written never reaches beyond the region to write, since the last blocks are smaller. ``args`` and
``kwargs`` are those of :func:`run_blockwise`, as JSON has them: numbers, strings, lists and dicts; paths arrive as
strings. A ``start_worker`` that returns nothing is taken to have asked ``daisy.v2.Client()`` for blocks by itself.

A block whose function raises is tried again, by any worker, up to ``max_retries`` times, and so is a block whose worker
dies; dead workers are replaced a bounded number of times. All other blocks are still done before the call fails, unless
the disk is full.

The operations of this package derive from :class:`~dacapo.blockwise.operation.BlockwiseOperation`, and
:func:`~dacapo.blockwise.running.run_operation` runs them. What is done of an output lies beside it, see
:mod:`dacapo.blockwise.record`, so that a call that was interrupted goes on where it is made again; the same with
``run_blockwise`` where it gets a ``tracking_path``.
"""

from .blockwise_task import DaCapoBlockwiseTask
from .scheduler import run_blockwise, segment_blockwise

__all__ = ["DaCapoBlockwiseTask", "run_blockwise", "segment_blockwise"]
