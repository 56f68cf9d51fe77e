"""A bioimage.io package of a network."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays.world import long_name
from dacapo.store.yaml_files import dump_yaml

from .description import Description
from .network import ExportedNetwork
from .onnx_file import OPSET

FORMAT_VERSION = "0.5.3"
TITLE = re.compile(r"[\w \-+()]{5,128}")
RDF, README = "rdf.yaml", "README.md"
ONNX, STATE, INPUT, OUTPUT = "weights.onnx", "weights.pt", "raw.npy", "prediction.npy"
_SEED = 0


def write_package(
    path: Path,
    network: ExportedNetwork,
    onnx: bytes,
    description: Description,
    title: str,
    authors: Sequence[str],
    license: str | None,
) -> None:
    """Write a package, with files to test it.

    Args:
        path: The file to write.
        network: The network.
        onnx: The same network as ONNX.
        description: About the network.
        title: Title of the package.
        authors: Names of its authors.
        license: SPDX identifier of its license.

    Raises:
        ConfigError: If the title is too short, or has letters that a title cannot have.
    """
    if not TITLE.fullmatch(title):
        raise ConfigError(
            f"the title {title!r} cannot be that of a bioimage.io package: it needs 5 to 128 letters, digits, spaces, "
            "and characters of _-+()"
        )
    raw = _test_input(description)
    state = io.BytesIO()
    torch.save(network.state_dict(), state)
    files = {
        ONNX: onnx,
        STATE: state.getvalue(),
        INPUT: _npy(raw),
        OUTPUT: _npy(_predicted(network, description, raw)),
        README: _readme(description).encode(),
    }
    sources = {name: {"source": name, "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()}
    about = {"name": title, "authors": [{"name": name} for name in authors], "license": license}
    files[RDF] = dump_yaml({**about, **_rdf(description, sources)}).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def _npy(values: npt.NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def _test_input(description: Description) -> npt.NDArray[np.float32]:
    """Return raw data for tests: noise over the range that the network gets as -1 to 1."""
    change = description.normalization
    values = np.random.default_rng(_SEED).uniform(-1, 1, (1, description.num_in_channels, *description.sizes.least))
    return np.asarray((values - change.offset) / change.gain, dtype=np.float32)


def _predicted(
    network: ExportedNetwork, description: Description, raw: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    change = description.normalization
    with torch.inference_mode():
        normalized = torch.from_numpy(raw * np.float32(change.gain) + np.float32(change.offset))
        predicted: npt.NDArray[np.float32] = network(normalized).numpy()
    return predicted


def _rdf(description: Description, sources: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return what rdf.yaml says about the network; ``sources`` are the files."""
    architecture = {
        "callable": "exported_network",
        "import_from": "dacapo.export",
        "kwargs": {"task_config": description.task, "architecture_config": description.architecture},
    }
    version = torch.__version__.partition("+")[0]
    return {
        "type": "model",
        "format_version": FORMAT_VERSION,
        "description": f"Network of the dacapo run {description.name}, iteration {description.iteration}",
        "documentation": README,
        "tags": ["dacapo", "segmentation", f"{len(description.axes)}d"],
        "inputs": [_input(description, sources[INPUT])],
        "outputs": [_output(description, sources[OUTPUT])],
        "weights": {
            "onnx": {**sources[ONNX], "opset_version": OPSET, "parent": "pytorch_state_dict"},
            "pytorch_state_dict": {**sources[STATE], "architecture": architecture, "pytorch_version": version},
        },
        "config": {"dacapo": description.as_plain()},
    }


def _input(description: Description, source: dict[str, str]) -> dict[str, Any]:
    sizes, change = description.sizes, description.normalization
    axes = [
        {"type": "space", "id": axis, "size": {"min": least, "step": step} if step else least}
        | _scale(description, number, 1)
        for number, (axis, least, step) in enumerate(zip(description.axes, sizes.least, sizes.step, strict=True))
    ]
    names = ["raw"] if description.num_in_channels == 1 else [f"raw_{n}" for n in range(description.num_in_channels)]
    return {
        "id": "raw",
        "axes": [{"type": "batch"}, {"type": "channel", "channel_names": names}, *axes],
        "test_tensor": source,
        "preprocessing": [
            {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
            {"id": "scale_linear", "kwargs": {"gain": change.gain, "offset": change.offset}},
        ],
    }


def _output(description: Description, source: dict[str, str]) -> dict[str, Any]:
    sizes, axes = description.sizes, []
    for number, (axis, halo, ratio) in enumerate(zip(description.axes, sizes.halo, sizes.ratio, strict=True)):
        size = {"tensor_id": "raw", "axis_id": axis}
        axes.append(
            {"type": "space", "id": axis, "size": size, **({"halo": halo} if halo else {})}
            | _scale(description, number, ratio)
        )
    names = [re.sub(r"\W", "_", channel) for channel in description.channels]
    return {
        "id": "prediction",
        "axes": [{"type": "batch"}, {"type": "channel", "channel_names": names}, *axes],
        "test_tensor": source,
    }


def _scale(description: Description, axis: int, ratio: int) -> dict[str, Any]:
    """Return the size of voxels along an axis, and its unit."""
    size = 1.0 if description.voxel_size is None else description.voxel_size[axis]
    unit = long_name(description.unit)
    return {"scale": size / ratio, **({"unit": unit} if unit and description.voxel_size is not None else {})}


def _readme(description: Description) -> str:
    post = description.as_plain()["post_processing"]
    return (
        f"# {description.name}\n\nA network of a dacapo run, iteration {description.iteration}. It predicts the "
        f"channels {', '.join(description.channels)} from raw data, after the multiplication and addition under "
        f"preprocessing. The last layer is {description.activation}, which is part of the network. Predictions within "
        "the halo of an input's ends depend on mirrored data.\n\n"
        f"Post-processing that validated best: `{post}`. `config.dacapo` in rdf.yaml has all details.\n\n"
        "## Validation\n\nThe package has an input and the output for it, by which any runtime can be tested.\n"
    )
