"""A gunpowder pipeline of synthetic data: random objects, and an image of them.

::

    pipeline, request = random_source_pipeline(input_shape=(64, 64, 64))
    with gp.build(pipeline):
        batch = pipeline.request_batch(request)
    raw, labels = batch[gp.ArrayKeys.RAW].data, batch[gp.ArrayKeys.LABELS].data

The same seed of a request (``gp.BatchRequest(random_seed=...)``) gives the same data. Radii, thicknesses and blurs
are in units of the shortest edge of a voxel, so that objects are as round in the world as voxels allow.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import gunpowder as gp
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, DtypeError

from .random_labels import dilate_labels, fill_background, membranes


class LabelFilter(gp.BatchFilter):  # type: ignore[misc]
    """Base class of nodes that change labels in place.

    Attributes:
        labels: The key of the labels, with 0 as background.
    """

    def __init__(self, labels: gp.ArrayKey) -> None:
        self.labels = labels

    def setup(self) -> None:
        """Announce that the labels change."""
        self.enable_autoskip()
        self.updates(self.labels, self.spec[self.labels].copy())

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Request only the labels."""
        dependencies = gp.BatchRequest()
        dependencies[self.labels] = request[self.labels].copy()
        return dependencies

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> None:
        """Change the labels.

        Raises:
            DtypeError: If their type cannot hold all labels.
        """
        array = batch[self.labels]
        changed = self.change(array.data, _spacing(array.spec.voxel_size))
        largest = int(changed.max(initial=0))
        if largest > np.iinfo(array.data.dtype).max:
            raise DtypeError(
                f"{self.labels} has type {array.data.dtype}, which cannot hold the label {largest}; use a larger "
                "integer type, or fewer points"
            )
        array.data = changed.astype(array.data.dtype)

    @abstractmethod
    def change(self, labels: npt.NDArray[Any], spacing: tuple[float, ...]) -> npt.NDArray[Any]:
        """Return new labels, of any integer type.

        Args:
            labels: The current labels; not modified.
            spacing: Distance of neighboring voxels along each axis, in shortest edges of a voxel.
        """
        raise NotImplementedError


class CreatePoints(LabelFilter):
    """Set single background voxels to new labels, numbered after the largest existing one.

    Args:
        labels: The key of the labels.
        num_points: Smallest and largest number of points; limited by the number of background voxels.

    Raises:
        ConfigError: If these are not two numbers in ascending order.
    """

    def __init__(self, labels: gp.ArrayKey, num_points: Sequence[int] = (20, 150)) -> None:
        super().__init__(labels)
        self.num_points = _interval("num_points", num_points)

    def change(self, labels: npt.NDArray[Any], spacing: tuple[float, ...]) -> npt.NDArray[Any]:
        free = np.flatnonzero(labels == 0)
        count = min(random.randint(*self.num_points), free.size)
        changed = labels.astype(np.int64)
        first = int(changed.max(initial=0)) + 1
        changed.flat[free[random.sample(range(free.size), count)]] = np.arange(first, first + count)
        return changed


class DilatePoints(LabelFilter):
    """Grow all labels into the background by one random radius.

    Args:
        labels: The key of the labels.
        dilations: Smallest and largest radius, in shortest edges of a voxel.

    Raises:
        ConfigError: If these are not two numbers in ascending order.
    """

    def __init__(self, labels: gp.ArrayKey, dilations: Sequence[int] = (2, 8)) -> None:
        super().__init__(labels)
        self.dilations = _interval("dilations", dilations)

    def change(self, labels: npt.NDArray[Any], spacing: tuple[float, ...]) -> npt.NDArray[Any]:
        radius = random.randint(*self.dilations)
        return dilate_labels(labels, dict.fromkeys(np.unique(labels).tolist(), radius), spacing)


class RandomDilateLabels(DilatePoints):
    """Grow labels into the background, each by its own random radius."""

    def change(self, labels: npt.NDArray[Any], spacing: tuple[float, ...]) -> npt.NDArray[Any]:
        radii = {kind: float(random.randint(*self.dilations)) for kind in np.unique(labels).tolist() if kind != 0}
        return dilate_labels(labels, radii, spacing)


class Relabel(LabelFilter):
    """Give each connected component of a label its own label, starting with 1; background stays 0.

    Args:
        labels: The key of the labels.
        connectivity: Number of axes along which neighbors may differ at once: 1 for voxels that share a face.
    """

    def __init__(self, labels: gp.ArrayKey, connectivity: int = 1) -> None:
        super().__init__(labels)
        self.connectivity = connectivity

    def change(self, labels: npt.NDArray[Any], spacing: tuple[float, ...]) -> npt.NDArray[Any]:
        from skimage import measure

        find: Any = measure.label
        return np.asarray(find(labels, background=0, connectivity=self.connectivity))


class ExpandLabels(LabelFilter):
    """Fill the background, or the label given instead, with the label nearest to each voxel."""

    def __init__(self, labels: gp.ArrayKey, background: int = 0) -> None:
        super().__init__(labels)
        self.background = background

    def change(self, labels: npt.NDArray[Any], spacing: tuple[float, ...]) -> npt.NDArray[Any]:
        return fill_background(labels, spacing, self.background)


class MakeRaw(gp.BatchFilter):  # type: ignore[misc]
    """Generate an image of labels.

    Background is 0; objects have one value inside and 1 in a membrane at their borders. Then noise is added, the image
    is blurred, and values are clipped to 0..1. The image is of type float32.

    Args:
        raw: The key of the image; ``RAW`` by default.
        labels: The labels to show; ``LABELS`` by default.
        gaussian_noise_args: Mean and standard deviation of the noise.
        gaussian_blur_args: Smallest and largest sigma of the blur, in shortest edges of a voxel.
        membrane_like: Whether objects have membranes.
        membrane_size: Thickness of a membrane, which is inside the object, in shortest edges of a voxel.
        inside_value: Value inside objects.

    Raises:
        ConfigError: If noise or blur are not two numbers as described.
    """

    def __init__(
        self,
        raw: gp.ArrayKey | None = None,
        labels: gp.ArrayKey | None = None,
        gaussian_noise_args: Sequence[float] = (0, 0.1),
        gaussian_blur_args: Sequence[float] = (0.5, 1.5),
        membrane_like: bool = True,
        membrane_size: float = 3,
        inside_value: float = 0.5,
    ) -> None:
        self.raw = gp.ArrayKey("RAW") if raw is None else raw
        self.labels = gp.ArrayKey("LABELS") if labels is None else labels
        if len(gaussian_noise_args) != 2 or gaussian_noise_args[1] < 0:
            raise ConfigError(
                f"gaussian_noise_args is {gaussian_noise_args!r}; expected a mean, and a standard deviation "
                "of 0 or more"
            )
        self.gaussian_noise_args = (gaussian_noise_args[0], gaussian_noise_args[1])
        self.gaussian_blur_args = _interval("gaussian_blur_args", gaussian_blur_args)
        self.membrane_like = membrane_like
        self.membrane_size = membrane_size
        self.inside_value = inside_value

    def setup(self) -> None:
        """Announce the image, in the region of the labels."""
        self.enable_autoskip()
        spec = self.spec[self.labels].copy()
        spec.dtype = np.dtype(np.float32)
        spec.interpolatable = True
        self.provides(self.raw, spec)

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Request labels in the region of the image."""
        dependencies = gp.BatchRequest()
        dependencies[self.labels] = gp.ArraySpec(roi=request[self.raw].roi)
        return dependencies

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Generate the image."""
        from scipy.ndimage import gaussian_filter

        source = batch[self.labels]
        spacing = _spacing(source.spec.voxel_size)
        image = np.where(source.data != 0, np.float32(self.inside_value), np.float32(0))
        if self.membrane_like:
            image[membranes(source.data, self.membrane_size, spacing)] = 1
        mean, deviation = self.gaussian_noise_args
        image += np.random.normal(mean, deviation, image.shape)
        sigma = random.uniform(*self.gaussian_blur_args)
        image = gaussian_filter(image, [sigma / step for step in spacing])
        spec = self.spec[self.raw].copy()
        spec.roi = source.spec.roi
        outputs = gp.Batch()
        outputs[self.raw] = gp.Array(np.clip(image, 0, 1).astype(np.float32), spec)
        return outputs


class ZerosSource(gp.BatchProvider):  # type: ignore[misc]
    """Provide zeros.

    Args:
        key: The key of the array.
        spec: Its voxel size, type, and region, which may be unbounded.

    Raises:
        ConfigError: If one of these is missing.
    """

    def __init__(self, key: gp.ArrayKey, spec: gp.ArraySpec) -> None:
        missing = [name for name in ("roi", "voxel_size", "dtype") if getattr(spec, name) is None]
        if missing:
            raise ConfigError(f"the spec of {key} has no {', '.join(missing)}; zeros need roi, voxel_size and dtype")
        self.key = key
        self._provided = spec

    def setup(self) -> None:
        """Announce the array."""
        self.provides(self.key, self._provided)

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Return zeros in the requested region."""
        spec = self._provided.copy()
        spec.roi = request[self.key].roi
        batch = gp.Batch()
        batch[self.key] = gp.Array(np.zeros(spec.roi.shape / spec.voxel_size, dtype=spec.dtype), spec)
        return batch


def random_source_pipeline(
    voxel_size: Sequence[int] = (8, 8, 8),
    input_shape: Sequence[int] = (148, 148, 148),
    dtype: npt.DTypeLike = np.uint8,
    expand_labels: bool = False,
    relabel_connectivity: int = 1,
    random_dilate: bool = True,
    num_points: Sequence[int] = (20, 150),
    gaussian_noise_args: Sequence[float] = (0, 0.1),
    gaussian_blur_args: Sequence[float] = (0.5, 1.5),
    membrane_like: bool = True,
    membrane_size: float = 3,
    inside_value: float = 0.5,
) -> tuple[Any, gp.BatchRequest]:
    """Return a pipeline that generates random objects under the key ``LABELS``, and an image of them under ``RAW``.

    Args:
        voxel_size: Size of a voxel in world units, per axis.
        input_shape: Number of voxels in the request, per axis.
        dtype: Type of the labels.
        expand_labels: Whether objects fill the space between them.
        relabel_connectivity: Connectivity that keeps an object in one piece: 1 if its voxels must share faces, more if
            edges or corners suffice.
        random_dilate: Whether each object has its own random radius; else all objects share one.
        num_points: Smallest and largest number of objects.
        gaussian_noise_args: See :class:`MakeRaw`, also for the following.

    Returns:
        The pipeline, to be used in ``gp.build``, and a request for both arrays. The pipeline is unbounded; other
        requests may ask for any region.

    Raises:
        ConfigError: If voxel size and shape differ in length, or a range is not ascending.
        DtypeError: If ``dtype`` is not an integer type, or cannot hold that many labels.
    """
    size, shape = Coordinate(voxel_size), Coordinate(input_shape)
    if size.dims != shape.dims or min(size) <= 0 or min(shape) <= 0:
        raise ConfigError(
            f"voxel_size is {tuple(voxel_size)}, input_shape is {tuple(input_shape)}; expected as many numbers in "
            "both, all above 0"
        )
    kind = np.dtype(dtype)
    if kind.kind not in "iu" or max(num_points) > np.iinfo(kind).max:
        raise DtypeError(
            f"dtype is {kind}, the type of up to {max(num_points)} labels; expected an integer type that holds them"
        )
    raw, labels = gp.ArrayKey("RAW"), gp.ArrayKey("LABELS")
    everywhere = Roi((None,) * size.dims, (None,) * size.dims)
    spec = gp.ArraySpec(roi=everywhere, voxel_size=size, dtype=kind, interpolatable=False)
    pipeline = ZerosSource(labels, spec) + CreatePoints(labels, num_points)
    pipeline += RandomDilateLabels(labels) if random_dilate else DilatePoints(labels)
    if expand_labels:
        pipeline += ExpandLabels(labels)
    pipeline += Relabel(labels, relabel_connectivity)
    pipeline += MakeRaw(
        raw, labels, gaussian_noise_args, gaussian_blur_args, membrane_like, membrane_size, inside_value
    )
    request = gp.BatchRequest()
    request.add(raw, shape * size)
    request.add(labels, shape * size)
    return pipeline, request


def _spacing(voxel_size: Coordinate) -> tuple[float, ...]:
    """Return the edges of a voxel relative to the shortest one."""
    return tuple(edge / min(voxel_size) for edge in voxel_size)


def _interval(name: str, value: Sequence[Any]) -> tuple[Any, Any]:
    if len(value) != 2 or not 0 <= value[0] <= value[1]:
        raise ConfigError(f"{name} is {value!r}; expected the smallest and the largest value, both at least 0")
    return value[0], value[1]
