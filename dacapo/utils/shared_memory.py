"""Batches on their way from one process to another: in shared memory, or as copies where it does not suffice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # its size is looked at, no file is written


class Transferable:
    """Base of attrs classes whose tensors and float32 arrays are passed on in shared memory."""

    __slots__ = ()


@attrs.frozen
class _SharedArray:
    """An array, passed on as a tensor because tensors travel in shared memory."""

    tensor: torch.Tensor


@attrs.frozen
class _CopiedTensor:
    """The values of a tensor, passed on as a copy."""

    values: npt.NDArray[Any]


def to_shared_memory(batch: Any) -> Any:
    """Return a batch as one process passes it on to another, with its large values in shared memory if they fit."""
    if not isinstance(batch, Transferable):
        return batch
    if shared_memory_holds(sum(values.nbytes for values in _large(batch))):
        return _each(batch, lambda value: _SharedArray(torch.from_numpy(value)) if _is_array(value) else value)
    return _each(batch, lambda value: _CopiedTensor(value.numpy()) if torch.is_tensor(value) else value)


def from_shared_memory(batch: Any) -> Any:
    """Undo :func:`to_shared_memory`."""
    return _each(batch, _received)


def shared_memory_holds(size: int) -> bool:
    """Return whether each process that makes batches can pass on two of a size, in bytes, in shared memory.

    Containers often have next to none.
    """
    worker = torch.utils.data.get_worker_info()
    needed = 2 * size * (1 if worker is None else worker.num_workers)
    return not _SHARED_MEMORY.is_dir() or shutil.disk_usage(_SHARED_MEMORY).free >= needed


def _received(value: Any) -> Any:
    if isinstance(value, _SharedArray):
        return value.tensor.numpy()
    return torch.from_numpy(value.values) if isinstance(value, _CopiedTensor) else value


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float32 and value.dtype.isnative


def _large(value: Any) -> Iterator[Any]:
    """Return all tensors and float32 arrays."""
    if isinstance(value, list):
        for part in value:
            yield from _large(part)
    elif isinstance(value, Transferable):
        for field in attrs.fields(type(value)):  # type: ignore[arg-type]
            yield from _large(getattr(value, field.name))
    elif torch.is_tensor(value) or _is_array(value):
        yield value


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change all values in a batch."""
    if isinstance(value, list):
        return [_each(part, change) for part in value]
    if isinstance(value, Transferable):
        names = [field.name for field in attrs.fields(type(value))]  # type: ignore[arg-type]
        return attrs.evolve(value, **{name: _each(getattr(value, name), change) for name in names})  # type: ignore[misc]
    return change(value)
