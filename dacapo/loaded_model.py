"""A trained model that predicts and segments arrays in any form."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.apply import apply
from dacapo.compute_context import Execution
from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    ArrayConfig,
    MemoryArrayConfig,
    ZarrArray,
    open_identifier,
)
from dacapo.experiments.datasplits.datasets.arrays.given_values import (
    config_given,
    given_values,
    is_dask,
    is_place,
    zarr_place,
)
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.run import Run
from dacapo.experiments.selection import select
from dacapo.experiments.stored_run import stored_config, stores_of
from dacapo.experiments.tasks.post_processors import PostProcessorParameters
from dacapo.experiments.tasks.post_processors.parameters_text import parse_parameters
from dacapo.experiments.trained_model import TrainedModel
from dacapo.inference.inputs import open_raw, raw_config_of
from dacapo.inference.prediction import predict_array
from dacapo.inference.result_forms import as_dataarray, as_given, in_order
from dacapo.inference.value_prediction import predict_lazily, predict_values, whole_voxels
from dacapo.options import Options
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_stats_store, create_weights_store
from dacapo.utils.symmetries import NONE

logger = logging.getLogger(__name__)


@attrs.frozen(eq=False)
class LoadedModel:
    """A trained model with its task; made by :func:`load_model`.

    Attributes:
        trained: The model with the weights of the checkpoint.
        iteration: The checkpoint; None if the weights are those of a run in memory.
        parameters: The parameters of the post-processing to use; None if no validation chose any.
        runs_base_dir: The folder that holds the run.
    """

    trained: TrainedModel
    iteration: int | None
    parameters: PostProcessorParameters | None
    runs_base_dir: Path

    def __repr__(self) -> str:
        return f"LoadedModel({self.trained.name!r}, iteration={self.iteration}, parameters={self.parameters})"

    def predict(
        self,
        data: Any,
        output: LocalArrayIdentifier | Path | str | None = None,
        *,
        dtype: npt.DTypeLike | None = None,
        num_workers: int | None = None,
        max_memory: str | int | None = None,
        precision: str = "float32",
        tta: str = NONE,
        **metadata: Any,
    ) -> Any:
        """Predict an array, in the form in which it is given. Raw values are changed as in training.

        Predictions equal those of :func:`dacapo.predict`, which makes them by the same blocks.

        Args:
            data: The raw data: a NumPy array, with the axes of the training data, channels first if there are several;
                an xarray, whose coordinates are the positions of voxels; a dask array; a zarr array; a path or URL, or
                the config of an array.
            output: Where to write the prediction block by block, as in :func:`dacapo.predict`. By default it is
                returned.
            dtype: Type of the prediction; by default ``float32``, and ``uint8`` where it is written.
            num_workers: Maximum number of worker processes, where it is written.
            max_memory: Limit on the memory of blocks, such as ``"8GB"``.
            precision: ``float32`` or ``bfloat16``.
            tta: Test-time augmentation: ``none``, ``flips`` or ``turns``.
            **metadata: ``axes``, ``voxel_size``, ``offset`` and ``unit`` of the data, in place of what it says.

        Returns:
            The prediction, with channels first and the spatial axes in their order. It is a NumPy array for one; an
            xarray with the same coordinates and attributes for one; a dask array that computes lazily for one; an
            xarray with the positions of voxels for a path. With ``output``, the array that was written.

        Raises:
            MetadataError: If the axes of the data are unknown, or its coordinates not evenly spaced.
            ChannelMismatchError: If the data does not have the number of channels that the network takes.
            RoiError: If the data is smaller than the network's input.
            MemoryBudgetError: If the result does not fit into memory; give an output then.
        """
        how: dict[str, Any] = {"max_memory": max_memory, "precision": precision, "tta": tta}
        if output is not None:
            kind = np.uint8 if dtype is None else dtype
            with self._given(data, metadata) as (_, config), Options.override(runs_base_dir=self.runs_base_dir):
                args = (self.trained, self._checkpoint(), config, None, output, None, num_workers, kind)
                return open_identifier(predict(*args, **how))
        kind = np.float32 if dtype is None else dtype
        with self._given(data, metadata) as (values, config):
            if is_dask(values):
                raw_config = raw_config_of(self.trained.config, config)
                raw, lazy = build(raw_config), predict_lazily(self.trained, raw_config, values, kind, **how)
                place = raw.roi.offset, self.trained.model.scale(raw.voxel_size)
                return as_given(lazy, ["c", *_spatial(raw)], place, data, raw)
            raw = self._opened(config, metadata, is_placed=values is None)
            return self._returned(predict_values(self.trained, raw, kind, **how), data, raw)

    def segment(
        self,
        data: Any,
        output: Path | str | None = None,
        *,
        parameters: PostProcessorParameters | str | None = None,
        num_workers: int | None = None,
        max_memory: str | int | None = None,
        precision: str = "float32",
        tta: str = NONE,
        **metadata: Any,
    ) -> Any:
        """Predict an array and post-process it, with the parameters that validated best.

        Args:
            data: As in :meth:`predict`; a dask array is read block by block.
            output: Container to write prediction and segmentation to, as in :func:`dacapo.apply`. By default the
                segmentation is returned.
            parameters: Parameters of the post-processing, or their text.
            num_workers: Maximum number of worker processes.
            max_memory: Limit on the memory of all processes together, such as ``"8GB"``.
            precision: ``float32`` or ``bfloat16``.
            tta: Test-time augmentation: ``none``, ``flips`` or ``turns``.
            **metadata: As in :meth:`predict`.

        Returns:
            The segmentation: objects numbered from 1, or the number of the class of each voxel; as a NumPy array for
            one and for a dask array, as an xarray otherwise. With ``output``, the array that was written.

        Raises:
            ConfigError: If the run was not validated and no parameters are given.
            DacapoError: As :meth:`predict`.
        """
        chosen = self._parameters(parameters)
        if output is not None:
            how: dict[str, Any] = {"max_memory": max_memory, "precision": precision, "tta": tta}
            with self._given(data, metadata) as (_, config), Options.override(runs_base_dir=self.runs_base_dir):
                args = (self.trained, config, None, output)
                done = apply(*args, iteration=self._checkpoint(), parameters=chosen, num_workers=num_workers, **how)
                return open_identifier(done.output)
        execution = Execution(num_workers, max_memory, precision, tta=tta)
        with self._given(data, metadata) as (values, config), tempfile.TemporaryDirectory() as folder:
            raw = self._opened(config, metadata, is_placed=values is None)
            places = [LocalArrayIdentifier(Path(folder) / "segment.zarr", name) for name in ("prediction", "labels")]
            predict_array(self.trained, raw, places[0], execution)
            self.trained.task.post_processor.set_prediction(places[0])
            self.trained.task.post_processor.process_within(chosen, places[1], execution)
            return self._returned(ZarrArray.open_from_array_identifier(places[1]), data, raw)

    @contextmanager
    def _given(self, data: Any, metadata: dict[str, Any]) -> Iterator[tuple[Any, ArrayConfig]]:
        """Yield the values of data, None if it is elsewhere, and a config of it."""
        data = in_order(zarr_place(data))
        if is_place(data):
            yield None, config_given(data, "data", **metadata)
            return
        given = given_values(data, dims=self.trained.model.architecture.dims, **metadata)
        size = given.voxel_size or whole_voxels(self.trained)[: given.dims]
        with MemoryArrayConfig.lent(given.values, "data", given.axes, size, given.offset, given.unit) as config:
            yield given.values, config

    def _opened(self, config: ArrayConfig, metadata: dict[str, Any], is_placed: bool) -> Array:
        """Return raw data changed as in training; values without a voxel size count as having the right one."""
        if is_placed or metadata.get("voxel_size") is not None:
            return open_raw(self.trained.config, config)
        return build(raw_config_of(self.trained.config, config))

    def _returned(self, result: Array, data: Any, raw: Array) -> Any:
        """Return a result in the form of the data."""
        values = result[result.roi]
        if is_place(zarr_place(data)):
            return as_dataarray(values, result.axes, result.roi.offset, result.voxel_size, raw.world)
        return as_given(values, result.axes, (result.roi.offset, result.voxel_size), data, raw)

    def _checkpoint(self) -> int:
        if self.iteration is None:
            raise ConfigError(
                f"the weights of run {self.trained.name!r} are in memory only, and an output names the checkpoint that "
                "it was made with; train the run first, or leave out the output"
            )
        return self.iteration

    def _parameters(self, given: PostProcessorParameters | str | None) -> PostProcessorParameters:
        if isinstance(given, str):
            return parse_parameters(given, self.trained.task.parameters)
        chosen = self.parameters if given is None else given
        if chosen is None:
            raise ConfigError(
                f"run {self.trained.name!r} has not been validated, so nothing says how to post-process; validate it, "
                f"or give parameters, such as {next(iter(self.trained.task.parameters))}"
            )
        return chosen


def _spatial(raw: Array) -> list[str]:
    return [axis for axis in raw.axes if axis not in ("b", "c")]


@Options.kept()
def load_model(
    run: str | Path | Run,
    iteration: int | None = None,
    *,
    criterion: str = "voi",
    validation_dataset: str | None = None,
) -> LoadedModel:
    """Return the model of a run, ready to predict and to segment.

    A validated run is loaded with the checkpoint and the parameters that validated best, as :func:`dacapo.apply`
    chooses them; another one with its latest checkpoint. Its training data is not needed.

    Args:
        run: Name of a stored run, the folder of a run, or a run. One without a checkpoint must be given as a run, whose
            weights are used as they are.
        iteration: Checkpoint to load.
        criterion: The score that decides.
        validation_dataset: The validation dataset whose scores decide; by default the mean over all of them.

    Raises:
        NotFoundError: If the run or the checkpoint is not stored, or no score decides.
        ConfigError: If the config of the run is another one than that of its checkpoints.
    """
    place = run if not isinstance(run, Run) else run.name if run.opened_from is None else run.opened_from / run.name
    with stores_of(place) as name:
        folder = Options.instance().runs_base_dir
        latest = create_weights_store().latest_iteration(name)
        if latest is None and isinstance(run, Run):
            return LoadedModel(TrainedModel.of(run), None, None, folder)
        config = run.config if isinstance(run, Run) else stored_config(name)
        trained = TrainedModel.of(config)
        parameters: PostProcessorParameters | None = None
        scored = {scores.iteration for scores in create_stats_store().retrieve_validation_iteration_scores(name)}
        if scored and (iteration is None or iteration in scored):
            selection = select(trained, criterion, validation_dataset, iteration)
            iteration, parameters = selection.iteration, selection.parameters
            logger.info("run %s: %s", name, selection.reason)
        if iteration is None and latest is None:
            raise ConfigError(f"run {name!r} has no checkpoint; train it first")
        chosen = latest if iteration is None else iteration
        assert chosen is not None
        create_weights_store().load_model(trained, chosen)
    return LoadedModel(trained, chosen, parameters, folder)
