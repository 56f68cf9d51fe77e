"""Start training from a network of the COSEM project in a local folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import torch

from dacapo.errors import (
    CheckpointNotFoundError,
    ConfigError,
    DacapoError,
    DamagedFileError,
    MissingDependencyError,
    PathNotFoundError,
)
from dacapo.experiments.model import Model
from dacapo.experiments.model_state import load_common
from dacapo.experiments.starts.start import Start, StartConfig
from dacapo.store.files import read_text
from dacapo.store.tensor_files import read_tensors
from dacapo.utils.plain_yaml import parse_yaml

FOLDER_VARIABLE = "DACAPO_COSEM_DIR"
LABELS_FILE = "channels.yaml"

# The first part of a name inside a U-Net body; any prefix depends on how the network was wrapped.
_BODY_PARTS = ("l_conv", "r_up", "r_conv", "attention")


class CosemStart(Start):
    """Load the matching weights of a network that was trained outside this package.

    ``run`` is the folder of a setup, or its name inside the folder ``$DACAPO_COSEM_DIR``. ``criterion`` is the
    iteration of a file ``model_checkpoint_<iteration>``, or the name of any file in the folder. Files are in the format
    of `torch.save`, with the state of the model under ``model_state_dict`` or at the top level.
    """

    def __init__(self, start_config: StartConfig | Mapping[str, Any]) -> None:
        """Store the config; nothing is read yet."""
        super().__init__(start_config)
        self.name = f"{self.run}/{self.criterion}"

    def check(self) -> None:
        """Check that the folder and the checkpoint exist.

        Raises:
            MissingDependencyError: If ``run`` is not a folder and ``$DACAPO_COSEM_DIR`` is not set.
            PathNotFoundError: If the setup or its checkpoint does not exist.
        """
        self._checkpoint()

    def initialize_weights(self, model: Model, new_head: Sequence[str] | None = None) -> Model:
        """Load the weights into a model, as `Start.initialize_weights` does.

        Raises:
            MissingDependencyError: If ``run`` is not a folder and ``$DACAPO_COSEM_DIR`` is not set.
            PathNotFoundError: If the setup or its checkpoint does not exist.
            DamagedFileError: If the checkpoint is damaged or holds no model state.
            UnsafeFileError: If it would execute code.
            ConfigError: If no layer fits.
        """
        path = self._checkpoint()
        content = read_tensors(path)
        state = content.get("model_state_dict", content) if isinstance(content, dict) else None
        if not isinstance(state, dict) or not any(isinstance(value, torch.Tensor) for value in state.values()):
            raise DamagedFileError(f"{path} holds no state of a model; expected tensors by name")
        return load_common(model, _renamed(state, model), str(path), self._known_labels(), new_head)

    def _old_labels(self) -> list[str] | None:
        return get_model_setup(self.run)

    def _checkpoint(self) -> Path:
        folder = _setup_folder(self.run)
        names = (f"model_checkpoint_{self.criterion}", self.criterion, f"{self.criterion}.pt")
        found = next((folder / name for name in names if (folder / name).is_file()), None)
        if found is None:
            there = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_file())) or "no file"
            raise CheckpointNotFoundError(
                f"{folder} has no checkpoint {self.criterion!r} ({' or '.join(names)}); it has {there}"
            )
        return found


@attrs.define
class CosemStartConfig(StartConfig):
    """A network of the COSEM project to start from; `CosemStart` explains the fields."""

    start_type: ClassVar[type[Start]] = CosemStart

    def verify(self) -> tuple[bool, str]:
        """Check that the folder and the checkpoint exist. Reads no weights."""
        try:
            CosemStart(self).check()
        except DacapoError as error:
            return False, str(error)
        return StartConfig.verify(self)


def get_model_setup(run: str) -> list[str] | None:
    """Return the labels of the channels that a network predicts, in order.

    The labels are read from ``channels.yaml`` in its folder, a list of strings.

    Returns:
        The labels, or None if the file does not exist.

    Raises:
        MissingDependencyError: If ``run`` is not a folder and ``$DACAPO_COSEM_DIR`` is not set.
        PathNotFoundError: If the folder does not exist.
        ConfigError: If the file does not hold such a list.
    """
    path = _setup_folder(run) / LABELS_FILE
    if not path.is_file():
        return None
    labels = parse_yaml(read_text(path), str(path))
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ConfigError(f"{path} must be a list of channel labels, for example '[mito, er]', got {labels!r}")
    return labels


def _setup_folder(run: str) -> Path:
    folder = Path(run).expanduser()
    if folder.is_dir():
        return folder
    base = os.environ.get(FOLDER_VARIABLE)
    if not base:
        raise MissingDependencyError(
            f"{run!r} is not a folder, and ${FOLDER_VARIABLE} is not set; download the model and set it to the "
            "folder that holds one folder per setup"
        )
    folder = Path(base).expanduser() / run
    if not folder.is_dir():
        raise PathNotFoundError(f"the folder {folder} of setup {run!r} does not exist; check ${FOLDER_VARIABLE}")
    return folder


def _renamed(state: Mapping[str, object], model: Model) -> dict[str, torch.Tensor]:
    """Rename tensors as in a model: by their place in the body; all others belong to the head."""
    known = list(model.state_dict())
    body = {_inside_body(name): name for name in known if name.startswith("architecture.")}
    head = [name for name in known if name.startswith("prediction_head.")]
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        inside = _inside_body(name)
        same_kind = [own for own in head if own.rpartition(".")[2] == name.rpartition(".")[2]]
        if name in known:
            renamed[name] = tensor
        elif inside is not None:
            renamed[body.get(inside, name)] = tensor
        else:
            renamed[same_kind[0] if len(same_kind) == 1 else name] = tensor
    return renamed


def _inside_body(name: str) -> str | None:
    parts = name.split(".")
    start = next((index for index, part in enumerate(parts) if part in _BODY_PARTS), None)
    return None if start is None else ".".join(parts[start:])
