"""A mask of the reliable annotations of each class."""

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
    """One channel per group of label ids: the mask of where the annotation of the group is reliable (bool).

    Background voxels (0) are never reliable, since they are unlabeled. If the attribute ``labels`` of the source states
    that an id of the group is present in the volume but not annotated, the whole volume is unreliable for the group.
    The attribute is a list of mappings with ``value`` (the id) and ``annotationState``, a mapping with ``present`` and
    ``annotated``.
    """

    def __init__(self, array_config: MissingAnnotationsMaskConfig) -> None:
        """Build the source and read its attribute.

        Raises:
            ConfigError: If no groups are given, or the source has several channels.
            MetadataError: If the attribute is invalid.
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
        labeled = values[0] > 0
        result = np.zeros((len(self._trusted), *labeled.shape), dtype=bool)
        result[self._trusted] = labeled
        return result


def _some(state: Any) -> bool:
    # Besides true and false, the state can be a mapping by voxels: then it holds for some of them.
    return bool(state)


@attrs.define
class MissingAnnotationsMaskConfig(ArrayConfig):
    """Config of a mask of the reliable annotations of each class."""

    array_type: ClassVar[type[MissingAnnotationsMask]] = MissingAnnotationsMask

    source_array_config: ArrayConfig = field("The array of labels; its attribute 'labels' lists the annotated ids.")
    groupings: list[tuple[str, list[int]]] = field("Pairs of a channel's name and its label ids.")
