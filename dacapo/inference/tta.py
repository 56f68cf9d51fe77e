"""Test-time augmentation: predict mirrored and turned raw data too, and average what comes back.

Predictions are averaged in their channels and at their voxels, before they are quantized. The mean needs no more memory
than two predictions, and the time of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import torch
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError
from dacapo.experiments.architectures.architecture import enlargement
from dacapo.experiments.model import Model
from dacapo.experiments.trained_model import TrainedModel
from dacapo.utils.symmetries import NONE, ChannelSource, Symmetry, symmetries


class SymmetricModel(Model):
    """A model whose prediction is the mean over those for changed inputs.

    The prediction is smaller than that of the model by :attr:`margin` on every side, and by one more voxel in front
    along axes where the model loses an odd number: mirrored predictions lack it on that side.

    Attributes:
        model: The model that predicts each of them.
        ways: The changes of the input, and for each the sources of the channels; None for a channel without one.
        margin: How far a source lies from its voxel at most, in voxels of the prediction.
    """

    def __init__(
        self,
        model: Model,
        ways: Sequence[tuple[Symmetry, Sequence[ChannelSource | None]]],
        voxel_size: Coordinate,
    ) -> None:
        """Wrap a model, which keeps its mode and its weights.

        Args:
            model: The model.
            ways: The changes of the input, first the one that changes nothing.
            voxel_size: Voxel size of the input in world units.
        """
        before, after = model.context(voxel_size)
        self._odd = (after - before) / model.scale(voxel_size)
        shifts = [source.shift for _, sources in ways for source in sources if source is not None and source.shift]
        dims = voxel_size.dims
        self.margin = Coordinate(max((abs(shift[axis]) for shift in shifts), default=0) for axis in range(dims))
        super().__init__(model.architecture, model.prediction_head, model.eval_activation)
        self.model, self.ways = model, list(ways)
        self.train(model.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean prediction for a batch."""
        # For the memory of the network, which is the same for all of them, two are enough.
        ways = self.ways[:2] if x.is_meta else self.ways
        mean, counts = torch.empty(0), [0] * self.num_out_channels
        for symmetry, sources in ways:
            prediction = symmetry.undo(self.model(symmetry.apply(x)))
            if not mean.numel():
                mean = torch.zeros_like(prediction[self._part(prediction, symmetry, ())])
            for channel, source in enumerate(sources):
                if source is not None:
                    part = prediction[self._part(prediction, symmetry, source.shift)][:, source.channel]
                    counts[channel] += 1
                    # So that the mean of equal numbers is that number exactly.
                    mean[:, channel] += (part - mean[:, channel]) / counts[channel]
        return mean

    def _part(self, prediction: torch.Tensor, symmetry: Symmetry, shift: Sequence[int]) -> tuple[slice, ...]:
        """Return the place of the mean in a prediction whose change was undone."""
        sides = []
        for axis, size in enumerate(prediction.shape[2:]):
            first = self.margin[axis] + (0 if symmetry.is_mirrored(axis) else self._odd[axis])
            extent = size - 2 * self.margin[axis] - self._odd[axis]
            begin = first + (shift[axis] if shift else 0)
            sides.append(slice(begin, begin + extent))
        return (slice(None), slice(None), *sides)

    def compute_output_shape(self, input_shape: Coordinate) -> tuple[int, Coordinate]:
        """Return number of channels and spatial shape of the mean prediction."""
        channels, shape = super().compute_output_shape(input_shape)
        shape = shape - self.margin * 2 - self._odd
        if min(shape) < 1:
            raise ConfigError(
                f"test-time augmentation leaves no voxel of the prediction for an input of {tuple(input_shape)}, since "
                f"affinities reach {tuple(self.margin)} voxels; predict without it, or with a network with a "
                "larger eval_shape_increase"
            )
        return channels, shape

    @property
    def receptive_halo(self) -> Coordinate:
        """Input voxels needed on each side of a region of the prediction, whatever its alignment."""
        ratios = enlargement(self.architecture)
        more = zip(self.margin + self._odd, ratios, strict=True)
        return super().receptive_halo + Coordinate(math.ceil(voxels / ratio) for voxels, ratio in more)


def with_tta(trained: TrainedModel, voxel_size: Coordinate, tta: str) -> TrainedModel:
    """Return a model whose predictions are averaged over the symmetries of a kind.

    Axes are exchanged only where the data has the same voxel size along them, and the network the same shape, step,
    and context.

    Args:
        trained: The model; it is shared, not copied.
        voxel_size: Voxel size of the input in world units.
        tta: ``"none"``, ``"flips"`` or ``"turns"``.

    Raises:
        ConfigError: If the predictor does not say how its channels change.
    """
    if tta == NONE:
        return trained
    model, predictor = trained.model, trained.task.predictor
    ways = []
    for symmetry in symmetries(_kinds(model, voxel_size), tta):
        sources = predictor.channel_sources(symmetry)
        if sources is None or len(sources) != model.num_out_channels:
            raise ConfigError(
                f"{type(predictor).__name__} does not say how its {model.num_out_channels} channels change when raw "
                "data is mirrored or turned; give it a method channel_sources, or predict without tta"
            )
        if any(source is not None for source in sources):
            ways.append((symmetry, sources))
    return attrs.evolve(trained, model=SymmetricModel(model, ways, voxel_size))


def _kinds(model: Model, voxel_size: Coordinate) -> list[tuple[object, ...]]:
    """Return for each axis what has to be equal for two axes to be exchanged."""
    scaled, (before, after) = model.scale(voxel_size), model.context(voxel_size)
    return list(
        zip(
            voxel_size,
            scaled,
            before,
            after,
            model.input_shape,
            model.output_shape,
            model.architecture.stride,
            model.receptive_halo,
            model.padded_axes,
            strict=True,
        )
    )
