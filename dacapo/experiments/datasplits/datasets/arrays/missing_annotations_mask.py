"""Where the annotation of a class can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np

from dacapo.errors import MetadataError
from dacapo.experiments.config import field

from .array import ArrayConfig
from .view import ChannelView, build


class MissingAnnotationsMask(ChannelView):
    """One channel per group of label ids: where the annotation of the group can be trusted (bool).

    Voxels of the background (0) are never trusted: nobody labelled them. If the attribute ``labels`` of the source says
    that one of a group's ids is present in the volume but was not annotated, none of the volume is trusted for that
    group. The attribute is a list of mappings with ``value`` (the id) and ``annotationState``, a mapping with
    ``present`` and ``annotated``.
    """

    def __init__(self, array_config: MissingAnnotationsMaskConfig) -> None:
        """Build the source and read its attribute.

        Raises:
            ConfigError: If there are no groups, or the source has several channels.
            MetadataError: If the attribute cannot be understood.
        """
        groupings = array_config.groupings
        super().__init__(array_config.name, [build(array_config.source_array_config)], [name for name, _ in groupings])
        missing = self._not_annotated()
        self._trusted = [missing.isdisjoint(ids) for _, ids in groupings]

    def _not_annotated(self) -> set[int]:
        """Return the ids that are present in the volume but were not annotated."""
        missing = set()
        for label in self.attrs.get("labels", ()):
            state = label.get("annotationState") if isinstance(label, Mapping) else None
            if not isinstance(state, Mapping) or "value" not in label:
                raise MetadataError(
                    f"{self}: an entry of the attribute 'labels' of {self._source} is {label!r}; "
                    "expected 'value' and 'annotationState' with 'present' and 'annotated'"
                )
            present, annotated = state.get("present"), state.get("annotated")
            if _some(present) and not _some(annotated):
                missing.add(int(label["value"]))
        return missing

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(bool)

    def _compute(self, *values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        labelled = values[0] > 0
        result = np.zeros((len(self._trusted), *labelled.shape), dtype=bool)
        result[self._trusted] = labelled
        return result


def _some(state: Any) -> bool:
    # Besides true and false, a mapping says for which voxels the state holds: at least for some.
    return bool(state)


@attrs.define
class MissingAnnotationsMaskConfig(ArrayConfig):
    """Config of where the annotation of a class can be trusted."""

    array_type: ClassVar[type[MissingAnnotationsMask]] = MissingAnnotationsMask

    source_array_config: ArrayConfig = field("The array of labels; its attribute 'labels' tells what was annotated.")
    groupings: list[tuple[str, list[int]]] = field("Pairs of a channel's name and the label ids that belong to it.")
