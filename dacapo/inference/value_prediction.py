"""Prediction of arrays in memory and of lazy ones, by the same blocks as that of volumes in files."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.compute_context import Step, create_compute_context
from dacapo.errors import ConfigError, MemoryBudgetError
from dacapo.experiments.architectures.architecture import enlargement
from dacapo.experiments.block_plan import BlockPlan
from dacapo.experiments.config import configs_inside
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    ArrayConfig,
    MemoryArrayConfig,
    NumpyArray,
    ResampledArrayConfig,
)
from dacapo.experiments.datasplits.datasets.arrays.array import map_inner
from dacapo.experiments.datasplits.datasets.arrays.axes import spatial_axes_of
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.trained_model import TrainedModel
from dacapo.inference.budget import plan_within
from dacapo.inference.prediction import BlockPredictor
from dacapo.inference.tta import with_tta
from dacapo.utils.blocks import BlockGrid
from dacapo.utils.memory import available_memory, format_size
from dacapo.utils.padding import reflected_region
from dacapo.utils.progress import progress
from dacapo.utils.quantize import quantize, storage_type
from dacapo.utils.symmetries import NONE


def whole_voxels(trained: TrainedModel) -> list[float]:
    """Return a voxel size for values without one, which the voxels of the prediction divide."""
    size = math.lcm(*(ratio.numerator for ratio in enlargement(trained.model.architecture)))
    return [float(size)] * trained.model.architecture.dims


def predict_values(
    trained: TrainedModel,
    raw: Array,
    dtype: npt.DTypeLike = np.float32,
    *,
    roi: Roi | None = None,
    max_memory: str | int | None = None,
    precision: str = "float32",
    tta: str = NONE,
) -> NumpyArray:
    """Return the prediction of an array, in memory.

    Args:
        trained: The model with its weights.
        raw: The input, with the changes that raw data goes through before training.
        dtype: As in :func:`dacapo.predict.predict`.
        roi: Region in world units; all of ``raw`` by default.
        max_memory: Limit on the memory of the blocks.
        precision: ``float32`` or ``bfloat16``.
        tta: Test-time augmentation.

    Raises:
        MemoryBudgetError: If the prediction does not fit into the free memory, or not even the smallest block does.
        DacapoError: If the network does not fit the volume; see :func:`.plan_blocks`.
    """
    trained, kind, plan = _planned(trained, raw, dtype, roi, max_memory, tta)
    shape = (trained.model.num_out_channels, *plan.output_roi.shape / plan.output_voxel_size)
    _check_memory(math.prod(shape) * kind.itemsize)
    axes = ["c", *spatial_axes_of(raw.axes)]
    values = np.empty(shape, dtype=kind)
    output = NumpyArray.from_np_array(values, plan.output_roi, plan.output_voxel_size, axes)
    was_training = trained.model.training
    predictor = BlockPredictor(trained, raw, plan, output, create_compute_context(step=Step.PREDICT).device, precision)
    try:
        for block in progress(BlockGrid(plan.output_roi, plan.write_shape), desc="predict", unit="block"):
            predictor.process(block)
    finally:
        trained.model.train(was_training)
    return output


def predict_lazily(
    trained: TrainedModel,
    raw_config: ArrayConfig,
    values: Any,
    dtype: npt.DTypeLike = np.float32,
    *,
    max_memory: str | int | None = None,
    precision: str = "float32",
    tta: str = NONE,
) -> Any:
    """Return the prediction of a dask array as a dask array, channels first, which computes block by block.

    Args:
        trained: The model with its weights.
        raw_config: The changes that raw data goes through before training, on top of a config that lends ``values``.
        values: The dask array.
        dtype: As in :func:`dacapo.predict.predict`.
        max_memory: Limit on the memory of a block.
        precision: ``float32`` or ``bfloat16``.
        tta: Test-time augmentation.

    Raises:
        ConfigError: If raw data is resampled, since its blocks then depend on more than themselves.
        DacapoError: If the network does not fit the volume; see :func:`.plan_blocks`.
    """
    import dask.array as da
    from dask.delayed import delayed

    _refuse_resampling(raw_config)
    raw = build(raw_config)
    trained, kind, plan = _planned(trained, raw, dtype, None, max_memory, tta)
    trained.model.eval()
    grid = BlockGrid(plan.output_roi, plan.write_shape)
    compute = delayed(_predict_block, pure=False)
    parts = np.empty(grid.shape, dtype=object)
    for block in grid:
        needed = reflected_region(raw, plan.read_roi(block))
        index = _index(values.ndim, raw, needed)
        made = compute(values[index], trained, raw_config, needed, raw.voxel_size, plan, block, kind, precision)
        shape = (trained.model.num_out_channels, *block.shape / plan.output_voxel_size)
        part = da.from_delayed(made, shape=tuple(map(int, shape)), dtype=kind)  # type: ignore[no-untyped-call]
        parts[np.unravel_index(grid.index(block), grid.shape)] = part
    return da.block(parts.tolist())  # type: ignore[no-untyped-call]


def _planned(
    trained: TrainedModel,
    raw: Array,
    dtype: npt.DTypeLike,
    roi: Roi | None,
    max_memory: str | int | None,
    tta: str,
) -> tuple[TrainedModel, np.dtype[Any], BlockPlan]:
    """Return the model to predict with, the type of the prediction, and its blocks."""
    trained = with_tta(trained, raw.voxel_size, tta)
    kind = storage_type(dtype, trained.task.predictor.output_range)
    return trained, kind, plan_within(trained.model, raw, roi, dtype=kind, max_memory=max_memory, here=True).plan


def _check_memory(size: int) -> None:
    free = available_memory()
    if free is not None and size > free:
        raise MemoryBudgetError(
            f"the result takes {format_size(size)} of memory, {format_size(free)} are free; give an output, which is "
            "written block by block"
        )


def _refuse_resampling(config: ArrayConfig) -> None:
    if isinstance(config, ResampledArrayConfig):
        raise ConfigError(
            "the run resamples its raw data, which is not done lazily; give the path of the data, or its values by "
            "np.asarray(...)"
        )
    for _, inner in configs_inside(config):
        if isinstance(inner, ArrayConfig):
            _refuse_resampling(inner)


def _index(ndim: int, raw: Array, region: Roi) -> tuple[slice, ...]:
    """Return the part of the values that a region covers. Channels, if any, are whole, and may not be those of raw."""
    spatial = ((region - raw.roi.offset) / raw.voxel_size).to_slices()
    return (*[slice(None)] * (ndim - len(spatial)), *spatial)


def _predict_block(
    values: npt.NDArray[Any],
    trained: TrainedModel,
    raw_config: ArrayConfig,
    region: Roi,
    voxel_size: Coordinate,
    plan: BlockPlan,
    block: Roi,
    dtype: np.dtype[Any],
    precision: str,
) -> npt.NDArray[Any]:
    """Return the prediction of a block from the values of the region that it reads."""
    axes = _lent_leaf(raw_config).axes
    with MemoryArrayConfig.lent(values, "block", axes, list(voxel_size), list(region.offset)) as leaf:
        raw = build(_on_leaf(raw_config, leaf))
        predictor = BlockPredictor(
            trained, raw, plan, None, create_compute_context(step=Step.PREDICT).device, precision
        )
        return quantize(predictor.compute(block), trained.task.predictor.output_range, dtype)


def _lent_leaf(config: ArrayConfig) -> MemoryArrayConfig:
    """Return the first leaf of a config, all of which are the same values."""
    while not isinstance(config, MemoryArrayConfig):
        config = next(inner for _, inner in configs_inside(config) if isinstance(inner, ArrayConfig))
    return config


def _on_leaf(config: ArrayConfig, leaf: MemoryArrayConfig) -> ArrayConfig:
    """Return a config on top of other values."""
    replace: Callable[[ArrayConfig], ArrayConfig] = lambda inner: _on_leaf(inner, leaf)  # noqa: E731
    return leaf if isinstance(config, MemoryArrayConfig) else map_inner(config, replace)
