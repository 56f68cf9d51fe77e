"""Opening new volumes so that a network sees them as it saw its training data."""

from __future__ import annotations

import logging
from pathlib import Path

from dacapo.blockwise.outputs import ORIGIN as ORIGIN
from dacapo.blockwise.outputs import check_output as check_output
from dacapo.blockwise.outputs import output_container as output_container
from dacapo.errors import ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array, ArrayConfig, MemoryArrayConfig
from dacapo.experiments.datasplits.datasets.arrays.remote import in_memory
from dacapo.experiments.run_config import RunConfig
from dacapo.inference.raw_chain import leaves, raw_chain, raw_configs, voxel_size_of
from dacapo.store.array_store import LocalArrayIdentifier

logger = logging.getLogger(__name__)


def input_source(container: Path | str | ArrayConfig, dataset: str | None) -> LocalArrayIdentifier | ArrayConfig:
    """Return where to find a volume, as given to an operation.

    Args:
        container: File or container, or the config of an array.
        dataset: Dataset inside it; none for files of one array, and for configs.

    Raises:
        ConfigError: If a config is given with a dataset.
    """
    if not isinstance(container, ArrayConfig):
        return LocalArrayIdentifier(Path(container), dataset or "")
    if dataset:
        raise ConfigError(f"the dataset {dataset!r} is given beside {container.name!r}, a config, which has its own")
    return container


def config_for_workers(config: ArrayConfig) -> ArrayConfig | None:
    """Return a config that other processes can open; None if it describes values in the memory of this one."""
    return None if any(map(_is_here, leaves(config))) else config


def _is_here(leaf: ArrayConfig) -> bool:
    return isinstance(leaf, MemoryArrayConfig) or in_memory(getattr(leaf, "file_name", Path()))


def source_path(source: LocalArrayIdentifier | ArrayConfig) -> Path:
    """Return the path after which the results of a volume are named."""
    if isinstance(source, LocalArrayIdentifier):
        return source.container
    return Path(getattr(source, "file_name", source.name or "results"))


def raw_config_of(run_config: RunConfig, source: LocalArrayIdentifier | ArrayConfig) -> ArrayConfig:
    """Describe a volume with the changes that the run's raw data goes through before training.

    See :mod:`dacapo.inference.raw_chain`.

    Args:
        run_config: Names the training data.
        source: The new volume: an identifier, or a config that says itself how to read it.

    Raises:
        ConfigError: If the changes of the training data cannot be applied to the volume.
        ArrayNotFoundError: If the volume does not exist.
    """
    return raw_chain(run_config.datasplit_config, source)


def open_raw(run_config: RunConfig, source: LocalArrayIdentifier | ArrayConfig) -> Array:
    """Open a volume as :func:`raw_config_of` describes it.

    Raises:
        ArrayNotFoundError: If the volume does not exist.
        ConfigError: If it cannot be changed as the training data was.
    """
    config = raw_config_of(run_config, source)
    array: Array = config.array_type(config)
    _warn_of_other_voxels(run_config, array)
    return array


def _warn_of_other_voxels(run_config: RunConfig, array: Array) -> None:
    """Warn if a volume has another voxel size than the training data, where that is still to be found."""
    configs = raw_configs(run_config.datasplit_config)
    trained_on = voxel_size_of(configs[0]) if configs else None
    voxel_size = array.world.in_nanometers(array.voxel_size)
    if trained_on is not None and trained_on != voxel_size:
        logger.warning(
            "the volume has voxels of %s, the run was trained on %s; its predictions may be poor at this scale",
            voxel_size,
            trained_on,
        )
