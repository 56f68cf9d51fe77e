"""Prediction of a volume block by block, equal to one pass over the whole volume.

See :mod:`dacapo.experiments.block_plan`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.blockwise.journal.identity import config_identities
from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.outputs import channels_on_disk, in_form_of
from dacapo.blockwise.scheduling.run_operation import execute, run_on_ranks
from dacapo.compute_context import Execution, Step, create_compute_context, prediction_workers, works_here
from dacapo.errors import ChannelMismatchError, ConfigError
from dacapo.experiments.block_plan import BlockPlan, check_input, plan_blocks
from dacapo.experiments.datasplits import DummyDataSplitConfig
from dacapo.experiments.datasplits.datasets.arrays import Array, ArrayConfig, NumpyArray, ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.channels import channels_first
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.trained_model import TrainedModel
from dacapo.inference.budget import plan_within
from dacapo.inference.not_finite import not_finite
from dacapo.inference.tta import with_tta
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import converter, to_plain
from dacapo.store.create_store import create_weights_store
from dacapo.utils import distributed
from dacapo.utils.memory_layout import LAYOUTS, kept_layout
from dacapo.utils.quantize import quantize, storage_type
from dacapo.utils.symmetries import NONE
from dacapo.utils.wording import in_channels

if TYPE_CHECKING:
    import daisy.v2 as daisy

logger = logging.getLogger(__name__)

_NO_DATA = DummyDataSplitConfig(name="none")


def as_network_input(values: npt.NDArray[Any], axes: list[str], device: torch.device) -> torch.Tensor:
    """Return values as a tensor of shape (1, channels, *spatial) and type float32."""
    values = channels_first(values, axes.index("c") if "c" in axes else None)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)[np.newaxis]).to(device)


class BlockPredictor:
    """Predict single blocks.

    Args:
        run: A run or its model, with the weights to use.
        raw: The input, with the changes that raw data goes through before training.
        plan: The layout of the blocks.
        output: The array that :meth:`process` writes; None if only :meth:`compute` is called.
        device: Device of the network.
        precision: ``bfloat16`` computes most of the network with 8 bits of precision, which is faster.
    """

    def __init__(
        self,
        run: Run | TrainedModel,
        raw: Array,
        plan: BlockPlan,
        output: ZarrArray | NumpyArray | None,
        device: torch.device,
        precision: str = "float32",
    ) -> None:
        self.trained, self.raw, self.plan, self.output, self.device = TrainedModel.of(run), raw, plan, output, device
        model = self.trained.model.to(device).eval()
        # These convolutions are fast only if channels are adjacent in memory.
        self._fast = precision == "bfloat16"
        on_cpu = device.type == "cpu" and model.architecture.channels_last_on_cpu
        layout = LAYOUTS.get(raw.dims + 2)
        if layout is not None and (self._fast or on_cpu):
            model.to(memory_format=layout)  # type: ignore[call-overload]

    def process(self, write_roi: Roi) -> None:
        """Predict a block and write it."""
        assert self.output is not None
        values = quantize(self.compute(write_roi), self.trained.task.predictor.output_range, self.output.dtype)
        self.output[write_roi] = in_form_of(self.output, values, channel_axis=0)

    def compute(self, write_roi: Roi) -> npt.NDArray[np.float32]:
        """Return the prediction of a block, channels first.

        Raises:
            NotFiniteError: If it holds NaN; the message says where in the raw data this comes from.
        """
        voxel_size = self.plan.output_voxel_size
        read_roi = self.plan.read_roi(write_roi)
        values = self.trained.prepare_input(self.raw.read_padded(read_roi))
        predicted = self._predict(as_network_input(values, self.raw.axes, self.device))
        before, _ = self.trained.model.context(self.raw.voxel_size)
        first = (write_roi.begin - read_roi.begin - before) / voxel_size
        extent = write_roi.shape / voxel_size
        inner = tuple(slice(b, b + s) for b, s in zip(first, extent, strict=True))
        result = predicted[(slice(None), *inner)]
        if np.isnan(result).any():
            raise not_finite(self.raw, read_roi, write_roi)
        return result

    def _predict(self, values: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return the output of the network, without the axis of the batch."""
        if self._fast:
            values = values.to(memory_format=LAYOUTS[values.ndim])
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self._fast):
            predicted: npt.NDArray[np.float32] = self.trained.model(values)[0].float().cpu().numpy()
        return predicted


@attrs.define(kw_only=True, eq=False)
class Prediction(BlockwiseOperation):
    """Predict a volume with a run.

    Attributes:
        run_config: The run.
        iteration: The stored checkpoint with the weights; None if only this process has them.
        weights: Digest of the weights.
        raw_config: Describes the input; None if only this process has it.
        plan: The layout of the blocks, and the regions that they read.
        dtype: Data type of the stored prediction.
        precision: See :class:`BlockPredictor`.
        tta: Test-time augmentation; see :mod:`dacapo.inference.tta`.
        metadata: Attributes of the output.
    """

    run_config: RunConfig
    iteration: int | None
    weights: str
    raw_config: ArrayConfig | None
    plan: BlockPlan
    dtype: str
    precision: str = "float32"
    tta: str = NONE
    metadata: dict[str, Any] = attrs.field(factory=dict)

    _here: tuple[TrainedModel, Array] | None = attrs.field(default=None, init=False)

    @property
    def name(self) -> str:
        return "predict"

    @property
    def step(self) -> Step:
        return Step.PREDICT

    def keep(self, trained: TrainedModel, raw: Array) -> Prediction:
        """Use the model and the input of this process instead of loading stored ones, and return self."""
        self._here = (trained, raw)
        return self

    def parameters(self) -> dict[str, Any]:
        parts = ("architecture_config", "task_config", "trainer_config")
        raw = None if self.raw_config is None else to_plain(self.raw_config)
        return {
            "run": self.run_config.name,
            "iteration": self.iteration,
            "weights": self.weights,
            **{part: to_plain(getattr(self.run_config, part)) for part in parts},
            "raw": raw,
            "inputs": config_identities(raw),
            "region": [list(map(int, part)) for part in (self.region.offset, self.region.shape)],
            "dtype": self.dtype,
            "precision": self.precision,
            **({} if self.tta == NONE else {"tta": self.tta}),
        }

    def most_workers(self) -> int:
        return self.grid.count

    def worker(self) -> tuple[str, list[Any], dict[str, Any]]:
        # Workers do not need the training data, whose description can be long.
        other = attrs.evolve(self, run_config=attrs.evolve(self.run_config, datasplit_config=_NO_DATA))
        return super(Prediction, other).worker()

    def blocks(self) -> dict[str, Any]:
        return {"plan": converter.unstructure(self.plan)}

    def with_blocks(self, blocks: Mapping[str, Any]) -> Prediction:
        plan = converter.structure(blocks["plan"], BlockPlan)
        other = attrs.evolve(self, plan=plan, block_shape=plan.write_shape)
        return other if self._here is None else other.keep(*self._here)

    def create_output(self) -> None:
        trained, raw = self._loaded()
        value_range = list(trained.task.predictor.output_range)
        ZarrArray.create_from_array_identifier(
            self.output,
            ["c", *(axis for axis in raw.axes if axis != "c")],
            self.region,
            channels_on_disk(trained.model.num_out_channels),
            self.plan.output_voxel_size,
            self.dtype,
            write_size=self.block_shape,
            overwrite=True,
            world=raw.world,
            attributes={"value_range": value_range, **self.metadata},
        )

    def open(self) -> None:
        device = create_compute_context(step=Step.PREDICT).device
        output = ZarrArray.open_from_array_identifier(self.output)
        self._predictor = BlockPredictor(*self._loaded(), self.plan, output, device, self.precision)

    def _loaded(self) -> tuple[TrainedModel, Array]:
        if self._here is None:
            if self.iteration is None or self.raw_config is None:
                raise ConfigError("only the process that started the prediction has weights and data; predict there")
            trained = TrainedModel.of(self.run_config)
            # The first process has checked the config; here it lacks the training data.
            create_weights_store().retrieve_model(trained.name, self.iteration).put_into_model(trained)
            if weights_digest(trained.model) != self.weights:
                raise ConfigError(f"the checkpoint {self.iteration} of run {trained.name!r} has changed; start over")
            raw = self.raw_config.array_type(self.raw_config)
            self._here = with_tta(trained, raw.voxel_size, self.tta), raw
        return self._here

    def process(self, block: daisy.Block) -> None:
        self._predictor.process(Roi(block.write_roi.offset, block.write_roi.shape))


def weights_digest(model: torch.nn.Module) -> str:
    """Return a digest of the weights of a model."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_prediction_array(trained: TrainedModel, raw: Array, output: Array) -> None:
    """Check that an existing array can hold the prediction of an input.

    Raises:
        ConfigError: If its voxel size differs from that of the prediction.
        ChannelMismatchError: If its number of channels differs, or that of the input from the network's.
        InputTooSmallError: If the input is smaller than that of the network.
    """
    check_input(trained.model, raw)
    voxel_size = trained.model.scale(raw.voxel_size)
    if output.voxel_size != voxel_size:
        raise ConfigError(
            f"{output} has voxel size {output.voxel_size}, the prediction of run {trained.name!r} has {voxel_size}"
        )
    channels = 1 if output.channel_axis is None else output.num_channels
    if channels != trained.model.num_out_channels:
        raise ChannelMismatchError(
            f"{output} has {in_channels(channels)}, "
            f"the prediction of run {trained.name!r} {trained.model.num_out_channels}"
        )


def predict_array(
    run: Run | TrainedModel,
    raw: Array,
    output: LocalArrayIdentifier,
    execution: Execution | None = None,
    *,
    output_roi: Roi | None = None,
    output_dtype: npt.DTypeLike = np.uint8,
    metadata: dict[str, Any] | None = None,
    iteration: int | None = None,
    raw_config: ArrayConfig | None = None,
    block_shape: Coordinate | None = None,
    is_validation: bool = False,
) -> ZarrArray:
    """Predict a volume block by block.

    Worker processes predict the blocks, or this process does one after another; see
    :mod:`dacapo.compute_context.worker_count`. Workers find weights and data by ``iteration`` and ``raw_config``.

    Args:
        run: A run or its model, with the weights to use.
        raw: The input, with the changes that raw data goes through before training.
        output: Where to write. The array has a channel axis first, or none where the network has one channel.
        execution: How to predict, by default in this process, without a journal. The memory determines the size of
            blocks and can reduce the number of workers; see :func:`.plan_within`. Resuming requires ``iteration`` and
            ``raw_config``, because nothing else identifies weights and input.
        output_roi: Region in world units, by default the whole of ``raw``. Near the edges of ``raw`` the network sees
            reflected data, so predictions there are less reliable.
        output_dtype: ``uint8`` scales the range of the prediction to 0..255 (see :mod:`dacapo.utils.quantize`), float
            types keep it.
        metadata: Additional attributes of the output.
        iteration: The stored checkpoint that holds the weights.
        raw_config: Describes ``raw``.
        block_shape: Shape of the region that a block writes, in world units; by default the largest that memory allows.
        is_validation: Whether the model is validated as it is. Processes that train together divide the blocks then:
            all of them call this function, and nothing is resumed. See :mod:`dacapo.utils.distributed`.

    Raises:
        MemoryBudgetError: If not even the smallest block fits into the memory.
        DtypeError: If predictions cannot be stored as ``output_dtype``.
        OutputExistsError: If the output exists and must be kept.
        BlockwiseError: If blocks failed; all others are done.
    """
    execution = execution or Execution(num_workers=1)
    trained = TrainedModel.of(run)
    weights = weights_digest(trained.model)
    trained = with_tta(trained, raw.voxel_size, execution.tta)
    dtype = storage_type(output_dtype, trained.task.predictor.output_range)
    is_stored = iteration is not None and raw_config is not None
    context = create_compute_context(step=Step.PREDICT)
    num_workers = prediction_workers(execution.num_workers, context, not is_validation) if is_stored else 0
    in_workers = num_workers > 0
    ranks = distributed.world_size() if is_validation and not in_workers else 1
    if block_shape is not None:
        plan = plan_blocks(trained.model, raw, output_roi, block_shape)
    else:
        budget = plan_within(
            trained.model,
            raw,
            output_roi,
            dtype=dtype,
            num_workers=num_workers or ranks,
            max_memory=execution.max_memory,
            context=context,
            here=not in_workers,
        )
        logger.info("predicting %s: %s", output.dataset, budget)
        plan, num_workers = budget.plan, budget.num_workers
    if ranks > 1:
        plan = distributed.gather(plan)[0]  # free memory differs between ranks, but all need the same blocks
    operation = Prediction(
        output=output,
        region=plan.output_roi,
        block_shape=plan.write_shape,
        run_config=trained.config,
        iteration=iteration,
        weights=weights,
        raw_config=raw_config,
        plan=plan,
        dtype=dtype.name,
        precision=execution.precision,
        tta=execution.tta,
        metadata=metadata or {},
    ).keep(trained, raw)
    execution = attrs.evolve(
        execution,
        num_workers=min(num_workers, operation.most_workers()) or 1,
        resume=execution.resume if is_stored else None,
    )
    was_training = trained.model.training
    try:
        with kept_layout(trained.model):
            if ranks > 1:
                run_on_ranks(operation)
            elif distributed.is_main() or not is_validation:
                in_process = not in_workers or works_here(execution.num_workers or 1, None, context)
                execute(operation, execution, in_process=in_process)
            if ranks == 1 and is_validation:
                distributed.barrier()
    finally:
        trained.model.train(was_training)
    return ZarrArray.open_from_array_identifier(output)
