"""Augmentations of tensors as nodes of a gunpowder pipeline."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import gunpowder as gp
import numpy as np
import numpy.typing as npt
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, DtypeError
from dacapo.experiments.trainers.gp_augments.change import Change, SampleRois
from dacapo.utils.one_thread import one_thread
from dacapo.utils.tensors import as_array, as_tensor

from .specs import generator_of

if TYPE_CHECKING:
    from typing import Literal

    Role: TypeAlias = Literal["raw", "labels", "mask"]

Draw: TypeAlias = Callable[[SampleRois, np.random.Generator], Change]


class ApplyChange(gp.BatchFilter):  # type: ignore[misc]
    """Draw a change of every sample, request the regions that it needs, and apply it.

    With keys, the change acts on raw data, ground truth and mask. Without keys, it acts on all arrays of a request: on
    interpolatable ones as on raw data (those of a floating point type, if the spec does not say), on others as on
    ground truth. All arrays changed as raw data must have one voxel size, and so must all others.
    """

    def __init__(
        self,
        draw: Draw,
        raw_key: gp.ArrayKey | None = None,
        gt_key: gp.ArrayKey | None = None,
        mask_key: gp.ArrayKey | None = None,
        *,
        probability: float = 1.0,
    ) -> None:
        """Set the change and the arrays.

        Args:
            draw: Returns a change for the regions of a sample, such as ``AugmentConfig.torch_augment``.
            raw_key: Key of raw data, of a floating point type.
            gt_key: Key of ground truth.
            mask_key: Key of the mask, whose region lies inside that of ground truth.
            probability: Probability of changing a sample at all.
        """
        self.draw = draw
        self.probability = probability
        named: tuple[tuple[gp.ArrayKey | None, Role], ...] = ((mask_key, "mask"), (gt_key, "labels"), (raw_key, "raw"))
        self._named: dict[gp.ArrayKey, Role] = {key: role for key, role in named if key is not None}
        self._roles: dict[gp.ArrayKey, Role] = {}
        self._wanted: SampleRois | None = None
        self._change: Change | None = None

    def setup(self) -> None:
        """Announce which arrays change."""
        if self._named:
            self.enable_autoskip()
        for key in self._named:
            if key in self.spec:
                self.updates(key, self.spec[key])

    def skip_node(self, request: gp.BatchRequest) -> bool:
        """Return whether to leave this sample unchanged, at random."""
        return self.probability < 1 and random.random() >= self.probability

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Draw the change and request the regions that it needs.

        Raises:
            ConfigError: If a graph is requested, or voxel sizes differ.
        """
        self._roles = self._roles_in(request)
        self._wanted = self._sample_in(request)
        with one_thread():
            self._change = self.draw(self._wanted, generator_of(request))
        dependencies = gp.BatchRequest()
        for key, role in self._roles.items():
            request[key].roi = getattr(self._change.needed, role)
            dependencies[key] = request[key].copy()
        return dependencies

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Apply the change.

        Raises:
            DtypeError: If the raw data named by key is not of a floating point type.
        """
        output = gp.Batch()
        with one_thread():
            for key, role in self._roles.items():
                if key in batch:
                    output[key] = self._changed(batch[key], key, role, request[key].roi)
        return output

    def _roles_in(self, request: gp.BatchRequest) -> dict[gp.ArrayKey, Role]:
        """Return for each array of a request whether it is changed as raw data, labels or mask."""
        if self._named:
            return {key: role for key, role in self._named.items() if key in request}
        if request.graph_specs:
            raise ConfigError(f"{self.name()} changes arrays only, but graphs are requested: {[*request.graph_specs]}")
        specs = {key: self.spec[key] for key in request.array_specs}
        return {key: "raw" if _is_linear(key, spec) else "labels" for key, spec in specs.items() if not spec.nonspatial}

    def _sample_in(self, request: gp.BatchRequest) -> SampleRois:
        """Return the regions of the changed sample."""
        regions: dict[str, Roi] = {}
        sizes: dict[str, Coordinate] = {}
        for key, role in self._roles.items():
            roi, group = request[key].roi, "raw" if role == "raw" else "labels"
            if sizes.setdefault(group, self.spec[key].voxel_size) != self.spec[key].voxel_size:
                raise ConfigError(
                    f"{self.name()} changes {key} together with arrays of voxel size {sizes[group]}, but its own is "
                    f"{self.spec[key].voxel_size}; give interpolated arrays one voxel size, and all others one too"
                )
            for name in {role, group}:
                regions[name] = regions[name].union(roi) if name in regions else roi
        one = next(iter(regions))  # stands in for raw data or labels if only the other is requested
        raw, labels = regions.get("raw", regions[one]), regions.get("labels", regions[one])
        only = next(iter(sizes.values()))
        return SampleRois(raw, labels, sizes.get("raw", only), sizes.get("labels", only), regions.get("mask", labels))

    def _changed(self, array: gp.Array, key: gp.ArrayKey, role: Role, roi: Roi) -> gp.Array:
        """Return the part of an array in a region after the change."""
        assert self._change is not None
        assert self._wanted is not None
        if role != "raw":
            apply = self._change.labels if role == "labels" else self._change.mask
            values = as_array(apply(as_tensor(array.data)), array.data.dtype)
        else:
            if self._named and not np.issubdtype(array.data.dtype, np.floating):
                raise DtypeError(f"{key} has type {array.data.dtype}; only floating point values can be changed")
            values = change_values(self._change.raw, array.data, roi.dims)
        spec = array.spec.copy()
        spec.roi = roi
        place = ((roi - getattr(self._wanted, role).offset) / spec.voxel_size).to_slices()
        return gp.Array(values[(..., *place)], spec)


def change_values(
    change: Callable[[torch.Tensor], torch.Tensor], data: npt.NDArray[Any], dims: int
) -> npt.NDArray[Any]:
    """Apply a change of float32 tensors with one channel axis to an array of any type, and return that type.

    Args:
        change: May overwrite its argument.
        data: Any number of leading axes, then space.
        dims: Number of spatial axes.
    """
    leading, space = data.shape[: data.ndim - dims], data.shape[data.ndim - dims :]
    values = np.array(data, dtype=np.float32, order="C").reshape(-1, *space)
    changed = change(torch.from_numpy(values)).numpy()
    if not np.issubdtype(data.dtype, np.floating):
        changed = np.rint(changed)
    return changed.reshape(*leading, *changed.shape[1:]).astype(data.dtype, copy=False)


def _is_linear(key: gp.ArrayKey, spec: gp.ArraySpec) -> bool:
    """Return whether values between voxels may be averaged.

    Raises:
        ConfigError: If the spec has neither ``interpolatable`` nor ``dtype``.
    """
    if spec.interpolatable is None and spec.dtype is None:
        raise ConfigError(f"the source of {key} must say in its spec whether it is interpolatable, or its dtype")
    return bool(np.issubdtype(spec.dtype, np.floating) if spec.interpolatable is None else spec.interpolatable)
