"""Logs for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from dacapo.experiments.loggers.logger import Logger
from dacapo.experiments.loggers.public_config import public_config
from dacapo.experiments.loggers.validation_values import latest_validation
from dacapo.ext import optional_module
from dacapo.store.run_folder import TENSORBOARD, run_folder
from dacapo.store.yaml_files import dump_yaml

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from dacapo.experiments.run import Run


class TensorBoardLogger(Logger):
    """Writes the events of a run to ``<runs_base_dir>/<run>/tensorboard``."""

    name: ClassVar[str] = "tensorboard"
    shows_images: ClassVar[bool] = True

    _writer: SummaryWriter

    def __init__(self) -> None:
        """Check that TensorBoard is installed.

        Raises:
            MissingDependencyError: If it is not.
        """
        optional_module("tensorboard", "logs for TensorBoard need the package tensorboard")

    def start(self, run: Run) -> None:
        """Open the log, and replace what it holds from the checkpoint on."""
        from torch.utils.tensorboard import SummaryWriter

        done = run.training_stats.trained_until()
        folder = run_folder(run.name) / TENSORBOARD
        self._writer = SummaryWriter(str(folder), purge_step=done)
        self.log_text("config", f"```yaml\n{dump_yaml(public_config(run))}```", done)
        # A process that was killed may have saved these and not logged them; now they are in the log exactly once.
        for stats in run.training_stats.iteration_stats[-1:]:
            self.log_iteration(run, stats)
        if (scores := latest_validation(run)) is not None:
            self.log_validation(run, scores, 0.0)

    def log_values(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def log_text(self, name: str, text: str, step: int) -> None:
        self._writer.add_text(name, text, step)

    def log_images(self, images: Mapping[str, npt.NDArray[np.uint8]], step: int) -> None:
        for name, image in images.items():
            axes = "HW" if image.ndim == 2 else "HWC"
            self._writer.add_image(f"snapshot/{name}", image, step, dataformats=axes)

    def finish(self, run: Run, failed: bool) -> None:
        self._writer.close()
