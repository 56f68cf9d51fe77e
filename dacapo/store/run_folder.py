"""The parts of the folder of a run, ``<runs_base_dir>/<run>``."""

from __future__ import annotations

from pathlib import Path

from dacapo.options import DaCapoConfig, Options
from dacapo.utils.names import check_name

CHECKPOINTS = "checkpoints"
VALIDATION = "validation.zarr"
SNAPSHOTS = "snapshot.zarr"
SESSIONS = "sessions"
TENSORBOARD = "tensorboard"
WANDB = "wandb"

PARTS = {
    CHECKPOINTS: "checkpoints",
    VALIDATION: "validation arrays",
    SNAPSHOTS: "snapshots of batches",
    SESSIONS: "records of training sessions",
    TENSORBOARD: "events for TensorBoard",
    WANDB: "files of Weights & Biases",
}
"""The entries of the folder that dacapo writes and that stay, and a description of each."""

ARRAYS = (VALIDATION, SNAPSHOTS)
"""The entries that no training or prediction needs."""

LOGS = (TENSORBOARD, WANDB)
"""The entries that repeat what the stores hold, for other programs."""

INCOMING = ".import.partial"
"""Folder with the files of an import that is not complete."""


def run_folder(run_name: str, options: DaCapoConfig | None = None) -> Path:
    """Return the folder of a run, which need not exist.

    Args:
        run_name: Name of the run.
        options: Name the folder of runs; by default those in use.

    Raises:
        ConfigError: If the name cannot be that of a folder.
    """
    return (options or Options.instance()).runs_base_dir / check_name(run_name, "run name")
