"""Learn to segment, in one call: from raw data and labels to a trained and validated run."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from typing import Any

import attrs
from funlib.geometry import Roi

from dacapo.errors import ConfigError, ConfigNotFoundError, RoiError
from dacapo.experiments.architectures import ArchitectureConfig
from dacapo.experiments.config import Config
from dacapo.experiments.datasplits import DataSplitConfig, TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig, CropArrayConfig
from dacapo.experiments.datasplits.datasets.arrays.given_values import config_given, is_place, is_xarray, zarr_place
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.defaults import check_labels, default_run_config, held_out, intensity_range, scaled
from dacapo.experiments.defaults.parts import common_voxel_size
from dacapo.experiments.defaults.run import ITERATIONS
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.starts import StartConfig
from dacapo.experiments.tasks import TaskConfig
from dacapo.experiments.trainers import TrainerConfig
from dacapo.inference.result_forms import in_order
from dacapo.options import Options
from dacapo.store.converter import to_plain
from dacapo.store.create_store import create_config_store
from dacapo.train import train as train_stored

logger = logging.getLogger(__name__)


@Options.kept()
def segment(
    raw: Any,
    labels: Any = None,
    *,
    mask: Any = None,
    classes: Sequence[str] | None = None,
    validation: float | tuple[Any, ...] = 0.2,
    name: str | None = None,
    num_iterations: int = ITERATIONS,
    axes: Sequence[str] | None = None,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    unit: str | None = None,
    intensities: tuple[float, float] | None = None,
    task_config: TaskConfig | None = None,
    architecture_config: ArchitectureConfig | None = None,
    trainer_config: TrainerConfig | None = None,
    start_config: StartConfig | None = None,
    validation_interval: int | None = None,
    seed: int | None = None,
    max_memory: str | int | None = None,
    train: bool = True,
) -> Run:
    """Train a network to segment images like these, validate it, and return the run.

    Everything that is not given is decided by :mod:`dacapo.experiments.defaults`, and part of ``run.config``, an
    ordinary config. The run is stored. The same call resumes it if it was interrupted, and returns it once it is done.
    :func:`dacapo.load_model` then takes the checkpoint and the parameters that validated best.

    Arrays are NumPy, xarray, dask or zarr arrays, paths, URLs, or configs of arrays. Values in memory stay in the
    memory of this process; to train on them from another one, save them to a file and give its path.

    Args:
        raw: The image, with two or three spatial axes, and channels before them if any. Or a data split, which says all
            about the data.
        labels: Integers of the same region or a part of it: one number for each object, 0 for background; with
            ``classes``, the number of the class; with a ``task_config``, whatever it takes.
        mask: 0 where labels are unknown; they are neither trained on nor scored there.
        classes: Names of the classes, from that of label 0 on. Without them objects are segmented.
        validation: Share of the labels to hold out for validation, at the end of their longest axis; or other data to
            validate on, as ``(raw, labels)`` or ``(raw, labels, mask)``.
        name: Name of the run; by default it follows from the arguments and the data.
        num_iterations: Number of iterations of training.
        axes: Names of the axes of raw data, in place of what it says; like the next three.
        voxel_size: Size of a voxel along the spatial axes, also of labels and mask.
        offset: Corner of the first voxel, also of labels and mask.
        unit: Unit of voxel size and offset, such as ``nm``.
        intensities: The raw values that become -1 and 1; by default those of most voxels.
        task_config: The task, in place of the decided one.
        architecture_config: The network.
        trainer_config: The trainer.
        start_config: Initial weights.
        validation_interval: Iterations between validations; by default there are four of them.
        seed: Seed of all randomness; by default it follows from the name.
        max_memory: Memory that the training may take, such as ``"8GB"``.
        train: Whether to train now; otherwise the run is only stored, to be looked at or trained by name.

    Returns:
        The run with its statistics, scores and latest weights.

    Raises:
        ConfigError: If labels are missing, or something does not fit.
        DtypeError: If labels are no integers.
        RoiError: If raw data and labels have different shapes, and nothing says which part the labels cover.
        InputTooSmallError: If the data is too small for the network.
        DuplicateNameError: If a run of this name is stored with other settings; the message lists the differences.
        KeyboardInterrupt: If training was interrupted; the same call resumes it.
    """
    if isinstance(raw, DataSplitConfig):
        split = raw
        if labels is not None or mask is not None:
            raise ConfigError(f"labels or a mask are given beside the data split {raw.name!r}, which has its own")
    else:
        geometry = {"axes": axes, "voxel_size": voxel_size, "offset": offset, "unit": unit}
        has_task = task_config is not None
        split = _datasplit((raw, labels, mask), validation, geometry, intensities, may_have_channels=has_task)

    def described(name: str, network: ArchitectureConfig | None) -> RunConfig:
        return default_run_config(
            split,
            name,
            num_iterations=num_iterations,
            classes=classes,
            task_config=task_config,
            architecture_config=network,
            trainer_config=trainer_config,
            start_config=start_config,
            validation_interval=validation_interval,
            seed=seed,
            max_memory=max_memory,
        )

    config = _named(described, name, architecture_config)
    create_config_store().store_run_config(config)
    logger.info("run %s is stored in %s", config.name, Options.instance().runs_base_dir)
    if train:
        train_stored(config.name, max_memory)
    return Run.open(config.name)


def _named(described: Any, name: str | None, network: ArchitectureConfig | None) -> RunConfig:
    """Return the config of the run under its name, with the network of a stored run of that name.

    The network that is decided depends on the free memory, which must not make another run of the same call.
    """
    config: RunConfig = described(name or "segment", network)
    if name is None:
        config = attrs.evolve(config, name=f"segment_{_digest(config, network)}")
    if network is None:
        try:
            stored = create_config_store().retrieve_run_config(config.name)
        except ConfigNotFoundError:
            return config
        config = attrs.evolve(config, architecture_config=stored.architecture_config)
    return config


def _digest(config: RunConfig, network: Config | None) -> str:
    """Return a digest of everything but the name, and the network unless it is given."""
    plain = {**to_plain(config), "name": "", "architecture_config": None if network is None else to_plain(network)}
    return hashlib.blake2b(json.dumps(plain, sort_keys=True, default=str).encode(), digest_size=4).hexdigest()


def _datasplit(
    given: tuple[Any, ...],
    validation: float | tuple[Any, ...],
    geometry: dict[str, Any],
    intensities: tuple[float, float] | None,
    may_have_channels: bool,
) -> TrainValidateDataSplitConfig:
    """Return the data to train and to validate on."""
    raw, labels, mask = _configs(given, "", geometry)
    source, truth = build(raw), build(labels)
    check_labels(source, truth, may_have_channels)
    if isinstance(validation, tuple):
        other_raw, other_labels, other_mask = _configs(validation, "validation ", geometry)
        train_roi, train_labels = source.roi, truth.roi
    else:
        size = common_voxel_size(source.voxel_size, truth.voxel_size)
        train_roi, held = held_out(source.roi, truth.roi.intersect(source.roi), size, validation)
        train_labels = truth.roi.intersect(train_roi)
        other_raw, other_labels, other_mask = raw, _crop("validate", labels, held), mask
        logger.info("training in %s, validating in %s (world units)", train_roi, held)
    low, high = intensities or intensity_range(source, train_roi)
    logger.info("scaling intensities from %g to %g to -1 to 1", low, high)
    cut = train_roi != source.roi
    train = RawGTDatasetConfig(
        name="train",
        raw_config=scaled(_crop("train", raw, train_roi) if cut else raw, low, high),
        gt_config=_crop("train", labels, train_labels) if cut else labels,
        mask_config=mask,
    )
    validate = RawGTDatasetConfig(
        name="validate",
        raw_config=scaled(other_raw, low, high),
        gt_config=other_labels,
        mask_config=other_mask,
    )
    return TrainValidateDataSplitConfig(name="data", train_configs=[train], validate_configs=[validate])


def _configs(
    given: tuple[Any, ...], prefix: str, geometry: dict[str, Any]
) -> tuple[ArrayConfig, ArrayConfig, ArrayConfig | None]:
    """Return the configs of raw data, labels and mask."""
    if len(given) not in (2, 3) or given[1] is None:
        raise ConfigError(f"{prefix or ''}labels are missing; give raw data and labels, and a mask if there is one")
    raw, labels, mask = map(in_order, (*given, None)[:3])
    dims = len(labels.shape) if hasattr(labels, "shape") and not hasattr(labels, "dims") else None
    spatial = {**geometry, "axes": None if geometry["axes"] is None else _spatial(geometry["axes"])}
    found = config_given(raw, f"{prefix}raw", dims=dims, **geometry)
    truth = config_given(labels, f"{prefix}labels", dims=dims, **spatial)
    reliable = None if mask is None else config_given(mask, f"{prefix}mask", dims=dims, **spatial)
    for other, config, name in ((labels, truth, "labels"), (mask, reliable, "the mask")):
        if config is not None and not _has_place(raw) and not _has_place(other):
            _check_same_shape(found, config, prefix + name)
    return found, truth, reliable


def _has_place(given: Any) -> bool:
    """Return whether an array says by itself where it lies in the world."""
    return is_place(zarr_place(given)) or is_xarray(given)


def _check_same_shape(raw: ArrayConfig, other: ArrayConfig, name: str) -> None:
    shapes = [tuple(array.roi.shape / array.voxel_size) for array in (build(raw), build(other))]
    if shapes[0] != shapes[1]:
        raise RoiError(
            f"{name}: {shapes[1]} voxels, raw data: {shapes[0]}, and nothing says which part is covered; give xarrays "
            "with coordinates, or files that say it"
        )


def _spatial(axes: Sequence[str]) -> list[str]:
    return [axis for axis in axes if axis != "c"]


def _crop(part: str, source: ArrayConfig, roi: Roi) -> ArrayConfig:
    return CropArrayConfig(name=f"{part}_{source.name}", source_array_config=source, roi=roi)
