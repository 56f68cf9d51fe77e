"""Random samples of datasets from a gunpowder pipeline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Self

import gunpowder as gp
import numpy as np
from funlib.geometry import Roi
from gunpowder.pipeline import PipelineRequestError

from dacapo.errors import TrainingError
from dacapo.experiments.datasplits.datasets.arrays.channels import read_all_channels_first
from dacapo.gp import Request, Spec
from dacapo.gp.specs import generator_of
from dacapo.utils.tensors import as_tensor

from .gp_augments.change import SampleRois
from .locations import Location, RandomLocations
from .sampler import Crop, PatchSampler


class PatchSource(gp.BatchProvider):  # type: ignore[misc]
    """Provide raw data, ground truth and mask at a random location, read concurrently.

    Attributes:
        raw: Key of raw data.
        gt: Key of ground truth.
        mask: Key of the mask.
        next_location: The location for the next request. A location is drawn for every request after it, such as those
            of nodes that reject samples.
    """

    def __init__(self, locations: RandomLocations, wanted: SampleRois) -> None:
        """Set the locations, and the regions of a sample, which give the voxel sizes."""
        self.locations = locations
        self.wanted = wanted
        # Not constants: a key that is sent to another process differs from one that is made there.
        self.raw, self.gt, self.mask = (gp.ArrayKey(name) for name in ("RAW", "GT", "MASK"))
        self.next_location: Location | None = None

    def setup(self) -> None:
        """Announce arrays without bounds."""
        anywhere = Roi((None,) * self.wanted.dims, (None,) * self.wanted.dims)
        sizes = self.wanted.raw_voxel_size, self.wanted.label_voxel_size
        self.provides(self.raw, Spec(roi=anywhere, voxel_size=sizes[0], interpolatable=True, dtype=np.float32))
        for key, name in ((self.gt, "gt"), (self.mask, "mask")):
            dtypes = {getattr(dataset, name).dtype for dataset in self.locations.datasets}
            dtype = dtypes.pop() if len(dtypes) == 1 else None
            self.provides(key, Spec(roi=anywhere, voxel_size=sizes[1], interpolatable=False, dtype=dtype))

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Read the arrays at a location."""
        location = self.next_location or self.locations.draw(generator_of(request))
        self.next_location = None
        read_of = {self.raw: location.raw, self.gt: location.gt, self.mask: location.mask}
        reads = [read_of[key](spec.roi) for key, spec in request.array_specs.items()]
        batch = gp.Batch()
        for (key, requested), values in zip(request.array_specs.items(), read_all_channels_first(reads), strict=True):
            spec = self.spec[key].copy()
            spec.roi = requested.roi
            spec.dtype = np.dtype(np.float32) if key == self.raw else values.dtype
            # A copy, because nodes change values in place and arrays in memory return views.
            batch[key] = gp.Array(np.array(values, dtype=spec.dtype), spec)
        return batch


class GunpowderSampler(PatchSampler):
    """Draws samples with a pipeline of nodes, one per augmentation.

    The samples of a seed are those of a ``PatchSampler`` for all augmentations that have a change of tensors. Nodes
    without one draw from the generators that gunpowder seeds for every request.
    """

    def _prepare_augments(self) -> None:
        self.source = PatchSource(self.locations, self.wanted)
        self.pipeline = gp.Pipeline(self.source)
        for augment in self.augments:
            self.pipeline += augment.node(self.source.raw, self.source.gt, self.source.mask)

    def __enter__(self) -> Self:
        """Set the pipeline up."""
        self.pipeline.setup()
        return self

    def __exit__(self, *exc: object) -> None:
        """Tear the pipeline down."""
        self.pipeline.internal_teardown()

    def read(self, seeds: Sequence[int]) -> list[Crop]:
        """Draw the samples of a batch, one by one.

        Args:
            seeds: Seeds of the samples.

        Raises:
            TrainingError: If the pipeline fails, or too many samples in a row have too little annotated.
        """
        try:
            return [self._sample(np.random.default_rng(seed)) for seed in seeds]
        except PipelineRequestError as error:
            raise TrainingError(root_cause(error)) from error

    def _sample(self, rng: np.random.Generator) -> Crop:
        attempts = self._attempts()
        while True:
            batch = self.request(rng)
            mask = batch[self.source.mask].data
            if self.min_masked <= 0 or self._is_annotated(mask):
                break
            attempts.reject()
        raw = batch[self.source.raw].data.astype(np.float32, copy=False)
        gt = batch[self.source.gt].data
        return Crop(
            as_tensor(raw if raw.ndim > self.wanted.dims else raw[np.newaxis]),
            as_tensor(gt),
            as_tensor(mask),
            gt.dtype,
            mask.dtype,
            changes=[],
        )

    def request(self, rng: np.random.Generator) -> gp.Batch:
        """Request raw data, ground truth and mask of one sample, drawn from a generator."""
        # The location comes first, as in the base class, although the source is the last node that is asked.
        self.source.next_location = self.locations.draw(rng)
        # Spawning leaves the state of the generator alone.
        request = Request(random_seed=int(rng.spawn(1)[0].integers(2**32)), rng=rng)
        request[self.source.raw] = Spec(roi=self.wanted.raw)
        request[self.source.gt] = Spec(roi=self.wanted.labels)
        request[self.source.mask] = Spec(roi=self.wanted.mask)
        return self.pipeline.request_batch(request)


def root_cause(error: Exception) -> str:
    """Return the line of a pipeline's error that names the cause.

    Gunpowder turns the exception of a node into text, and wraps it once for every node downstream.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ?", line)]
    own = [line for line in raised if not line.startswith("gunpowder.")]
    # An exception that it was raised from comes before it, and is less specific.
    meant = [line for line in own if line.startswith("dacapo.errors.")]
    return next(iter(meant or own or raised), str(error))
