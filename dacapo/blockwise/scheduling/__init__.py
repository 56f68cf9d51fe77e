"""Scheduling of blocks over Daisy: tasks, workers, retries and time limits.

- :mod:`.run_operation` does all blocks of an operation, with the workers and retries of an
  :class:`~dacapo.compute_context.Execution`.
- :mod:`.task` is a Daisy task whose workers the compute context starts, :mod:`.run_task` runs it.
- :mod:`.done_markers` allocates Daisy's markers of the blocks that are done.
- :mod:`.in_process` processes blocks without worker processes.
- :mod:`.waiting` tells why jobs of a cluster wait.
- :mod:`.failures` says which blocks failed, and why.
"""
