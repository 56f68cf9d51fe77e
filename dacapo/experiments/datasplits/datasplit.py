"""The interface of datasplits: the training and validation data of a run."""

from __future__ import annotations

from abc import ABC
from collections import Counter
from typing import Any, ClassVar

import attrs

from dacapo.experiments.config import Config, field, verify_by_building

from .datasets import Dataset
from .datasets.arrays.viewing import embed, open_viewer


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
        for kind, datasets in (("train", self.train), ("validate", self.validate or [])):
            seen: Counter[str] = Counter()
            for dataset in datasets:
                seen[dataset.name] += 1
                number = f" ({seen[dataset.name]})" if seen[dataset.name] > 1 else ""
                layers.update(dataset._neuroglancer_layers(f"{kind}/{dataset.name}{number}"))
        viewer = open_viewer(layers)
        return embed(viewer) if embedded else viewer


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
