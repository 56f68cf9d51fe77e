"""All that another program needs to know to use an exported network."""

from __future__ import annotations

from typing import Any

import attrs
from funlib.geometry import Coordinate

from dacapo.errors import ArrayNotFoundError, StorageError
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.starts import head_labels
from dacapo.experiments.tasks.post_processors import PostProcessorParameters
from dacapo.inference.raw_chain import raw_configs
from dacapo.loaded_model import LoadedModel
from dacapo.store.converter import to_plain

from .network import Sizes, sizes_of
from .normalization import Normalization, normalization_of


@attrs.frozen
class Description:
    """What an exported file says about its network.

    Attributes:
        name: Name of the run.
        iteration: The checkpoint.
        axes: Names of the spatial axes.
        sizes: The inputs that it takes.
        normalization: The change of raw values before the network.
        channels: Names of the channels of the prediction.
        activation: The activation that the network ends with.
        voxel_size: Of the data that it was trained on, in ``unit``; None if the data is not there any more.
        unit: Of the voxel size; empty for pixels.
        parameters: The parameters of the post-processing.
        task: Config of the task, in plain values.
        architecture: Config of the architecture, in plain values.
        value_range: The lowest and the highest value of predictions.
        num_in_channels: Number of channels of the raw data.
    """

    name: str
    iteration: int | None
    axes: list[str]
    sizes: Sizes
    normalization: Normalization
    channels: list[str]
    activation: str
    voxel_size: list[float] | None
    unit: str
    parameters: PostProcessorParameters | None
    task: dict[str, Any]
    architecture: dict[str, Any]
    value_range: tuple[float, float]
    num_in_channels: int

    @classmethod
    def of(cls, loaded: LoadedModel) -> Description:
        """Describe a loaded model.

        Raises:
            ConfigError: If other programs could not use it.
        """
        trained = loaded.trained
        config, model = trained.config, trained.model
        labels = head_labels(config.task_config, trained.task)
        if labels is None or len(labels) != model.num_out_channels:
            labels = [f"channel_{number}" for number in range(model.num_out_channels)]
        activation = model.eval_activation
        voxel_size, unit = _voxels(loaded)
        return cls(
            name=config.name,
            iteration=loaded.iteration,
            axes=["z", "y", "x"][-model.architecture.dims :],
            sizes=sizes_of(model),
            normalization=normalization_of(trained),
            channels=[str(label) for label in labels],
            activation="identity" if activation is None else type(activation).__name__,
            voxel_size=voxel_size,
            unit=unit,
            parameters=loaded.parameters,
            task=to_plain(config.task_config),
            architecture=to_plain(config.architecture_config),
            value_range=trained.task.predictor.output_range,
            num_in_channels=model.num_in_channels,
        )

    def as_plain(self) -> dict[str, Any]:
        """Return the description as values that JSON and YAML can hold."""
        return {
            "run": self.name,
            "iteration": self.iteration,
            "axes": ["b", "c", *self.axes],
            "normalization": attrs.asdict(self.normalization),
            "activation": self.activation,
            "input_size": {"min": _numbers(self.sizes.least), "step": _numbers(self.sizes.step)},
            "block_size": _numbers(self.sizes.block),
            "halo": _numbers(self.sizes.halo),
            "output_voxels_per_input_voxel": _numbers(self.sizes.ratio),
            "channels": self.channels,
            "value_range": [float(value) for value in self.value_range],
            "voxel_size": self.voxel_size,
            "unit": self.unit,
            "post_processing": None if self.parameters is None else _plain_parameters(self.parameters),
            "task": self.task,
            "architecture": self.architecture,
        }


def _numbers(values: Coordinate) -> list[int]:
    return [int(value) for value in values]


def _plain_parameters(parameters: PostProcessorParameters) -> dict[str, Any]:
    values = {name: getattr(parameters, name) for name in parameters.parameter_names}
    plain = {name: _numbers(value) if isinstance(value, Coordinate) else value for name, value in values.items()}
    return {"parameters": type(parameters).__name__, **plain}


def _voxels(loaded: LoadedModel) -> tuple[list[float] | None, str]:
    """Return voxel size and unit of the training data, as far as it is still there."""
    for config in raw_configs(loaded.trained.config.datasplit_config)[:1]:
        try:
            array = build(config)
        except (ArrayNotFoundError, StorageError):  # a model can be exported where its data is not
            return None, ""
        return [float(size) for size in array.spacing], array.units[-1]
    return None, ""
