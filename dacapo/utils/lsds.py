"""Local shape descriptors, computed by the package ``lsds`` (Sheridan et al., Nature Methods 2023).

A descriptor tells for every voxel what its object looks like nearby, weighted by a Gaussian: the offset to the centre
of mass, variances and correlations of the coordinates, and the size. All values lie between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dacapo.errors import ConfigError, DtypeError

# The Gaussian is cut off at this many sigmas.
TRUNCATE = 3


def num_descriptors(dims: int) -> int:
    """Return the number of descriptor channels in 2D or 3D."""
    if dims not in (2, 3):
        raise ConfigError(f"shape descriptors exist in 2 and 3 dimensions, not in {dims}")
    return 6 if dims == 2 else 10


def descriptor_names(dims: int) -> list[str]:
    """Return a name for each descriptor channel, in channel order; axes are numbered."""
    num_descriptors(dims)
    axes = range(dims)
    pairs = [(a, b) for a in axes for b in axes if a < b]
    return [
        *(f"lsd_offset_{a}" for a in axes),
        *(f"lsd_variance_{a}" for a in axes),
        *(f"lsd_correlation_{a}{b}" for a, b in pairs),
        "lsd_size",
    ]


def local_shape_descriptors(
    labels: npt.NDArray[Any],
    sigma: Sequence[float],
    voxel_size: Sequence[float],
    downsample: int = 1,
) -> npt.NDArray[np.float32]:
    """Compute the descriptors of all labels above 0.

    Args:
        labels: Spatial array, 2D or 3D, of an integer type or bool.
        sigma: Standard deviation of the Gaussian along each axis, world units.
        voxel_size: World units.
        downsample: Compute on every n-th voxel only, which is faster.

    Returns:
        Array of shape (channels, *labels.shape), 0 on background: offsets, variances, correlations, size.

    Raises:
        DtypeError: If the labels are neither integers nor bool.
        ConfigError: If the labels are neither 2D nor 3D.
    """
    import fastremap
    from lsd.train import LsdExtractor
    from scipy.ndimage import find_objects

    if labels.dtype.kind not in "biu":
        raise DtypeError(f"shape descriptors need labels of an integer type or bool, not {labels.dtype}")
    channels = num_descriptors(labels.ndim)
    shape = labels.shape
    padded = np.pad(labels, [(0, -size % downsample) for size in shape])
    # bool has no numbers to renumber, and the package cannot handle 64 bit ids in find_objects.
    compact, _ = fastremap.renumber(padded.astype(np.uint8) if padded.dtype == bool else padded, in_place=False)
    result = np.zeros((channels, *padded.shape), dtype=np.float32)
    for label, box in enumerate(find_objects(compact.astype(np.int32, copy=False)), start=1):
        # A descriptor depends on the voxels of its own object only, so the box around it is all that is needed.
        region = _whole_blocks(box, downsample)
        inside = compact[region] == label
        # The extractor keeps the coordinates of every shape it has seen, so it must not outlive one object.
        extractor = LsdExtractor(tuple(float(s) for s in sigma), downsample=downsample)
        _place(extractor, region, voxel_size, downsample)
        descriptors = extractor.get_descriptors(inside.astype(np.uint8), voxel_size=tuple(voxel_size), labels=[1])
        result[(slice(None), *region)][:, inside] = descriptors[:, inside]
    return result[(slice(None), *(slice(0, size) for size in shape))]


def _whole_blocks(box: tuple[slice, ...], downsample: int) -> tuple[slice, ...]:
    """Grow a box to the grid on which voxels are picked."""
    return tuple(slice(side.start // downsample * downsample, -(-side.stop // downsample) * downsample) for side in box)


def _place(extractor: Any, region: tuple[slice, ...], voxel_size: Sequence[float], downsample: int) -> None:
    """Let an extractor count coordinates from where the whole array begins, not the region.

    Descriptors do not depend on the origin, but their rounding errors do; so they agree with those of the package
    called on the whole array to the last bit.
    """
    steps = tuple(v * downsample for v in voxel_size)
    shape = tuple((side.stop - side.start) / downsample for side in region)
    axes = [
        np.arange(side.start // downsample, side.stop // downsample) * step
        for side, step in zip(region, steps, strict=True)
    ]
    extractor.coords[(shape, steps)] = np.array(np.meshgrid(*axes, indexing="ij"), dtype=np.float32)
