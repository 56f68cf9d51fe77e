"""What this machine can do at most, measured: a column of the tables says how far from it a piece of work is."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

REPETITIONS = 5


def fastest(work: Callable[[], Any]) -> float:
    """Return the shortest time of several calls, in seconds; the first is not timed."""
    work()
    times = []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


@cache
def bandwidth() -> float:
    """Return how many bytes per second a copy in memory reads and writes."""
    source = np.ones(2**28, dtype=np.uint8)
    target = np.empty_like(source)
    return 2 * source.nbytes / fastest(lambda: np.copyto(target, source))


@cache
def multiply_rate() -> float:
    """Return how many floating point operations per second a product of matrices does in single precision."""
    size = 2048
    matrix = torch.rand(size, size)
    return float(2 * size**3 / fastest(lambda: matrix @ matrix))


def seconds_of_bytes(*arrays: Any) -> float:
    """Return how long it takes at least to move arrays through memory once."""
    return float(sum(array.nbytes for array in arrays) / bandwidth())


def seconds_of_network(model: torch.nn.Module, shape: tuple[int, ...]) -> float:
    """Return how long the products of a network take at least, for one input of a shape with batch and channels."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(shape))
    return float(counter.get_total_flops() / multiply_rate())
