"""Work on volumes block by block, in many processes and on many machines.

:func:`run_blockwise` runs a *worker module* over the blocks of a region, :func:`segment_blockwise` a function that
segments; both are on the command line too. Daisy hands out the blocks, and the compute context of the options says
where the workers run.

A worker module is a Python file, or the import path of a module. It defines one of these functions::

    def process_block(block, *args, **kwargs):
        ...                       # called for each block

    def open_worker(*args, **kwargs):
        array = ...               # called once per worker: open arrays, load a network
        def process(block):
            ...
        return process            # called for each block

``start_worker`` is another name for ``open_worker``, for files that have only one of them.

``block.read_roi`` and ``block.write_roi`` are in world units. What is read may reach beyond the data where blocks have
context; what is written never reaches beyond the region to write, since the last blocks are smaller. ``args`` and
``kwargs`` are those of :func:`run_blockwise`, as JSON has them: numbers, strings, lists and dicts; paths arrive as
strings.

Worker files that were written for the original work too. Their ``start_worker`` asks ``daisy.Client()`` for blocks by
itself, and returns nothing; their ``spawn_worker`` returns a function without arguments that starts a worker, and is
called where the arguments of :func:`run_blockwise` are for it. Such workers are always processes of their own.

The worker modules of this package are :mod:`.threshold_worker`, :mod:`.argmax_worker` and :mod:`.predict_worker`. Each
has an ``open_worker``; a ``start_worker`` for processes that a Daisy task of yours has started, also as a command such
as ``python -m dacapo.blockwise.threshold_worker start-worker``; and a ``spawn_worker`` whose result is a
``process_function`` for such a task. :mod:`.segment_worker` and :mod:`.relabel_worker` segment in two such tasks, which
:func:`segment_blockwise` does in one call, with a function like that of :mod:`.watershed_function`.

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
