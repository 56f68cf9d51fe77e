"""Prediction of a volume block by block, equal to one pass over the whole volume; see :mod:`.block_plan`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.block_plan import BlockPlan, first_half, plan_blocks
from dacapo.blockwise.blocks import run_blocks
from dacapo.blockwise.scheduler import run_blockwise
from dacapo.compute_context import create_compute_context
from dacapo.experiments.datasplits.datasets.arrays import Array, ArrayConfig, ZarrArray
from dacapo.experiments.run import Run
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import to_plain
from dacapo.utils.quantize import quantize, storage_type

WORKER = "dacapo.blockwise.predict_worker"


def as_network_input(values: npt.NDArray[Any], axes: list[str], device: torch.device) -> torch.Tensor:
    """Return values as a tensor of shape (1, channels, *spatial) and type float32."""
    values = np.moveaxis(values, axes.index("c"), 0) if "c" in axes else values[np.newaxis]
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)[np.newaxis]).to(device)


class BlockPredictor:
    """Predicts single blocks.

    Args:
        run: The run, with the weights to use loaded into its model.
        raw: The input, prepared as in training.
        plan: Where the blocks lie.
        output: Where predictions are written.
        device: Where the network runs.
    """

    def __init__(self, run: Run, raw: Array, plan: BlockPlan, output: ZarrArray, device: torch.device) -> None:
        self.run, self.raw, self.plan, self.output, self.device = run, raw, plan, output, device
        run.model.to(device).eval()

    def process(self, write_roi: Roi) -> None:
        """Predict a block and write it."""
        voxel_size = self.plan.output_voxel_size
        read_roi = self.plan.read_roi(write_roi)
        values = self.run.trainer.prepare_input(self.raw.read_padded(read_roi))
        with torch.inference_mode():
            predicted = self.run.model(as_network_input(values, self.raw.axes, self.device))[0].cpu().numpy()
        lost = read_roi.shape - Coordinate(predicted.shape[1:]) * voxel_size
        first = (write_roi.begin - read_roi.begin - first_half(lost, voxel_size)) / voxel_size
        extent = write_roi.shape / voxel_size
        inner = tuple(slice(b, b + s) for b, s in zip(first, extent, strict=True))
        value_range = self.run.task.predictor.output_range
        self.output[write_roi] = quantize(predicted[(slice(None), *inner)], value_range, self.output.dtype)


def predict_array(
    run: Run,
    raw: Array,
    output: LocalArrayIdentifier,
    *,
    output_roi: Roi | None = None,
    output_dtype: npt.DTypeLike = np.uint8,
    metadata: dict[str, Any] | None = None,
    overwrite: bool = True,
    num_workers: int = 1,
    iteration: int | None = None,
    raw_config: ArrayConfig | None = None,
) -> ZarrArray:
    """Predict a volume block by block.

    Blocks are done one after another in this process, unless the compute context of the options distributes workers,
    and the last two arguments tell those where to find weights and data.

    Args:
        run: The run, with the weights to use loaded into its model.
        raw: The input, prepared as in training.
        output: Where to write. The array has a channel axis first.
        output_roi: Region in world units, the whole of ``raw`` by default. Near the edges of ``raw`` the network sees
            reflected data, so predictions there are less sure.
        output_dtype: ``uint8`` scales the range of the prediction to 0..255 (see :mod:`dacapo.utils.quantize`), float
            types keep it.
        metadata: Further attributes of the output.
        overwrite: Whether to replace an output that exists.
        num_workers: Number of worker processes, where they are distributed.
        iteration: The stored checkpoint that holds the weights.
        raw_config: Describes ``raw``.

    Raises:
        DtypeError: If predictions cannot be stored as ``output_dtype``.
        BlockwiseError: If a block fails.
    """
    context = create_compute_context()
    plan = plan_blocks(run.model, raw, output_roi)
    value_range = run.task.predictor.output_range
    dtype = storage_type(output_dtype, value_range)
    written = ZarrArray.create_from_array_identifier(
        output,
        ["c", *(axis for axis in raw.axes if axis != "c")],
        plan.output_roi,
        run.model.num_out_channels,
        plan.output_voxel_size,
        dtype,
        write_size=plan.write_shape,
        overwrite=overwrite,
    )
    written.add_metadata({"value_range": list(value_range), **(metadata or {})})
    if context.distribute_workers and iteration is not None and raw_config is not None:
        _distribute(run, plan, output, num_workers, iteration, raw_config)
        return written
    was_training = run.model.training
    try:
        predictor = BlockPredictor(run, raw, plan, written, context.device)
        run_blocks("predict", plan.output_roi, plan.write_shape, predictor.process)
    finally:
        run.model.train(was_training)
    return written


def _distribute(
    run: Run, plan: BlockPlan, output: LocalArrayIdentifier, num_workers: int, iteration: int, raw_config: ArrayConfig
) -> None:
    block_roi = Roi((0,) * plan.output_roi.dims, plan.write_shape)
    run_blockwise(
        WORKER,
        plan.output_roi,
        block_roi,
        block_roi,
        num_workers,
        run_config=to_plain(run.config),
        iteration=iteration,
        raw_config=to_plain(raw_config),
        output_container=str(output.container),
        output_dataset=output.dataset,
        output_offset=list(plan.output_roi.offset),
        output_shape=list(plan.output_roi.shape),
    )
