"""Estimates of the memory that work takes: every constant and formula, once.

Networks are measured operation by operation in :mod:`dacapo.experiments.architectures.network_memory`. All numbers are
in bytes, were measured on 64-bit Linux, and are slightly above the measurements.
"""

from __future__ import annotations

from dacapo.errors import ConfigError
from dacapo.utils.memory import available_memory, process_memory, total_memory

PROCESS_BYTES = 512 * 1024**2
"""A process that has loaded PyTorch and reads and writes arrays, which takes some 480 MB."""
WORKER_BYTES = 300 * 1024**2
"""A worker process without PyTorch."""
FETCHER_BYTES = 150 * 1024**2
"""A forked process that makes batches, without the memory that it shares with its parent."""
EVALUATED_VOXEL_BYTES = 44
"""A voxel of a block that is scored: the labels of two arrays, and their pairs."""

DEFAULT_SHARE = 0.5
"""Without a limit, work uses this share of the free memory of this machine or of a GPU."""
DEFAULT_BLOCK_BYTES = 2 * 1024**3
"""Without a limit, a predicted block takes no more than this on a CPU."""

_NETWORK_MARGIN = 1.25  # libraries take slightly more than the tensors
_WATERSHED_MARGIN = 1.2
_AGGLOMERATION_MARGIN = 1.1
_FLOAT = 4
# A weight, and the two moments of the optimizer; gradients are measured with the network.
_WEIGHT_COPIES = 3
# Arrays of the size of a sample that exist while it is made.
_SAMPLE_COPIES = 8
# Values that the loss keeps for each predicted value, with those of target and weight.
_LOSS_COPIES = 6
# Part of the tensors of a network that a batch takes at the least, see `python -m benchmarks.training_memory`.
_LEAST_OF_TENSORS = 0.8
# Batches that each process that makes them holds ready.
_BATCHES_AHEAD = 2


def process_bytes(is_this_one: bool = True) -> int:
    """Return the memory of a process with PyTorch, without its blocks.

    Args:
        is_this_one: Whether it is the calling process, which may hold more already.
    """
    return max(PROCESS_BYTES, (process_memory() or 0) if is_this_one else 0)


def default_memory(share: float = DEFAULT_SHARE) -> int | None:
    """Return the memory that all processes on this machine share without a limit; None if it is unknown.

    Args:
        share: The part of the free memory to use, besides that which this process holds.
    """
    free = available_memory()
    return None if free is None else int(share * free) + (process_memory() or 0)


def free_memory() -> int | None:
    """Return the memory that this process can still take; None if it is unknown."""
    return available_memory()


def steady_memory() -> int | None:
    """Return the memory that all processes on this machine share, whatever is free; None if it is unknown."""
    total = total_memory()
    return None if total is None else int(DEFAULT_SHARE * total)


def planned_memory() -> int | None:
    """Return the memory that a block may take without a limit, if results depend on blocks; None if it is unknown.

    It follows from the memory of the machine or the container, and not from what is free at the moment.
    """
    total = total_memory()
    return None if total is None else max(0, int(DEFAULT_SHARE * (total - PROCESS_BYTES)))


def network_bytes(tensors: int) -> int:
    """Return the memory of a network whose tensors take up to some bytes."""
    return int(_NETWORK_MARGIN * tensors)


def unknown_network_bytes(error: Exception) -> ConfigError:
    """Return the error that refuses a memory limit for a network that could not be measured because of an error."""
    return ConfigError(f"cannot estimate the memory of the network without running it ({error}); omit max_memory")


def predicted_bytes(read_values: int, read_itemsize: int, written_values: int, written_itemsize: int) -> int:
    """Return the memory of a block to predict, without that of the network.

    Args:
        read_values: Number of values that the block reads; they are held as stored, and as float32 before and after
            their preparation.
        read_itemsize: Bytes of a stored value.
        written_values: Number of values that the block writes; they are held as predicted, scaled and stored.
        written_itemsize: Bytes of a value to store.
    """
    return read_values * (read_itemsize + 2 * _FLOAT) + written_values * (2 * _FLOAT + written_itemsize)


def trained_batch_bytes(tensors: int, predicted_values: int) -> int:
    """Return the memory of a batch in the network and the loss.

    Args:
        tensors: Memory of the tensors of a forward and a backward pass.
        predicted_values: Number of values that the network predicts for the batch.
    """
    return network_bytes(tensors) + _LOSS_COPIES * _FLOAT * predicted_values


def trainer_bytes(
    weights: int, sample_values: int, predicted_values: int, num_fetchers: int, averages: bool = False
) -> int:
    """Return the memory of a training, without that of its batch.

    Args:
        weights: Bytes of the weights.
        sample_values: Number of values of a sample of raw data.
        predicted_values: Number of values of its prediction, thus of target and weight each.
        num_fetchers: Number of processes that make batches; 1 is the training process itself.
        averages: Whether the weights are averaged over iterations, too.
    """
    fetchers = 0 if num_fetchers == 1 else num_fetchers * FETCHER_BYTES
    samples = _SAMPLE_COPIES * _FLOAT * (sample_values + 2 * predicted_values) * max(1, num_fetchers)
    return (_WEIGHT_COPIES + averages) * weights + process_bytes() + fetchers + samples


def least_batch_bytes(tensors: int, is_reduced: bool) -> int:
    """Return the memory that a batch takes in the network for certain.

    Args:
        tensors: Memory of the tensors of a forward and a backward pass in float32.
        is_reduced: Whether there are fewer of them, or smaller ones: in mixed precision, or if the network is compiled.
    """
    return int(tensors * _LEAST_OF_TENSORS * (0.5 if is_reduced else 1.0))


def least_trainer_bytes(weights: int, batch_values: int, num_fetchers: int, averages: bool = False) -> int:
    """Return the memory that a training takes for certain, beside its batch and what its process holds before.

    Args:
        weights: Bytes of the weights that the optimizer has not seen yet.
        batch_values: Number of values of the raw data of a batch.
        num_fetchers: Number of processes that make batches; 1 is the training process itself.
        averages: Whether the weights are averaged over iterations, too.
    """
    ready = 0 if num_fetchers == 1 else num_fetchers * _BATCHES_AHEAD * batch_values * _FLOAT
    return (_WEIGHT_COPIES - 1 + averages) * weights + ready


def voxelwise_bytes(voxels: int, channels: int, itemsize: int) -> int:
    """Return the memory of a block that is computed voxel by voxel: stored values, float32 values, and the result."""
    return voxels * (channels * (itemsize + _FLOAT) + 16)


def agglomeration_voxel_bytes(num_direct: int, channels: int, itemsize: int) -> float:
    """Return the memory of agglomeration per voxel, as ``python -m benchmarks.agglomeration_memory`` measures it.

    Args:
        num_direct: Number of affinities to direct neighbors; the others are read, but not used.
        channels: Number of channels of the prediction.
        itemsize: Bytes of a value of the prediction.
    """
    levels = 1 if itemsize == 1 else 3 * max(itemsize, _FLOAT) + 1  # all but uint8 is computed in steps
    reading = channels * itemsize + num_direct * levels + 16
    counting = num_direct + 50  # of the contacts of fragments as small as those of noise
    return _AGGLOMERATION_MARGIN * max(reading, counting)


def watershed_voxel_bytes(num_offsets: int, channels: int, itemsize: int) -> float:
    """Return the memory of the mutex watershed per voxel, as measured with 3 to 9 offsets.

    Args:
        num_offsets: Number of affinities.
        channels: Number of channels of the prediction; those after the affinities are read, but not used.
        itemsize: Bytes of a value of the prediction.
    """
    each = 6 if itemsize == 1 else 26 + 2 * itemsize
    return _WATERSHED_MARGIN * (53 + num_offsets * each) + max(0, channels - num_offsets) * itemsize
