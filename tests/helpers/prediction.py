"""One pass of a network over a whole volume, which blocks have to equal."""

from __future__ import annotations

import numpy as np
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.run import Run
from dacapo.inference.prediction import as_network_input
from dacapo.utils.padding import read_reflected

VALID = {"padding": "valid"}
SAME = {"padding": "same"}


def numpy_array(shape: tuple[int, ...], voxel_size: tuple[int, ...], channels: int | None = None) -> NumpyArray:
    rng = np.random.default_rng(3)
    values = rng.random(shape if channels is None else (channels, *shape)).astype(np.float32)
    axes = ["z", "y", "x"][-len(shape) :]
    roi = Roi((40,) * len(shape), Coordinate(shape) * Coordinate(voxel_size))
    return NumpyArray.from_np_array(values, roi, Coordinate(voxel_size), axes if channels is None else ["c", *axes])


def round_up(value: Coordinate, step: Coordinate) -> Coordinate:
    return Coordinate(-(-v // s) * s for v, s in zip(value, step, strict=True))


def whole_pass(run: Run, raw: NumpyArray) -> np.ndarray:
    """One forward pass that gives an output at every voxel of ``raw``.

    The data is continued by reflection, by whole steps of the down-sampling so that the network's grid lies as if it
    were not; a network that does not shrink its input gets no more than what rounds its shape up.
    """
    model, voxel_size = run.model, raw.voxel_size
    stride = model.architecture.stride * voxel_size
    output_voxel_size = model.scale(voxel_size)
    first_input = model.input_shape * voxel_size
    context = (first_input - model.compute_output_shape(model.input_shape)[1] * output_voxel_size) / 2
    before = round_up(context, stride)
    wanted = round_up(raw.roi.shape + before * 2, stride)
    wanted += Coordinate((i - w) % k for i, w, k in zip(first_input, wanted, stride, strict=True))
    values = read_reflected(raw, raw.roi.grow(before, wanted - before - raw.roi.shape))
    with torch.inference_mode():
        output = model(as_network_input(values, raw.axes, torch.device("cpu")))[0].numpy()
    first = (before - context) / output_voxel_size
    shape = raw.roi.shape / output_voxel_size
    assert all(have >= f + need for have, f, need in zip(output.shape[1:], first, shape, strict=True))
    return output[(slice(None), *(slice(f, f + s) for f, s in zip(first, shape, strict=True)))]
