"""Work on volumes block by block, in many processes and on many machines.

:func:`run_blockwise` runs a *worker module* over the blocks of a region, :func:`segment_blockwise` a function that
segments. Both are commands, too. Daisy hands out the blocks, and the compute context of the options says where the
workers run.

A worker module is a Python file, or the import path of a module. It defines one of these functions::

    def process_block(block, *args, **kwargs):
        ...                       # called for each block

    def open_worker(*args, **kwargs):
        array = ...               # called once per worker: open arrays, load a network
        def process(block):
            ...
        return process            # called for each block

``start_worker`` is another name for ``open_worker``, for files that define only one of them.

``block.read_roi`` and ``block.write_roi`` are in world units. Where blocks have context, the region to read may reach
beyond the data. The region to write never reaches beyond the total, since the last blocks are smaller. ``args`` and
``kwargs`` are those of :func:`run_blockwise`, as JSON holds them: numbers, strings, lists and dicts; paths arrive as
strings.

Worker files for the original run unchanged. Their ``start_worker`` asks ``daisy.Client()`` for blocks by itself and
returns nothing; their ``spawn_worker`` returns a function without arguments that starts a worker, and is called if it
accepts the arguments of :func:`run_blockwise`. Such workers are always processes of their own.

This package comes with the worker modules :mod:`.threshold_worker`, :mod:`.argmax_worker` and :mod:`.predict_worker`.
Each has an ``open_worker``; a ``start_worker`` for processes that a Daisy task of yours starts, also as a command such
as ``python -m dacapo.blockwise.threshold_worker start-worker``; and a ``spawn_worker`` whose result is a
``process_function`` for such a task. :mod:`.segment_worker` and :mod:`.relabel_worker` segment in two such tasks, which
:func:`segment_blockwise` does in one call, with a function like that of :mod:`.watershed_function`.

A block whose function raises, or whose worker dies, is tried again by any worker, up to ``max_retries`` times; dead
workers are replaced a bounded number of times. All other blocks are still done before the call fails, unless the disk
is full.

The way of a block, and the packages that it passes:

1. An operation (:mod:`.operation`, for example :mod:`.voxelwise`) says how to process a block. ``run_operation`` in
   :mod:`.scheduling` opens the journal of the output and makes a Daisy task of the operation.
2. :mod:`.journal` lies beside the output. It knows which blocks are done, so that a repeated call does only the others.
3. :mod:`.scheduling` hands the block to a worker, and hands it out again if that fails or takes too long.
4. :mod:`.worker` is the process that gets the block. It loads the operation or worker module once, and calls it for
   each block.
5. :mod:`.segmentation` takes three such passes: it segments each block, matches the segments of neighbors, and writes
   the joined labels.
"""

from dacapo.utils.aliases import alias_modules

from .scheduler import run_blockwise, segment_blockwise
from .scheduling.task import DaCapoBlockwiseTask

# Module paths of the original.
alias_modules(__name__, {"blockwise_task": "scheduling.task"})

__all__ = ["DaCapoBlockwiseTask", "run_blockwise", "segment_blockwise"]
