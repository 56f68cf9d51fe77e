"""Start training from the weights of a bioimage.io package."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import torch

from dacapo.errors import ConfigError, DacapoError, DamagedFileError, PathNotFoundError, UnsafeFileError
from dacapo.experiments.model import Model
from dacapo.experiments.model_state import load_common
from dacapo.experiments.starts.start import Start, StartConfig
from dacapo.store.tensor_files import read_tensors
from dacapo.utils.plain_yaml import parse_yaml

STATE = "pytorch_state_dict"
_RDF = ("rdf.yaml", "bioimageio.yaml")
_WRAPPED = "model."  # the network of an exported package has the model as a part


class BioimageStart(Start):
    """Load the matching weights of a bioimage.io package.

    ``run`` is the package, a zip file or the folder that it was unpacked to, and ``criterion`` the format of its
    weights. Only ``pytorch_state_dict`` can be read: tensors by name, of which those are taken whose name and shape
    agree with a layer, so the architecture has to be the same. TorchScript is a program, which is not run. ONNX does
    not keep the names of layers.
    """

    def check(self) -> None:
        """Check that the package exists and has weights that can be read. Reads no weights.

        Raises:
            PathNotFoundError: If it does not exist.
            DamagedFileError: If it is no package.
            ConfigError: If it has no weights of the format.
            UnsafeFileError: If the format is a program.
        """
        with _opened(self.run) as package:
            self._source(package)

    def initialize_weights(self, model: Model, new_head: Sequence[str] | None = None) -> Model:
        """Load the weights into a model, as `Start.initialize_weights` does.

        Raises:
            PathNotFoundError: If the package does not exist.
            DamagedFileError: If it or its weights are damaged.
            UnsafeFileError: If it would execute code.
            ConfigError: If no layer fits, or it has no weights of the format.
        """
        with _opened(self.run) as package:
            source = self._source(package)
            content = package.read(str(source["source"]))
            _check_digest(content, source.get("sha256"), self.run)
            if self.channels is None:
                self.channels = _channels(package.rdf)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "weights"
            file.write_bytes(content)
            state = read_tensors(file)
        if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise DamagedFileError(f"the weights of {self.run} are no tensors by name")
        plain = {str(name).removeprefix(_WRAPPED): tensor for name, tensor in state.items()}
        labels = self.channels if not isinstance(self.channels, int) else None
        return load_common(model, plain, self.run, labels, new_head)

    def _source(self, package: _Package) -> dict[str, Any]:
        """Return what the package says about its weights."""
        weights = package.rdf.get("weights")
        known = sorted(weights) if isinstance(weights, dict) else []
        if self.criterion != STATE:
            problem = f"weights of {self.run} in the format {self.criterion!r} cannot be a start"
            if self.criterion == "torchscript":
                raise UnsafeFileError(f"{problem}: they are a program, which is not run; use {STATE!r}")
            raise ConfigError(f"{problem}; use {STATE!r}, whose tensors have the names of layers")
        found = weights.get(STATE) if isinstance(weights, dict) else None
        if not isinstance(found, dict) or not isinstance(found.get("source"), str):
            raise ConfigError(
                f"{self.run} has weights in {', '.join(known) or 'no format'}, of which none can be read; a start "
                f"needs {STATE}"
            )
        if "://" in found["source"]:
            raise ConfigError(f"the weights of {self.run} are at {found['source']}; download the whole package first")
        return found


@attrs.define
class BioimageStartConfig(StartConfig):
    """A bioimage.io package to start from: its path as ``run``, ``pytorch_state_dict`` as ``criterion``."""

    start_type: ClassVar[type[Start]] = BioimageStart

    def verify(self) -> tuple[bool, str]:
        """Check that the package exists and has weights that can be read. Reads no weights."""
        try:
            BioimageStart(self).check()
        except DacapoError as error:
            return False, str(error)
        return StartConfig.verify(self)


class _Package:
    """An open package: a zip file or a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = None if path.is_dir() else _archive(path)
        names = [name for name in _RDF if self._has(name)]
        if not names:
            raise DamagedFileError(f"{path} is no bioimage.io package: it has no {_RDF[0]}")
        self.rdf: Mapping[str, Any] = _mapping(parse_yaml(self.read(names[0]).decode("utf-8"), str(path)), path)

    def __enter__(self) -> _Package:
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def read(self, name: str) -> bytes:
        """Return the content of a file inside the package.

        Raises:
            DamagedFileError: If it is missing or damaged.
        """
        inside = Path(name)
        if inside.is_absolute() or ".." in inside.parts or not self._has(name):
            raise DamagedFileError(f"{self.path} has no file {name!r} inside; restore a copy")
        try:
            return (self.path / name).read_bytes() if self._archive is None else self._archive.read(name)
        except (OSError, zipfile.BadZipFile) as error:
            raise DamagedFileError(f"{name} in {self.path} cannot be read ({error}); restore a copy") from error

    def _has(self, name: str) -> bool:
        return (self.path / name).is_file() if self._archive is None else name in self._archive.namelist()


def _opened(run: str) -> _Package:
    path = Path(run).expanduser()
    if not path.exists():
        raise PathNotFoundError(f"the package {path} does not exist; give a zip file, or the folder it was unpacked to")
    return _Package(path)


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DamagedFileError(f"{path} is no bioimage.io package: {error}") from error


def _mapping(value: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DamagedFileError(f"{path} is no bioimage.io package: its description holds no fields")
    return value


def _check_digest(content: bytes, expected: Any, run: str) -> None:
    if isinstance(expected, str) and hashlib.sha256(content).hexdigest() != expected:
        raise DamagedFileError(f"the weights of {run} are not those whose sha256 its description has; restore a copy")


def _channels(rdf: Mapping[str, Any]) -> list[str] | None:
    """Return the names of the channels that the network of an exported package predicts; None for others."""
    config = rdf.get("config")
    own = config.get("dacapo") if isinstance(config, dict) else None
    names = own.get("channels") if isinstance(own, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else None
