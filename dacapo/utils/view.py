"""Show runs and arrays in neuroglancer (the extra ``dacapo[neuroglancer]``).

A viewer is a web page; it prints as its address. Voxels are read on demand. A viewer lives as long as it is referenced.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ArrayNotFoundError, ConfigError, DacapoError, NotFoundError
from dacapo.experiments.datasplits.datasets.arrays import Array, NumpyArray, ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.viewing import (
    embed,
    is_shown_as_labels,
    labels_layer,
    neuroglancer_layer,
    open_viewer,
)
from dacapo.store.create_store import create_array_store, create_stats_store
from dacapo.utils.ranking import first_best

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.run import Run
    from dacapo.store.array_store import LocalArrayIdentifier

logger = logging.getLogger(__name__)

CHECK_INTERVAL = 5.0
"""Seconds between checks for new validations."""

Shown = Array | npt.NDArray[Any]


def get_viewer(arrays: dict[str, Any], width: int = 1500, height: int = 600, headless: bool = True) -> Any:
    """Return a new viewer that shows some arrays.

    Args:
        arrays: By the name of the layer, the array, or a mapping with ``array`` and optional entries: ``is_seg``,
            whether to show labels (by default true for unsigned integers of 32 and 64 bits); ``meshes``, whether to
            show surfaces of selected labels; ``voxel_size`` of a numpy array, in nanometers, 1 by default.
        width: Width of the frame in a notebook, in pixels.
        height: Height of the frame in a notebook, in pixels.
        headless: Whether to return the viewer. Otherwise return a frame that shows it in a notebook and keeps it alive.

    Raises:
        ConfigError: If a mapping has no ``array``, or has unknown entries.
        MissingDependencyError: If neuroglancer is not installed, or IPython for a frame.
    """
    items = {name: _item(name, value) for name, value in arrays.items()}
    viewer = open_viewer({})
    with viewer.txn() as state:
        for name, item in items.items():
            data, voxel_size = item["array"], item.get("voxel_size")
            if item.get("is_seg", is_shown_as_labels(data.dtype)):
                add_seg_layer(state, name, data, voxel_size, meshes=item.get("meshes", False))
            else:
                add_scalar_layer(state, name, data, voxel_size)
    return viewer if headless else embed(viewer, width, height)


def _item(name: str, value: Any) -> Mapping[str, Any]:
    item = value if isinstance(value, Mapping) else {"array": value}
    known = ("array", "is_seg", "meshes", "voxel_size")
    if not isinstance(item.get("array"), (Array, np.ndarray)) or not set(item) <= set(known):
        raise ConfigError(f"{name} is {value!r}; expected an array, or a mapping of {', '.join(known)}")
    return item


def add_seg_layer(state: Any, name: str, data: Shown, voxel_size: Sequence[int] | None, meshes: bool = False) -> None:
    """Add a layer of labels to the state of a viewer; a layer of the same name is replaced.

    Args:
        state: The state of ``viewer.txn()``.
        name: Name of the layer.
        data: Integers; the last axes are those of the voxel size.
        voxel_size: In nanometers; may be None for an array of this package, which knows its own.
        meshes: Whether to show surfaces of selected labels, which reads all data.

    Raises:
        ConfigError: If the voxel size does not match the data.
        DtypeError: If values are not integers.
    """
    state.layers[name] = neuroglancer_layer(_placed(name, data, voxel_size), meshes=meshes, labels=True)


def add_scalar_layer(state: Any, name: str, data: Shown, voxel_size: Sequence[int] | None) -> None:
    """Add an image to the state of a viewer; the arguments are those of :func:`add_seg_layer`."""
    state.layers[name] = neuroglancer_layer(_placed(name, data, voxel_size), labels=False)


def _placed(name: str, data: Shown, voxel_size: Sequence[int] | None) -> Array:
    """Return data as an array with a position in the world; numpy arrays begin at 0."""
    if isinstance(data, Array):
        if voxel_size is not None and Coordinate(voxel_size) != data.voxel_size:
            raise ConfigError(f"{name}: voxel size is {tuple(voxel_size)}, but that of {data} is {data.voxel_size}")
        return data
    size = Coordinate(voxel_size if voxel_size is not None else (1,) * min(data.ndim, 3))
    if not 0 <= data.ndim - size.dims <= 1 or not 1 <= size.dims <= 3 or min(size) <= 0:
        raise ConfigError(
            f"{name}: data of shape {data.shape} does not fit a voxel size of {size}; expected one number above 0 for "
            "each axis, except a leading channel axis"
        )
    axes = ["c", "z", "y", "x"][-size.dims :] if data.ndim == size.dims else ["c", *["z", "y", "x"][-size.dims :]]
    shape = Coordinate(data.shape[-size.dims :])
    return NumpyArray.from_np_array(data, Roi((0,) * size.dims, shape * size), size, axes)


@attrs.frozen
class Best:
    """The best validation of a dataset so far.

    Attributes:
        iteration: The iteration of the validation.
        score: Its score.
    """

    iteration: int
    score: float


class BestScore:
    """The best segmentation of each validation dataset of a run, as kept by the stores.

    Attributes:
        run: The run.
        criterion: The criterion that selects the best; None if the run keeps none.
        best: Result of the last check, by the name of the dataset.
    """

    def __init__(self, run: Run, criterion: str | None = None) -> None:
        """Set the run; nothing is read yet.

        Args:
            run: The run.
            criterion: A criterion whose best segmentations are kept; by default the variation of information, or else
                the first one.

        Raises:
            ConfigError: If the best segmentations by this criterion are not kept.
        """
        self.run = run
        scores = run.task.evaluation_scores
        kept = [name for name in scores.criteria if scores.store_best(name)]
        if criterion is not None and criterion not in kept:
            raise ConfigError(f"the best by {criterion!r} is not kept, only by {', '.join(kept) or 'no criterion'}")
        default = scores.default_criterion
        self.criterion = criterion if criterion is not None else default if default in kept else None
        self.best: dict[str, Best] = {}

    def get_ds(self, iteration: int, validation_dataset: Dataset | str) -> ZarrArray:
        """Open the segmentation of a validation dataset.

        Args:
            iteration: The iteration of the segmentation; only the best one is kept.
            validation_dataset: The dataset, or its name.

        Raises:
            NotFoundError: If another iteration is the best, or none is yet.
            ArrayNotFoundError: If the segmentation was deleted.
        """
        name = validation_dataset if isinstance(validation_dataset, str) else validation_dataset.name
        best = self.best.get(name)
        if best is None or best.iteration != iteration or self.criterion is None:
            found = "none is known yet" if best is None else f"that is iteration {best.iteration}"
            raise NotFoundError(
                f"run {self.run.name!r}, dataset {name!r}: only the best segmentation is kept, and {found}; "
                f"iteration {iteration} is not available"
            )
        identifier = create_array_store().best_validation_array(self.run.name, self.criterion, name)
        return ZarrArray.open_from_array_identifier(identifier, name=f"best {self.criterion}", mode="r")

    def does_new_best_exist(self) -> bool:
        """Check the stored scores, and return whether the best validation of any dataset has changed."""
        before, self.best = self.best, self._look()
        return self.best != before

    def _look(self) -> dict[str, Best]:
        if self.criterion is None:
            return {}
        scores = self.run.task.evaluation_scores
        column, higher = list(scores.criteria).index(self.criterion), scores.higher_is_better(self.criterion)
        stored = create_stats_store().retrieve_validation_iteration_scores(self.run.name)
        names = [dataset.name for dataset in self.run.datasplit.validate or []]
        for one in stored:
            one.check_datasets(names)
        stored = sorted(stored, key=lambda one: one.iteration)
        found = {}
        for number, name in enumerate(names):
            table = [(one.iteration, row[column]) for one in stored for row in one.scores[number]]
            index, exists = first_best([value for _, value in table], higher)
            if exists:
                found[name] = Best(*table[int(index)])
        return found


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
