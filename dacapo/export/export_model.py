"""Export the model of a run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from dacapo.errors import ConfigError, OutputExistsError
from dacapo.experiments.run import Run
from dacapo.loaded_model import LoadedModel, load_model
from dacapo.store.files import atomic_path, make_folder

from .bioimage_package import write_package
from .description import Description
from .network import ExportedNetwork
from .onnx_file import onnx_bytes

FORMATS = {"bioimageio": ".zip", "onnx": ".onnx"}
"""The formats of exported models, with the suffix of their files."""


def export_model(
    run: str | Path | Run | LoadedModel,
    output: Path | str | None = None,
    format: str | None = None,
    *,
    iteration: int | None = None,
    title: str | None = None,
    authors: Sequence[str] = (),
    license: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the model of a run to a file for other programs.

    A bioimage.io package is a zip file with the network in ONNX and its weights for PyTorch, normalization, halo,
    sizes, names of channels, and inputs and outputs to test it with. An ONNX file has the same description in its
    metadata. The parameters of the post-processing that validated best are in both; see :mod:`dacapo.export`.

    Args:
        run: The run, as in :func:`dacapo.load_model`, or a loaded model.
        output: The file to write; by default named after the run, in the working directory.
        format: ``bioimageio`` or ``onnx``; by default that of the suffix of ``output``, or else ``bioimageio``.
        iteration: Checkpoint to export; by default the one that validated best.
        title: Title of the package; by default ``dacapo`` and the name of the run.
        authors: Names of its authors.
        license: Its license, as an SPDX identifier such as ``CC-BY-4.0``.
        overwrite: Whether to replace the file if it exists.

    Returns:
        The file.

    Raises:
        ConfigError: If the format is unknown, or other programs could not use the model.
        OutputExistsError: If the file exists and is not to be replaced.
        MissingDependencyError: If onnx is not installed.
    """
    kind = _format(output, format)
    loaded = run if isinstance(run, LoadedModel) else load_model(run, iteration)
    path = Path(output or f"{loaded.trained.name}{FORMATS[kind]}")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already; name another output or allow overwriting (--overwrite)")
    description = Description.of(loaded)
    network = ExportedNetwork(copy.deepcopy(loaded.trained.model).cpu())
    content = onnx_bytes(network, description)
    make_folder(path.absolute().parent)
    with atomic_path(path) as temporary:
        if kind == "onnx":
            temporary.write_bytes(content)
        else:
            write_package(
                temporary, network, content, description, title or f"dacapo {description.name}", authors, license
            )
    return path


def _format(output: Path | str | None, format: str | None) -> str:
    suffix = "" if output is None else Path(output).suffix
    by_suffix = next((kind for kind, own in FORMATS.items() if own == suffix), None)
    kind = format or by_suffix or "bioimageio"
    if kind not in FORMATS:
        raise ConfigError(f"unknown format {kind!r}; expected one of {', '.join(FORMATS)}")
    if output is not None and suffix != FORMATS[kind]:
        raise ConfigError(f"{output} ends in {suffix!r}; a file of the format {kind!r} ends in {FORMATS[kind]!r}")
    return kind
