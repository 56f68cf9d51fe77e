"""Show runs and arrays together in neuroglancer (the extra ``dacapo[neuroglancer]``)."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from dacapo.errors import ArrayNotFoundError, ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array, open_array
from dacapo.experiments.datasplits.datasets.arrays.listing import arrays_in, images_in
from dacapo.experiments.datasplits.datasets.arrays.viewing import neuroglancer_source, open_viewer, require_neuroglancer
from dacapo.experiments.run import Run
from dacapo.experiments.stored_run import stored_config, stores_of
from dacapo.utils.listening import listen
from dacapo.utils.paths import shown
from dacapo.utils.view import NeuroglancerRunViewer

MOST_LAYERS = 50


class View:
    """A viewer of runs and arrays.

    ::

        view = View("cells", "prediction.zarr")
        print(view.url)
        ...
        view.close()

    Attributes:
        viewer: The viewer of neuroglancer.
        runs: A viewer of each run, which follows its validations.
    """

    def __init__(
        self, *targets: str | Path, host: str | None = None, port: int = 0, criterion: str | None = None
    ) -> None:
        """Show runs and arrays, and follow the runs until :meth:`close`.

        Args:
            *targets: Each the name of a stored run, the folder of a run, or a file, container, or path of an array or
                group inside a container. Of a run raw data, truth and mask of the validation datasets are shown, and
                the best segmentation so far; of a container all arrays, of an image with several levels the finest.
            host: Address to listen to, by default that of this machine only. It counts if this process shows nothing
                yet. Whoever knows the address of the page, which has a secret in it, sees the data.
            port: Port to listen to, 0 for any free one.
            criterion: The criterion that selects the best segmentation of runs.

        Raises:
            ArrayNotFoundError: If a path does not exist or holds no arrays.
            ConfigNotFoundError: If no run of a name is stored.
            ConfigError: If nothing is given, a container holds too many arrays, or the port cannot be used.
            MissingDependencyError: If neuroglancer is not installed.
        """
        if not targets:
            raise ConfigError("view needs the name of a run or a path; dacapo runs lists the runs")
        neuroglancer = require_neuroglancer()
        if host is not None or port:
            listen(host or "127.0.0.1", port).close()
            neuroglancer.set_server_bind_address(host or "127.0.0.1", port)
        arrays: dict[str, Array] = {}
        runs = []
        for target in targets:
            path = None if _is_run(target) else Path(target)
            if path is None:
                runs.append(target)
            else:
                arrays.update(_arrays_of(target, alone=len(targets) == 1))
        self.viewer = open_viewer({name: array._neuroglancer_layer() for name, array in arrays.items()})
        self.runs: list[NeuroglancerRunViewer] = []
        with ExitStack() as opened:
            for target in runs:
                self.runs.append(self._follow(target, criterion, prefix=len(runs) > 1))
                opened.callback(self.runs[-1].stop)
            opened.pop_all()
        first = next(iter([*arrays.values(), *(one for run in self.runs for one in run.datasets.values())]), None)
        if first is not None:
            self._order_axes(first)

    @property
    def url(self) -> str:
        """Address to open in a browser."""
        return str(self.viewer.get_viewer_url())

    def close(self) -> None:
        """Stop following runs."""
        for run in self.runs:
            run.stop()

    def _order_axes(self, array: Array) -> None:
        """Show x across and y down, in the units of an array; by default the first axis, usually z, would go across."""
        space = neuroglancer_source(array).dimensions
        order = [name for name in ("x", "y", "z") if name in space.names]
        numbers = [list(space.names).index(name) for name in order]
        with self.viewer.txn() as state:
            state.dimensions = require_neuroglancer().CoordinateSpace(
                names=order,
                units=[space.units[number] for number in numbers],
                scales=[space.scales[number] for number in numbers],
            )

    def _follow(self, target: str | Path, criterion: str | None, prefix: bool) -> NeuroglancerRunViewer:
        with stores_of(target) as name:
            run = Run(stored_config(name), load_starter_model=False)
            follower = NeuroglancerRunViewer(run, criterion=criterion)
            follower.share(self.viewer, f"{name}/" if prefix else "")
            follower.start()
        return follower


def _is_run(target: str | Path) -> bool:
    """Return whether a target is a run: a name without separators that is no file here, or the folder of a run."""
    if (Path(target).expanduser() / "checkpoints").is_dir():
        return True
    return isinstance(target, str) and not {os.sep, "/"} & set(target) and not Path(target).exists()


def _arrays_of(target: str | Path, alone: bool) -> dict[str, Array]:
    container, names = arrays_in(target)
    levels = dict(images_in(container, names))
    finer = {f"{group}/{level}".lstrip("/") for group, found in levels.items() for level in found}
    datasets = [*(f"{group}/{found[0]}".lstrip("/") for group, found in levels.items())]
    datasets += [name for name in names if name not in finer]
    if not datasets:
        raise ArrayNotFoundError(f"{shown(container)} holds no arrays")
    if len(datasets) > MOST_LAYERS:
        raise ConfigError(
            f"{shown(container)} holds {len(datasets)} arrays, more than the {MOST_LAYERS} that a viewer shows; name a "
            f"group or array inside, such as {shown(container)}/{datasets[0]}"
        )
    group_of = {f"{group}/{found[0]}".lstrip("/"): group for group, found in levels.items()}
    arrays = {}
    for dataset in datasets:
        label = group_of.get(dataset, dataset) or container.name
        arrays[label if alone else f"{container.stem}/{label}"] = open_array(container, dataset)
    return arrays
