"""An ONNX file of a network, with all that is known about it in its metadata."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path

import torch

from dacapo.ext import optional_module

from .description import Description
from .network import ExportedNetwork

OPSET = 17
METADATA_KEY = "dacapo"


def onnx_bytes(network: ExportedNetwork, description: Description) -> bytes:
    """Return the content of an ONNX file.

    The input is called ``raw``, the output ``prediction``. Their batch and spatial axes may have any length that the
    description allows. The metadata has the description as JSON, under ``dacapo``.

    Raises:
        MissingDependencyError: If onnx is not installed.
    """
    onnx = optional_module("onnx", "ONNX files need onnx")
    example = torch.zeros((1, description.num_in_channels, *description.sizes.least))
    axes = {0: "b"} if not any(description.sizes.step) else {0: "b", **dict(enumerate(description.axes, start=2))}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / "network.onnx"
        # The exporter that it recommends cannot trace networks that crop by the shape of their input.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.cpu(),
            (example,),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=["raw"],
            output_names=["prediction"],
            dynamic_axes={"raw": axes, "prediction": axes},
        )
        model = onnx.load(file)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(description.as_plain())
    data: bytes = model.SerializeToString()
    return data
