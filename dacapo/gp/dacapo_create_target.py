"""Targets and weights from ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gunpowder as gp
import numpy as np

from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.datasplits.datasets.arrays.annotated_labels import AnnotatedLabels
from dacapo.experiments.datasplits.datasets.arrays.channels import read_channels_first

from .specs import Request, Spec

if TYPE_CHECKING:
    from funlib.geometry import Roi

    from dacapo.experiments.datasplits.datasets.arrays import Array
    from dacapo.experiments.tasks.predictors import Predictor


class DaCapoTargetFilter(gp.BatchFilter):  # type: ignore[misc]
    """Let a predictor make the target and the weight of a sample.

    Attributes:
        moving_class_counts: The counts that the predictor returned with the last weight, and receives with the next.
    """

    def __init__(
        self,
        predictor: Predictor,
        gt_key: gp.ArrayKey,
        target_key: gp.ArrayKey | None = None,
        weights_key: gp.ArrayKey | None = None,
        mask_key: gp.ArrayKey | None = None,
    ) -> None:
        """Set the predictor and the keys.

        Args:
            predictor: Makes target and weight.
            gt_key: Ground truth.
            target_key: Key of the target.
            weights_key: Key of the weight.
            mask_key: 1 where ground truth is annotated; all of it without this key.
        """
        self.predictor = predictor
        self.gt_key = gt_key
        self.target_key = target_key
        self.weights_key = weights_key
        self.mask_key = mask_key
        self.moving_class_counts: Any = None

    def setup(self) -> None:
        """Announce target and weight, in the region of ground truth."""
        self.enable_autoskip()
        spec = self.spec[self.gt_key].copy()
        spec.dtype = None
        for key, interpolatable in (
            (self.target_key, self.predictor.output_array_type.interpolatable),
            (self.weights_key, True),
        ):
            if key is not None:
                spec.interpolatable = interpolatable
                self.provides(key, spec)

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Request ground truth and mask in the region that the target depends on."""
        wanted = [request[key] for key in (self.target_key, self.weights_key) if key is not None and key in request]
        target_spec = self.spec[self.gt_key].copy()
        target_spec.roi = wanted[0].roi
        for spec in wanted[1:]:
            target_spec.roi = target_spec.roi.union(spec.roi)
        dependencies = Request()
        gt_spec = self.predictor.gt_region_for_roi(target_spec)
        dependencies[self.gt_key] = Spec(roi=gt_spec.roi)
        if self.mask_key is not None:
            dependencies[self.mask_key] = Spec(roi=gt_spec.roi)
        return dependencies

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Make the target, over the whole region of ground truth, and the weight."""
        gt = NumpyArray.from_gp_array(batch[self.gt_key])
        mask = self._ones_like(gt) if self.mask_key is None else NumpyArray.from_gp_array(batch[self.mask_key])
        gt = AnnotatedLabels.of(gt, mask)
        target = self.predictor.create_target(gt)
        output = gp.Batch()
        if self.target_key is not None and self.target_key in request:
            output[self.target_key] = self._wrap(self.target_key, target)
        if self.weights_key is not None and self.weights_key in request:
            if self.predictor.works_on_tensors:  # count the voxels that trainers count
                target = _part(target, request[self.weights_key].roi)
            weight, self.moving_class_counts = self.predictor.annotated_weight(
                gt, target, mask, request[self.weights_key].roi, self.moving_class_counts
            )
            output[self.weights_key] = self._wrap(self.weights_key, weight)
        return output

    def _ones_like(self, gt: NumpyArray) -> NumpyArray:
        return NumpyArray.from_np_array(np.ones(gt.data.shape, dtype=np.uint8), gt.roi, gt.voxel_size, gt.axes)

    def _wrap(self, key: gp.ArrayKey, array: Array) -> gp.Array:
        spec = self.spec[key].copy()
        spec.roi = array.roi
        return gp.Array(read_channels_first(array, add_missing=False), spec)


def _part(array: Array, roi: Roi) -> NumpyArray:
    """Return the part of an array in a region."""
    return NumpyArray.from_np_array(array[roi], roi, array.voxel_size, array.axes)
