"""The interface of datasplits: the training and validation data of a run."""

from __future__ import annotations

from abc import ABC
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from dacapo.experiments.config import Config, field, verify_by_building
from dacapo.utils.html import html_table

from .datasets import Dataset
from .datasets.arrays.viewing import embed, open_viewer
from .datasets.dataset import HEADER

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class DataSplit(ABC):
    """The datasets of a run."""

    train: list[Dataset]
    """Datasets that training draws from."""
    validate: list[Dataset] | None
    """Datasets that the network is scored on."""

    def _neuroglancer(self, embedded: bool = False) -> Any:
        """Show raw data, ground truth and masks of all datasets in neuroglancer; the viewer reads voxels on demand.

        Layers are named ``train/<dataset>/raw`` and so on. Several training datasets may have the same name; all but
        the first are numbered.

        Args:
            embedded: Whether to return a frame with the viewer for a notebook.

        Returns:
            The viewer, which prints as its address, or a frame with it. It lives as long as this object is referenced.

        Raises:
            MissingDependencyError: If neuroglancer is not installed, or IPython with ``embedded``.
        """
        layers: dict[str, Any] = {}
        seen: Counter[str] = Counter()
        for kind, dataset in self._by_kind():
            place = f"{kind}/{dataset.name}"
            seen[place] += 1
            number = f" ({seen[place]})" if seen[place] > 1 else ""
            layers.update(dataset._neuroglancer_layers(f"{place}{number}"))
        viewer = open_viewer(layers)
        return embed(viewer) if embedded else viewer

    def plot(self) -> Figure:
        """Draw a section of each dataset: raw data, truth, truth over raw data, and mask; at most twelve of them.

        Raises:
            MissingDependencyError: If matplotlib is not installed.
        """
        from .datasets.pictures import plot_datasets

        return plot_datasets([(f"{kind}\n{dataset.name}", dataset) for kind, dataset in self._by_kind()])

    def _by_kind(self) -> Iterator[tuple[str, Dataset]]:
        """Yield each dataset with what it is for."""
        for kind, datasets in (("train", self.train), ("validate", self.validate or [])):
            for dataset in datasets:
                yield kind, dataset

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.train)} to train, {len(self.validate or [])} to validate)"

    def _repr_html_(self) -> str:
        """Return a table of the arrays of all datasets, for notebooks; reads no files."""
        rows = [[kind, dataset.name, *row] for kind, dataset in self._by_kind() for row in dataset.rows()]
        return html_table(repr(self), ["for", "dataset", *HEADER], rows)


@attrs.define
class DataSplitConfig(Config):
    """Base class of the configs of datasplits; ``config.datasplit_type(config)`` builds the datasplit."""

    datasplit_type: ClassVar[type[Any]]

    name: str = field("Name of the datasplit, the key of its config in a store.", alters_training=False)

    def verify(self) -> tuple[bool, str]:
        """Check that all datasets can be built. Opens files and reads their metadata, but no voxels."""
        return verify_by_building(self, self.datasplit_type)


def place_of(config: Any, kind: str, index: int | None = None) -> str:
    """Return the path to the datasets of a kind, or one of them, in the config of a datasplit.

    Args:
        config: The config.
        kind: ``train`` or ``validate``.
        index: Number of the dataset; None for all of them.

    Returns:
        A path such as ``train_configs[2]``; empty if the config has no such field.
    """
    several, single = f"{kind}_configs", f"{kind}_config"
    if hasattr(config, several):
        return several + ("" if index is None else f"[{index}]")
    return single if hasattr(config, single) else ""
