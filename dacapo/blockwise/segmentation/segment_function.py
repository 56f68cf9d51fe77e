"""The function of the user that segments a region: loading, checking and calling it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.blockwise.worker.user_modules import check_arguments, function_of, load_module
from dacapo.errors import BlockwiseError
from dacapo.experiments.datasplits.datasets.arrays import Array

FUNCTION = "segment_function"
CHECK = "check_segment_function"
"""An optional function beside it that gets the same arguments before anything is written, and raises if they, or the
installed packages, are unsuitable."""

SegmentFunction = Callable[..., Any]
Labels = npt.NDArray[np.uint64]


class BlockRoi(Roi):  # type: ignore[misc]  # funlib has no types
    """The region for a segment function to segment, with the block that it belongs to.

    Functions may use it as a region, ``input_array[roi]``, or as a block, ``input_array[block.read_roi]``.

    Attributes:
        read_roi: The region, in world units.
        write_roi: The part of it whose labels are kept.
        block_id: Name of the task and number of the block.
    """

    def __init__(self, read_roi: Roi, write_roi: Roi, block_id: tuple[str, int]) -> None:
        self.read_roi = Roi(read_roi.offset, read_roi.shape)
        self.write_roi = Roi(write_roi.offset, write_roi.shape)
        self.block_id = block_id
        super().__init__(read_roi.offset, read_roi.shape)


def load_segment_function(file: str | Path) -> SegmentFunction:
    """Load the segment function of a file.

    Raises:
        ConfigError: If it has none.
    """
    return function_of(load_module(file), file, FUNCTION)


def check_segment_function(file: str | Path, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Check that the segment function of a file accepts the arguments that follow input and region.

    Raises:
        ConfigError: If it does not.
        DacapoError: If the file's own check refuses them.
    """
    check_arguments(load_segment_function(file), file, [None, None, *args], kwargs)
    check = getattr(load_module(file), CHECK, None)
    if callable(check):
        check(*args, **kwargs)


def with_parameters(file: str | Path, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for the function of a file, with the content of a dict ``parameters`` in its place.

    Raises:
        ConfigError: If the file has no segment function.
    """
    parameters = kwargs.get("parameters")
    named = inspect.signature(load_segment_function(file)).parameters.get("parameters")
    if not isinstance(parameters, Mapping) or (named is not None and named.kind is not named.VAR_KEYWORD):
        return dict(kwargs)
    return {**{key: value for key, value in kwargs.items() if key != "parameters"}, **parameters}


def segment_region(
    function: SegmentFunction, source: Array, roi: Roi, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Labels, npt.NDArray[Any] | None]:
    """Return the labels that a function finds in a region, and its evidence, if any.

    Raises:
        BlockwiseError: If it returns no labels of the right shape.
    """
    result = function(source, roi, *args, **kwargs)
    labels, evidence = map(np.asarray, result) if isinstance(result, tuple) else (np.asarray(result), None)
    shape = tuple(roi.shape / source.voxel_size)
    if labels.shape != shape or labels.dtype.kind not in "biu":
        raise BlockwiseError(
            f"{FUNCTION} returned {labels.dtype} of shape {labels.shape} for {roi}; "
            f"expected whole numbers of shape {shape}"
        )
    if evidence is not None and (evidence.shape != shape or evidence.dtype.kind not in "biuf"):
        raise BlockwiseError(
            f"{FUNCTION} returned evidence of {evidence.dtype} of shape {evidence.shape} for {roi}; "
            f"expected real numbers of shape {shape}"
        )
    if labels.dtype.kind == "i" and labels.min(initial=0) < 0:
        raise BlockwiseError(f"{FUNCTION} returned the label {labels.min()}; expected none below 0")
    return labels.astype(np.uint64, copy=False), evidence
