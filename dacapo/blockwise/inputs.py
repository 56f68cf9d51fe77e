"""Opening new volumes so that a network sees them as it saw its training data."""

from __future__ import annotations

import logging

import attrs

from dacapo.blockwise.outputs import ORIGIN as ORIGIN
from dacapo.blockwise.outputs import check_output as check_output
from dacapo.blockwise.outputs import output_container as output_container
from dacapo.errors import ArrayNotFoundError, StorageError
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    ArrayConfig,
    CropArrayConfig,
    DVIDArrayConfig,
    TiffArrayConfig,
    ZarrArrayConfig,
)
from dacapo.experiments.run_config import RunConfig
from dacapo.store.array_store import LocalArrayIdentifier

logger = logging.getLogger(__name__)

STORED = (ZarrArrayConfig, TiffArrayConfig, DVIDArrayConfig)
"""Configs of volumes as they are stored, in whose place a new volume may stand."""


def raw_config_of(run_config: RunConfig, identifier: LocalArrayIdentifier) -> ArrayConfig:
    """Describe a volume with the changes that the run's raw data goes through before training.

    The chain of array configs of the first raw array of the run (scaled intensities, for example) is put on top of the
    new volume; crops are left out, since they belong to the place of the training data.

    Args:
        run_config: Names the training data.
        identifier: The new volume.

    """
    leaf = ZarrArrayConfig(
        name=f"{identifier.container.name}/{identifier.dataset}",
        file_name=identifier.container,
        dataset=identifier.dataset,
        mode="r",
    )
    trained_on = _first_raw_config(run_config)
    return leaf if trained_on is None else _with_leaf(trained_on, leaf)


def open_raw(run_config: RunConfig, identifier: LocalArrayIdentifier) -> Array:
    """Open a volume as :func:`raw_config_of` describes it.

    Raises:
        ArrayNotFoundError: If the volume does not exist.
    """
    config = raw_config_of(run_config, identifier)
    array: Array = config.array_type(config)
    _warn_of_other_voxels(run_config, array)
    return array


def _warn_of_other_voxels(run_config: RunConfig, array: Array) -> None:
    """Warn if a volume has another voxel size than the training data, where that is still to be found."""
    config = _first_raw_config(run_config)
    if config is None:
        return
    try:
        trained_on = config.array_type(config).voxel_size
    except (ArrayNotFoundError, StorageError):
        return  # a run can be applied where its data is not, and while a server is down
    if trained_on != array.voxel_size:
        logger.warning(
            "the volume has voxels of %s, the run was trained on %s; what it learned may not hold at that scale",
            tuple(array.voxel_size),
            tuple(trained_on),
        )


def _first_raw_config(run_config: RunConfig) -> ArrayConfig | None:
    """Return the raw config of the first training dataset, None where the data split declares none."""
    datasplit = run_config.datasplit_config
    datasets = getattr(datasplit, "train_configs", None) or [getattr(datasplit, "train_config", None)]
    raw: ArrayConfig | None = getattr(datasets[0], "raw_config", None)
    return raw


def _with_leaf(config: ArrayConfig, leaf: ZarrArrayConfig) -> ArrayConfig:
    source = getattr(config, "source_array_config", None)
    if isinstance(config, CropArrayConfig):
        return _with_leaf(config.source_array_config, leaf)
    if source is not None:
        changed: ArrayConfig = attrs.evolve(config, source_array_config=_with_leaf(source, leaf))  # type: ignore[call-arg]
        return changed
    if not isinstance(config, STORED):
        logger.warning(
            "the run was trained on a %s, which cannot be put on top of %s; the volume is used as it is",
            type(config).__name__,
            leaf.name,
        )
    return leaf
