"""The contract of a task, as a test suite.

Subclass :class:`TaskContract`, and say how a config of the task looks and what ground truth it learns from::

    class TestMyTask(TaskContract):
        dims = 2

        def config(self):
            return MyTaskConfig(name="mine")

        def ground_truth(self, shape):
            return np.arange(np.prod(shape)).reshape(shape) % 3
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import gunpowder as gp
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.architectures import Architecture
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.tasks import Task, TaskConfig
from dacapo.store.converter import from_plain, to_plain


class Body(Architecture):
    """A small network body that keeps the shape, in 2D or 3D, with one channel in and four out."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        convolution = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dims]
        self.conv = convolution(1, 4, kernel_size=3, padding=1)

    @property
    def input_shape(self) -> Coordinate:
        return Coordinate((8,) * (self.conv.weight.ndim - 2))

    @property
    def num_in_channels(self) -> int:
        return 1

    @property
    def num_out_channels(self) -> int:
        return 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv(x)
        return out


def array(data: np.ndarray, voxel_size: Coordinate, offset: Coordinate | None = None) -> NumpyArray:
    """Return an array of the package with these values.

    Args:
        data: Values, the spatial axes last, behind at most one axis of channels.
        voxel_size: Voxel size in world units.
        offset: Corner in world units, zero by default.
    """
    dims = len(voxel_size)
    axes = ["c", "z", "y", "x"][-dims:] if data.ndim == dims else ["c", *["z", "y", "x"][-dims:]]
    offset = Coordinate((0,) * dims) if offset is None else offset
    return NumpyArray.from_np_array(data, Roi(offset, Coordinate(data.shape[-dims:]) * voxel_size), voxel_size, axes)


def middle(shape: tuple[int, ...], smaller: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the index of the middle of arrays of a spatial shape, for a head that predicts less than it sees."""
    begins = [(have - keep) // 2 for have, keep in zip(shape, smaller, strict=True)]
    return (..., *(slice(begin, begin + keep) for begin, keep in zip(begins, smaller, strict=True)))


class TaskContract(ABC):
    """Laws of a task."""

    dims = 3
    """Number of spatial dimensions to test in, 2 or 3."""

    masks_weights = True
    """Whether its predictor leaves out what is not annotated; otherwise it is left to ``DaCapoTargetFilter``."""

    @abstractmethod
    def config(self) -> TaskConfig:
        """Return a config of the task."""
        raise NotImplementedError

    @abstractmethod
    def ground_truth(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return ground truth of a spatial shape, with or without channels in front."""
        raise NotImplementedError

    @pytest.fixture
    def task(self) -> Task:
        """Return the task of :meth:`config`."""
        config = self.config()
        return config.task_type(config)

    @property
    def voxel_size(self) -> Coordinate:
        """Voxel size of the ground truth, another one along each axis."""
        return Coordinate((6, 4, 2)[-self.dims :])

    def sample(self, task: Task) -> tuple[NumpyArray, Any, NumpyArray]:
        """Return ground truth, its target, and a mask of which four planes are not annotated."""
        shape = (12, 14, 16)[-self.dims :]
        gt = array(self.ground_truth(shape), self.voxel_size, self.voxel_size * 3)
        mask = np.ones(shape, dtype=np.uint8)
        mask[:4] = 0
        return gt, task.predictor.create_target(gt), array(mask, self.voxel_size, self.voxel_size * 3)

    def test_config_survives_a_round_trip(self) -> None:
        config = self.config()
        assert from_plain(to_plain(config), TaskConfig) == config

    def test_verify_gives_a_reason(self) -> None:
        valid, reason = self.config().verify()
        assert isinstance(valid, bool)
        assert reason

    def test_model_predicts_what_the_predictor_names(self, task: Task) -> None:
        model = task.create_model(Body(self.dims))
        names = task.predictor.channel_names
        assert names is None or len(names) == len(set(names)) == model.num_out_channels
        head = model.state_dict()["prediction_head.weight"]
        assert head.shape[:2] == (model.num_out_channels, 4)
        assert head.ndim == 2 + self.dims

    def test_output_stays_in_its_range(self, task: Task) -> None:
        model = task.create_model(Body(self.dims)).eval()
        with torch.no_grad():
            for scale in (0, 1, 100):
                output = model(scale * torch.randn(2, 1, *(8,) * self.dims))
                low, high = task.predictor.output_range
                if model.eval_activation is not None:
                    assert low <= output.min()
                    assert output.max() <= high

    def test_target_and_weight_fit_the_model(self, task: Task) -> None:
        gt, target, mask = self.sample(task)
        weight, _ = task.predictor.create_weight(gt, target, mask)
        model = task.create_model(Body(self.dims))
        for result in (target, weight):
            assert result.axes[0] == "c"
            assert result.roi == gt.roi
            assert result.voxel_size == gt.voxel_size
            assert result.num_channels == model.num_out_channels
            assert np.isfinite(result.data).all()
        assert (weight.data >= 0).all()

    def test_weight_of_what_is_not_annotated_is_zero(self, task: Task) -> None:
        gt, target, mask = self.sample(task)
        weight, _ = task.predictor.create_weight(gt, target, mask)
        assert weight.data[:, mask.data != 0].any()
        if self.masks_weights:
            assert not weight.data[:, mask.data == 0].any()

    def test_weight_of_a_part_of_the_ground_truth(self, task: Task) -> None:
        gt, target, mask = self.sample(task)
        inner = gt.roi.grow(-self.voxel_size, -self.voxel_size * 2)
        part = NumpyArray.from_np_array(target[inner], inner, target.voxel_size, target.axes)
        weight, _ = task.predictor.create_weight(gt, part, mask)
        assert weight.roi == inner

    def test_counts_are_carried_over(self, task: Task) -> None:
        gt, target, mask = self.sample(task)
        counts = None
        for _ in range(3):
            weight, counts = task.predictor.create_weight(gt, target, mask, counts)
        assert np.isfinite(weight.data).all()

    def test_nothing_annotated(self, task: Task) -> None:
        gt, target, mask = self.sample(task)
        nothing = array(np.zeros_like(mask.data), self.voxel_size, mask.roi.offset)
        weight, _ = task.predictor.create_weight(gt, target, nothing)
        assert np.isfinite(weight.data).all()

    def test_loss_can_be_trained(self, task: Task) -> None:
        gt, target, mask = self.sample(task)
        weight, _ = task.predictor.create_weight(gt, target, mask)
        model = task.create_model(Body(self.dims))
        prediction = model(torch.randn(1, 1, *gt.data.shape[-self.dims :]))
        inner = middle(gt.data.shape[-self.dims :], prediction.shape[2:])
        tensors = [torch.as_tensor(np.array(a.data[inner], dtype=np.float32))[None] for a in (target, weight)]
        loss = task.loss.compute(prediction, *tensors)
        torch.autograd.backward(loss)
        assert loss.numel() == 1
        assert torch.isfinite(loss)
        gradient = model.get_parameter("prediction_head.weight").grad
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert gradient.any()

    def test_ground_truth_region_is_aligned_and_holds_the_target(self, task: Task) -> None:
        roi = Roi(self.voxel_size * 7, self.voxel_size * 10)
        spec = gp.ArraySpec(roi=roi, voxel_size=self.voxel_size, dtype=np.float32)
        region = task.predictor.gt_region_for_roi(spec)
        assert region is not spec
        assert spec.roi == roi
        assert region.dtype is None
        assert region.roi.contains(roi)
        assert region.roi.snap_to_grid(self.voxel_size) == region.roi

    def test_ground_truth_region_of_a_plain_roi_counts_voxels(self, task: Task) -> None:
        roi = Roi((7,) * self.dims, (10,) * self.dims)
        region = task.predictor.gt_region_for_roi(roi)
        spec = gp.ArraySpec(roi=roi, voxel_size=Coordinate((1,) * self.dims))
        assert region == task.predictor.gt_region_for_roi(spec).roi
        assert region is not roi

    def test_padding_is_in_whole_voxels(self, task: Task) -> None:
        padding = task.predictor.padding(self.voxel_size)
        assert all(p >= 0 and p % v == 0 for p, v in zip(padding, self.voxel_size, strict=True))

    def test_parameters_can_be_told_apart(self, task: Task) -> None:
        ids = [parameters.id for parameters in task.parameters]
        assert ids
        assert len(set(ids)) == len(ids)

    def test_scores_know_their_criteria(self, task: Task) -> None:
        scores = task.evaluation_scores
        assert scores.criteria
        for criterion in scores.criteria:
            assert scores.higher_is_better(criterion) in (True, False)

    def test_what_targets_are_made_of_is_not_refused(self, task: Task) -> None:
        gt, _, mask = self.sample(task)
        task.predictor.check_labels(gt)
        task.predictor.check_mask(mask)
        task.evaluator.check_truth(gt)
        task.evaluator.check_mask(mask)

    def test_scores_that_are_all_missing_show_no_truth(self, task: Task) -> None:
        scores = task.evaluation_scores
        missing = dict.fromkeys(scores.criteria, float("nan"))
        assert not any(scores.has_truth(criterion, missing) for criterion in scores.criteria)
