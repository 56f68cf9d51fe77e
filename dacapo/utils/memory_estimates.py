"""How much memory work takes: every constant and formula of an estimate, once.

Networks are counted operation by operation in :mod:`dacapo.experiments.architectures.network_memory`. All numbers of
bytes were measured on Linux with 64 bits, and are a little above the measurements.
"""

from __future__ import annotations

from dacapo.utils.memory import available_memory, process_memory

PROCESS_BYTES = 600 * 1024**2
"""A process that has loaded PyTorch and reads and writes arrays."""
WORKER_BYTES = 300 * 1024**2
"""A worker process without PyTorch."""
FETCHER_BYTES = 150 * 1024**2
"""A forked process that makes batches: only the memory that it does not share with the one that it comes from."""
EVALUATED_BLOCK_BYTES = 700 * 1024**2
"""A block of 2^24 voxels that is scored: the labels of two arrays, and their pairs."""

DEFAULT_SHARE = 0.5
"""Without a limit this share of the free memory is used, of this machine or of a GPU."""
DEFAULT_BLOCK_BYTES = 2 * 1024**3
"""Without a limit a block on a CPU takes no more than this."""

_NETWORK_MARGIN = 1.25  # libraries take a little more than the tensors
_WATERSHED_MARGIN = 1.2


def process_bytes(is_this_one: bool = True) -> int:
    """Return how many bytes a process with PyTorch takes beside its blocks.

    Args:
        is_this_one: Whether it is the calling process, which may hold more already.
    """
    return max(PROCESS_BYTES, (process_memory() or 0) if is_this_one else 0)


def usual_memory() -> int | None:
    """Return how many bytes all processes together use on this machine if nobody sets a limit; None if unknown."""
    free = available_memory()
    return None if free is None else int(DEFAULT_SHARE * free) + (process_memory() or 0)


def network_bytes(tensors: int) -> int:
    """Return how many bytes a network takes whose tensors have some bytes at most."""
    return int(_NETWORK_MARGIN * tensors)


def voxelwise_bytes(voxels: int, channels: int, itemsize: int) -> int:
    """Return how many bytes it takes to work on each voxel of a block by itself: values as stored and as float32,
    and the result."""
    return voxels * (channels * (itemsize + 4) + 16)


def watershed_voxel_bytes(num_offsets: int, channels: int, itemsize: int) -> float:
    """Return how many bytes the mutex watershed takes for each voxel, as measured with 3 to 9 offsets.

    Args:
        num_offsets: Number of affinities.
        channels: Number of channels of the prediction; those behind the affinities are read and not used.
        itemsize: Bytes of a value of the prediction.
    """
    each = 6 if itemsize == 1 else 26 + 2 * itemsize
    return _WATERSHED_MARGIN * (53 + num_offsets * each) + max(0, channels - num_offsets) * itemsize


def workers_within(max_memory: int | None, num_workers: int, block_bytes: int) -> int:
    """Return how many worker processes without a network fit into memory beside this process, at least 1.

    Args:
        max_memory: Bytes that all processes may take together; None for any amount.
        num_workers: How many are wanted.
        block_bytes: Bytes that a block takes.
    """
    if max_memory is None:
        return num_workers
    return max(1, min(num_workers, (max_memory - PROCESS_BYTES) // (WORKER_BYTES + block_bytes)))
