"""Show runs and arrays in neuroglancer (the extra ``dacapo[neuroglancer]``).

A viewer is a web page; it prints as its address. Voxels are read on demand. A viewer lives as long as it is referenced.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import warnings
from typing import TYPE_CHECKING, Any

from dacapo.errors import ArrayNotFoundError, ConfigError, DacapoError
from dacapo.experiments.best_score import Best, BestScore
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.array_viewer import add_scalar_layer, add_seg_layer, get_viewer
from dacapo.experiments.datasplits.datasets.arrays.viewing import embed, labels_layer, open_viewer

if TYPE_CHECKING:
    from dacapo.experiments.run import Run
    from dacapo.store.array_store import LocalArrayIdentifier

__all__ = ["Best", "BestScore", "NeuroglancerRunViewer", "add_scalar_layer", "add_seg_layer", "get_viewer"]

logger = logging.getLogger(__name__)

CHECK_INTERVAL = 5.0
"""Seconds between checks for new validations."""


class NeuroglancerRunViewer:
    """A viewer of the validation datasets of a run: raw data, ground truth, mask, and the best segmentation so far.

    ::

        viewer = NeuroglancerRunViewer(run)
        print(viewer.start())
        ...
        viewer.stop()

    The layer ``<dataset>/best`` appears and is updated as validations finish, in whatever process the run trains.

    Attributes:
        run: The run.
        embedded: Whether the viewer is shown inside a notebook.
        best_score: The best segmentations.
        datasets: The constant arrays, by the name of their layer; empty before :meth:`get_datasets`.
        viewer: The viewer; None before it is started.
    """

    def __init__(self, run: Run, embedded: bool = False, criterion: str | None = None) -> None:
        """Set the run; nothing is opened yet.

        Args:
            run: The run.
            embedded: Whether to show the viewer inside a notebook.
            criterion: The criterion that selects the best segmentation; see `BestScore`.

        Raises:
            ConfigError: If the best segmentations by this criterion are not kept.
        """
        self.run = run
        self.embedded = embedded
        self.best_score = BestScore(run, criterion)
        self.datasets: dict[str, Array] = {}
        self.viewer: Any = None
        self._given: Any = None
        self._prefix = ""
        self._shown: dict[str, Best] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def share(self, viewer: Any, prefix: str) -> None:
        """Add layers to a viewer that others use too, instead of a new one at each start.

        Args:
            viewer: The viewer.
            prefix: Begins the names of all layers, to tell several runs apart.
        """
        self._given, self._prefix = viewer, prefix

    def start(self) -> Any:
        """Show the available arrays, and check for new validations until :meth:`stop`.

        Returns:
            The viewer, or a frame with it.

        Raises:
            MissingDependencyError: If neuroglancer is not installed, or IPython for a frame.
        """
        self.stop()
        shown = self.start_neuroglancer()
        self._stopped.clear()
        # With the options of this thread, which a new one does not inherit.
        check = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=check, args=(self.new_validation_checker,), name="dacapo-view", daemon=True
        )
        self._thread.start()
        return shown

    def stop(self) -> None:
        """Stop checking for new validations; the viewer stays open."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def start_neuroglancer(self) -> Any:
        """Open a viewer with the available arrays, and return it, or a frame with it.

        Raises:
            MissingDependencyError: If neuroglancer is not installed, or IPython for a frame.
        """
        self.get_datasets()
        self.viewer = open_viewer({}) if self._given is None else self._given
        self._shown = {}
        self.update_neuroglancer()
        self.update_with_new_validation_if_possible()
        return embed(self.viewer) if self.embedded else self.viewer

    def deprecated_start_neuroglancer(self) -> Any:
        """Open a viewer, as :meth:`start_neuroglancer` does; kept for old scripts."""
        warnings.warn("use start_neuroglancer, which does the same", DeprecationWarning, stacklevel=2)
        return self.start_neuroglancer()

    def get_datasets(self) -> dict[str, Array]:
        """Open the validation datasets.

        Returns:
            Their arrays, by the name of the layer, such as ``<dataset>/raw``.
        """
        self.datasets = {
            f"{self._prefix}{dataset.name}/{role}": array
            for dataset in self.run.datasplit.validate or []
            for role, array in (("raw", dataset.raw), ("gt", dataset.gt), ("mask", dataset.mask))
            if array is not None
        }
        return self.datasets

    def open_from_array_identitifier(self, array_identifier: LocalArrayIdentifier) -> ZarrArray | None:
        """Open a stored array for reading, or return None if it does not exist."""
        try:
            return ZarrArray.open_from_array_identifier(array_identifier, mode="r")
        except ArrayNotFoundError:
            return None

    def updated_neuroglancer_layer(self, layer_name: str, ds: Array) -> None:
        """Show an array in a layer, which is added or replaced.

        Args:
            layer_name: Name of the layer.
            ds: The array. Integers in layers named ``gt`` or ``best`` are shown as labels.
        """
        holds_labels = layer_name.rpartition("/")[2] in ("gt", "best")
        layer = labels_layer(ds) if holds_labels else ds._neuroglancer_layer()
        with self._require_viewer().txn() as state:
            state.layers[layer_name] = layer

    def update_neuroglancer(self) -> None:
        """Show the arrays of the datasets."""
        for name, array in self.datasets.items():
            self.updated_neuroglancer_layer(name, array)

    def update_best_info(self) -> bool:
        """Check for the best validations, and return whether they differ from the ones shown."""
        self.best_score.does_new_best_exist()
        return self.best_score.best != self._shown

    def update_best_layer(self) -> None:
        """Show the best segmentations that are not shown yet.

        Raises:
            ArrayNotFoundError: If a segmentation is missing, as for a moment while it is replaced.
        """
        for name, best in self.best_score.best.items():
            if self._shown.get(name) != best:
                label = f"{self._prefix}{name}"
                self.updated_neuroglancer_layer(f"{label}/best", self.best_score.get_ds(best.iteration, name))
                self._shown[name] = best
                text = f"{label}: best {self.best_score.criterion} {best.score:.4g} at iteration {best.iteration}"
                with self._require_viewer().config_state.txn() as config:
                    config.status_messages[label] = text
        self._forget_deleted()

    def _forget_deleted(self) -> None:
        """Remove the layers of validations whose scores were deleted."""
        for name in self._shown.keys() - self.best_score.best.keys():
            with self._require_viewer().txn() as state:
                del state.layers[f"{self._prefix}{name}/best"]
            with self._require_viewer().config_state.txn() as config:
                del config.status_messages[f"{self._prefix}{name}"]
            del self._shown[name]

    def update_with_new_validation_if_possible(self) -> bool:
        """Show the best validations if they differ from the ones shown, and return whether they did.

        An unreadable segmentation is retried at the next check, with a warning in the log.
        """
        try:
            if not self.update_best_info():
                return False
            self.update_best_layer()
        except DacapoError as error:
            logger.warning("run %r: the best validation cannot be shown yet: %s", self.run.name, error)
            return False
        return True

    def new_validation_checker(self) -> None:
        """Check for new validations every few seconds, until :meth:`stop` is called from another thread."""
        while not self._stopped.wait(CHECK_INTERVAL):
            self.update_with_new_validation_if_possible()

    def _require_viewer(self) -> Any:
        if self.viewer is None:
            raise ConfigError(f"the viewer of run {self.run.name!r} was not started; call start() first")
        return self.viewer
