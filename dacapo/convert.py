"""Convert an array to another file format."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from funlib.geometry import Roi

from dacapo.blockwise.conversion import WRITERS, Copy, Export, Layout
from dacapo.blockwise.journal import Journal, Resume
from dacapo.blockwise.journal.journal import is_complete
from dacapo.blockwise.outputs import prepare_container
from dacapo.blockwise.pyramid import level_factors, write_image
from dacapo.blockwise.scheduling.run_operation import execute
from dacapo.compute_context import Execution
from dacapo.errors import ConfigError, OutputExistsError
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    ArrayConfig,
    CropArrayConfig,
    SelectArrayConfig,
    ZarrArrayConfig,
)
from dacapo.experiments.datasplits.datasets.arrays.containers import dataset_name
from dacapo.experiments.datasplits.datasets.arrays.opener import config_for, identifier_of
from dacapo.experiments.datasplits.datasets.arrays.remote_files import check_writable_place
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.datasplits.datasets.arrays.world import placed_roi
from dacapo.experiments.datasplits.datasets.arrays.zarr3_files import is_zarr3_group
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.files import make_folder, status, storage_errors
from dacapo.store.folders import rename_over
from dacapo.utils.paths import is_url, shown, user_path
from dacapo.utils.world_text import parse_roi

logger = logging.getLogger(__name__)

ZARR = ("zarr2", "zarr3")
FORMATS = (*ZARR, *WRITERS)
_KEPT = ("value_range",)
_LEVEL = "s{}"


@attrs.frozen
class _Target:
    """Where to write.

    Attributes:
        file_format: Name of the format.
        container: The file, or the container.
        dataset: Name of the array inside it; empty for a file of a single array.
    """

    file_format: str
    container: Path
    dataset: str

    @property
    def is_file(self) -> bool:
        """Whether the array is all of what is written, a file or a folder."""
        return self.file_format not in ZARR and not WRITERS[self.file_format].is_container

    @property
    def path(self) -> Path:
        """The file, or the folder of the array."""
        return self.container if self.is_file else self.container / self.dataset

    @property
    def partial(self) -> Path:
        """What is written before it is whole."""
        return self.path.with_name(f".{self.path.name}.partial{self.path.suffix if self.is_file else ''}")

    @property
    def journal(self) -> LocalArrayIdentifier:
        """The place of the journal: no array."""
        return LocalArrayIdentifier(self.path.parent, f"{self.path.name}.conversion")


@storage_errors()
def convert(
    input_path: Path | str,
    output_path: Path | str,
    input_dataset: str | None = None,
    output_dataset: str | None = None,
    *,
    file_format: str | None = None,
    labels: bool | None = None,
    roi: Roi | str | None = None,
    level: str | Sequence[float] | None = None,
    select: Mapping[str, int] | None = None,
    num_workers: int = 1,
    overwrite: bool = False,
    pyramid: bool = True,
    **overrides: Any,
) -> LocalArrayIdentifier:
    """Convert an array to another file format, block by block.

    An interrupted conversion is resumed by the same call, and a finished one is kept. A file in a format other than
    Zarr appears when it is whole.

    Args:
        input_path: File, container, or path of a dataset inside a container, in any format that can be read.
        output_path: File or container to write, or the path of a dataset inside a container; for Zarr also a URL.
        input_dataset: Dataset inside the input, where the path does not name it.
        output_dataset: Dataset inside the output; by default that of the path, or of the input. An HDF5 file holds one.
        file_format: ``zarr2`` and ``zarr3`` (OME-NGFF 0.4 and 0.5), ``n5``, ``tiff``, ``hdf5``, ``precomputed``, or
            ``png`` and ``tiff-planes`` for a folder of images; by default from the end of the name, and for ``.zarr``
            that of the container, or Zarr v2 for a new one.
        labels: Whether values are labels, which have no mean, for smaller levels of Zarr; by default integers of
            four bytes or more, and bool.
        roi: Region to convert, in world units or lengths such as ``"[0:1.5um,0:524nm,0:524nm]"``; all by default.
        level: The level of the input to convert, by its name or its voxel size; the finest by default.
        select: The index along each axis of the input to drop, such as ``{"t": 0}``.
        num_workers: Maximum number of worker processes; HDF5 is written by one.
        overwrite: Whether to replace an earlier output.
        pyramid: Whether to write smaller levels for viewers, in formats that have them; otherwise there is a single
            level.
        **overrides: ``axes``, ``voxel_size``, ``offset`` and others, in place of the metadata of the input; see
            :func:`~dacapo.experiments.datasplits.datasets.arrays.open_array`.

    Returns:
        The array that was written.

    Raises:
        ArrayNotFoundError: If the input does not exist.
        RoiError: If the region is not inside the input.
        ConfigError: If the format is unknown, or cannot hold the array.
        OutputExistsError: If the output exists and must be kept.
        BlockwiseError: If blocks failed; the same call does only those that are missing.
    """
    source = config_for(input_path, input_dataset, level=level, select=select, **overrides)
    check_writable_place(user_path(output_path))
    target = _target(user_path(output_path), output_dataset, _identifier(source), file_format)
    if is_url(target.container) and target.file_format not in ZARR:
        raise ConfigError(
            f"{shown(target.container)}: only Zarr is written to URLs, not {target.file_format}; "
            f"choose {' or '.join(ZARR)}, or give a file or folder of this machine"
        )
    if roi is not None:
        source = _cropped(source, roi)
    array = build(source)
    execution = Execution(num_workers, overwrite=overwrite, resume=Resume.of(overwrite, not overwrite))
    is_labels = _are_labels(array) if labels is None else labels
    if target.file_format in ZARR:
        output = _copy(source, array, target, execution)
        write_image(output, execution, is_labels, pyramid)
        return output
    return _export(source, array, target, execution, "mode" if is_labels else "mean", pyramid)


def _identifier(config: ArrayConfig) -> LocalArrayIdentifier:
    return identifier_of(config.source_array_config if isinstance(config, SelectArrayConfig) else config)


def _cropped(config: ArrayConfig, text: Roi | str) -> ArrayConfig:
    array, parsed = build(config), parse_roi(text)
    assert parsed is not None
    roi = placed_roi(parsed, array.world)
    array.check_roi(roi)
    return CropArrayConfig(config.name, config, roi)


def _are_labels(array: Array) -> bool:
    """Guess from the type whether values are labels: intensities have one or two bytes, or fractions."""
    return array.dtype.kind == "b" or (array.dtype.kind in "iu" and array.dtype.itemsize >= 4)


def _target(path: Path, dataset: str | None, source: LocalArrayIdentifier, file_format: str | None) -> _Target:
    suffixes = {suffix: name for name, writer in WRITERS.items() for suffix in writer.suffixes} | {".zarr": "zarr2"}
    containers = [part for part in (*reversed(path.parents), path) if part.suffix.lower() in suffixes]
    name = file_format or (suffixes[containers[0].suffix.lower()] if containers else None)
    if name not in FORMATS:
        raise ConfigError(
            f"the format of {shown(path)} is {name or 'unknown'}; give the name an end such as "
            f"{', '.join(sorted(suffixes))}, or choose one of {', '.join(FORMATS)}"
        )
    container = containers[0] if containers else path
    if name == "zarr2" and is_zarr3_group(container):
        if file_format is not None:
            raise ConfigError(f"{shown(container)} exists and is Zarr v3; name a new container, or choose zarr3")
        name = "zarr3"
    inside = dataset_name(f"{path.relative_to(container).as_posix()}/{dataset or ''}")
    if name not in ZARR and not WRITERS[name].holds_datasets:
        if inside:
            raise ConfigError(f"{container} holds a single array ({name}), so it has no dataset {inside!r}")
        return _Target(name, container, "")
    return _Target(name, container, inside or dataset_name(source.dataset) or source.container.stem)


def _copy(source: ArrayConfig, array: Array, target: _Target, execution: Execution) -> LocalArrayIdentifier:
    """Write Zarr."""
    prepare_container(target.container, "zarr3" if target.file_format == "zarr3" else "zarr")
    output = LocalArrayIdentifier(target.container, target.dataset)
    kept = {key: array.attrs[key] for key in _KEPT if key in array.attrs}
    operation = Copy(
        source=source,
        output=output,
        region=array.roi,
        block_shape=Layout.like(array).block_shape,
        metadata=kept,
    )
    execute(operation, execution)
    return output


def _export(
    source: ArrayConfig, array: Array, target: _Target, execution: Execution, method: str, pyramid: bool
) -> LocalArrayIdentifier:
    """Write another format to a partial file or folder, which gets its name when it is whole."""
    output = LocalArrayIdentifier(target.container, target.dataset)
    journal = Journal.read(target.journal)
    done = journal is not None and is_complete(target.journal)
    exists, is_begun = (status(path) is not None for path in (target.path, target.partial))
    if exists and not execution.overwrite and not done:
        raise OutputExistsError(f"{target.path} exists; allow overwriting it, or name another output")
    # A process that is killed may leave the whole file, or folder, without its name.
    if journal is not None and not is_begun and not (done and exists):
        journal.forget()  # what it describes was deleted
    writer = WRITERS[target.file_format]
    operation = Export(
        source=source,
        output=target.journal,
        region=array.roi,
        block_shape=writer.block_shape(Layout.like(array)),
        file_format=target.file_format,
        path=str(target.partial.resolve()),
        dataset=_LEVEL.format(0) if writer.has_levels else target.dataset,
        method=method,
    )
    make_folder(target.path.parent)
    writer.prepare(target.container)
    execute(operation, execution)
    if status(target.partial) is not None:
        if writer.has_levels and pyramid:
            _export_levels(operation, array, target, execution)
        operation.writer().finish()
        rename_over(target.partial, target.path)
    return output


def _export_levels(finest: Export, array: Array, target: _Target, execution: Execution) -> None:
    """Write smaller levels until one is small, each from the one before."""
    number, operation = 0, finest
    while (factors := level_factors(array)) is not None:
        number += 1
        made_by = _journal_id(operation)
        source = ZarrArrayConfig("level", target.partial.resolve(), _LEVEL.format(number - 1), mode="r")
        layout = Layout.like(build(source)).coarser(factors)
        if not WRITERS[target.file_format].can_hold(layout):
            logger.warning(
                "%s has no level with voxels of %s, since it would not begin at a whole voxel; its corner is at %s",
                target.container,
                layout.voxel_size,
                layout.roi.offset,
            )
            return
        operation = attrs.evolve(
            finest,
            source=source,
            output=LocalArrayIdentifier(target.journal.container, f"{target.journal.dataset}.{number}"),
            region=layout.roi,
            block_shape=WRITERS[target.file_format].block_shape(layout),
            dataset=_LEVEL.format(number),
            factors=factors,
            made_by=made_by,
        )
        earlier = Journal.read(operation.output)
        if earlier is not None and earlier.parameters.get("made_by") != made_by:
            earlier.forget()  # what it describes was replaced, with all levels
        execute(operation, execution)
        array = build(attrs.evolve(source, dataset=operation.dataset))


def _journal_id(operation: Export) -> str:
    journal = Journal.read(operation.output)
    assert journal is not None
    return journal.id
