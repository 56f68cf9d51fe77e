"""The network: a small U-Net whose input fits into the training data and into memory."""

from __future__ import annotations

import logging

from funlib.geometry import Coordinate

from dacapo.errors import InputTooSmallError, MemoryBudgetError
from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.architectures.network_memory import training_bytes
from dacapo.utils.memory import format_size
from dacapo.utils.memory_estimates import network_bytes

from .facts import Facts

logger = logging.getLogger(__name__)

# Input sizes that the network accepts along an axis, by whether the axis is downsampled: the smallest, the largest for
# two and for three axes, and the step between sizes.
INPUT_SIZES = {True: (31, {2: 220, 3: 58}, 3), False: (17, {2: 112, 3: 28}, 1)}
ON_GPU = 2
"""How many times larger the largest input is, along each axis, where a GPU trains."""


def default_network(facts: Facts, memory: int | None = None, on_gpu: bool = False) -> CNNectomeUNetConfig:
    """Return a small U-Net whose input fits into the training data; coarse axes are not downsampled.

    Args:
        facts: About the data.
        memory: Bytes that a forward and a backward pass may take; None for no limit.
        on_gpu: Whether a GPU trains it, so that larger inputs are quick enough.

    Raises:
        InputTooSmallError: If the data is too small.
        MemoryBudgetError: If not even the smallest input fits into the memory.
    """
    shapes = _input_shapes(facts, ON_GPU if on_gpu else 1)
    config = _with_input(facts, shapes[-1])
    if memory is not None and _bytes(config) > memory:
        fitting = [shape for shape in shapes if _bytes(_with_input(facts, shape)) <= memory]
        if not fitting:
            needed = format_size(_bytes(_with_input(facts, shapes[0])))
            raise MemoryBudgetError(f"training takes at least {needed}, {format_size(memory)} may be used; allow more")
        config = _with_input(facts, fitting[-1])
    logger.info("the network reads patches of %s voxels", "x".join(map(str, config.input_shape)))
    return config


def _input_shapes(facts: Facts, factor: int) -> list[Coordinate]:
    """Return some input shapes from the smallest to the largest that the data has."""
    dims, ends = len(facts.coarse_axes), []
    for size, is_coarse in zip(facts.smallest_shape, facts.coarse_axes, strict=True):
        smallest, largest, step = INPUT_SIZES[not is_coarse]
        if size < smallest:
            raise InputTooSmallError(
                f"a volume of {tuple(facts.smallest_shape)} voxels is too small: the network needs {smallest} along "
                "each axis; give a larger volume"
            )
        ends.append((smallest, (min(size, factor * largest[dims]) - smallest) // step, step))
    quarters = range(5)
    shapes = [Coordinate(least + steps * i // 4 * step for least, steps, step in ends) for i in quarters]
    return list(dict.fromkeys(shapes))


def _with_input(facts: Facts, shape: Coordinate) -> CNNectomeUNetConfig:
    return CNNectomeUNetConfig(
        name="small_unet",
        input_shape=shape,
        fmaps_in=facts.channels,
        fmaps_out=12,
        num_fmaps=12,
        fmap_inc_factor=4,
        downsample_factors=[Coordinate(1 if is_coarse else 3 for is_coarse in facts.coarse_axes)],
    )


def _bytes(config: CNNectomeUNetConfig) -> int:
    """Return the memory of a forward and a backward pass of one sample."""
    assert config.fmaps_in is not None
    network = config.architecture_type(config)
    return network_bytes(training_bytes(network, (1, config.fmaps_in, *config.input_shape)))
