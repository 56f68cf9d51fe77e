"""Ground truth with a mask of its annotated part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .numpy_array import NumpyArray

if TYPE_CHECKING:
    from .array import Array


class AnnotatedLabels(NumpyArray):
    """Labels together with the mask of their annotated part, for targets that depend on it.

    Attributes:
        annotated: True where any channel of the mask is not 0; bool, spatial axes only.
    """

    annotated: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, labels: NumpyArray, mask: Array) -> AnnotatedLabels:
        """Return labels with a mask over the same region."""
        together = cls.from_np_array(labels.data, labels.roi, labels.voxel_size, labels.axes)
        assert isinstance(together, cls)
        values = mask[labels.roi] != 0
        together.annotated = values.any(axis=tuple(range(values.ndim - labels.dims)))
        return together


def annotated_part(labels: Array) -> npt.NDArray[Any] | None:
    """Return the mask of the annotated part of labels, bool, spatial axes only; None if they have none."""
    return labels.annotated if isinstance(labels, AnnotatedLabels) else None
