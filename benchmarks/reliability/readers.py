"""Every reader of files and texts of unknown origin, with good input to begin from."""

from __future__ import annotations

import functools
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
from funlib.geometry import Coordinate, Roi

from dacapo.compute_context.batch_system import megabytes, seconds
from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig
from dacapo.experiments.training_session import session_rows, sessions_of
from dacapo.options import DaCapoConfig, Options
from dacapo.runs import delete_run, export_run, import_run
from dacapo.runs.manifest import Manifest
from dacapo.store.file_config_store import FileConfigStore
from dacapo.store.file_stats_store import FileStatsStore
from dacapo.store.json_lines import read_columns, read_entries
from dacapo.store.local_weights_store import LocalWeightsStore
from dacapo.store.session_records import write_record
from dacapo.store.yaml_files import load_yaml
from dacapo.testing.stats_store import training, validation
from dacapo.utils.memory import parse_size
from dacapo.utils.world_text import parse_extent, parse_roi
from tests.helpers import formats
from tests.helpers.runs import dummy_run_config, stored_run

from .mutations import of_bytes, of_json, of_text

Mutate = Callable[[bytes, random.Random], bytes]


@attrs.frozen
class Reader:
    """A reader, and how its input is made strange.

    Attributes:
        name: Name of the reader.
        good: Input that can be read.
        mutate: Makes strange input of it.
        read: Reads it; anything but an error of the package is a finding.
        weight: Relative number of inputs.
    """

    name: str
    good: bytes
    mutate: Mutate
    read: Callable[[bytes], object]
    weight: float = 1.0


def _text(function: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda content: function(content.decode(errors="surrogateescape"))


def texts() -> Iterator[Reader]:
    """Yield readers of texts."""
    yaml = b"a: &x [1, 2.5, {b: c}]\nd: *x\ne: !!python/tuple [3, 4]\nf: 'g'\n"
    yield Reader("YAML", yaml, of_text, _text(load_yaml), 3)
    for name, good, parse in (
        ("region", b"[0nm:1.5um, -40nm:524nm, 10nm:64nm]", parse_roi),
        ("extent", b"[64um, 32nm, 8nm]", parse_extent),
        ("size of memory", b"1.5 GiB", parse_size),
        ("size of a job", b"1.5 GiB", megabytes),
        ("time limit", b"1-12:00:00", seconds),
    ):
        yield Reader(name, good, of_text, _text(parse), 2)  # type: ignore[arg-type]


def _file(path: Path, read: Callable[[], object]) -> Callable[[bytes], object]:
    def write_and_read(content: bytes) -> object:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return read()

    return write_and_read


def records(folder: Path) -> Iterator[Reader]:
    """Yield readers of configs, options, statistics, scores and checkpoints."""
    configs = FileConfigStore(folder / "configs")
    configs.store_run_config(dummy_run_config("run"))
    (file,) = [path for path in (folder / "configs").rglob("run*") if path.is_file()]
    yield Reader("config", file.read_bytes(), of_text, _file(file, lambda: configs.retrieve_run_config("run")), 3)
    options = folder / "options.yaml"
    good = b"runs_base_dir: runs\ncompute_context:\n  type: LocalTorch\n  config: {oom_limit: 4.2}\ntype: files\n"
    yield Reader("options", good, of_text, _file(options, lambda: _options(options)), 3)
    stats = FileStatsStore(folder / "stats")
    stats.store_training_stats("run", training(0, 20))
    stats.store_validation_iteration_scores("run", validation(5, 10))
    for name, read in (
        ("training", lambda: stats.retrieve_training_stats("run")),
        ("validation", lambda: stats.retrieve_validation_iteration_scores("run")),
    ):
        (file,) = [path for path in (folder / "stats").rglob("run") if path.is_file() and name in str(path)]
        yield Reader(f"{name} record", file.read_bytes(), of_text, _file(file, read), 3)
    record = folder / "run" / "sessions" / "1.json"
    base = DaCapoConfig(runs_base_dir=folder)
    write_record(record, {"iterations": {"from": 0, "to": 20}, "outcome": "finished", "versions": {"torch": "2"}})
    good, read_all = record.read_bytes(), lambda: session_rows(sessions_of("run", base))
    yield Reader("training session", good, of_json, _file(record, read_all), 2)
    lines = folder / "lines"
    good = next((folder / "stats").rglob("run")).read_bytes()
    yield Reader("JSON lines", good, of_text, _file(lines, lambda: (read_entries(lines), read_columns(lines))), 3)


def _options(file: Path) -> object:
    Options.reset()
    os.environ["DACAPO_OPTIONS_FILE"] = str(file)
    return Options.instance()


def checkpoints(folder: Path) -> Iterator[Reader]:
    """Yield readers of checkpoints, and of archives with runs and what they begin with."""
    Options.instance(runs_base_dir=folder / "runs")
    run = stored_run(folder)
    store = LocalWeightsStore(folder / "runs")
    (file,) = [path for path in (folder / "runs").rglob("checkpoints/**/1") if path.is_file()]
    yield Reader("checkpoint", file.read_bytes(), of_bytes, _file(file, lambda: store.load_weights(run, 1)), 0.5)
    for ending in (".tar.gz", ".zip"):
        archive = folder / f"run{ending}"
        export_run(run.name, archive)
        read = functools.partial(_imported, archive, folder / "imported")
        yield Reader(f"archive{ending}", archive.read_bytes(), of_bytes, _file(archive, read), 0.5)
    with zipfile.ZipFile(folder / "run.zip") as opened:
        manifest = opened.read("manifest.json")
    yield Reader("manifest", manifest, of_json, lambda content: Manifest.read(content, "archive"), 2)


def _imported(archive: Path, folder: Path) -> None:
    with Options.override(runs_base_dir=folder):
        delete_run(import_run(archive, name="run").name)


FORMATS = {
    "zarr2": formats.zarr2, "zarr3": formats.zarr3, "n5": formats.n5, "precomputed": formats.precomputed,
    "multiscale": formats.multiscale, "tiff": formats.tiff, "ome_tiff": formats.ome_tiff,
    "png_slices": formats.png_slices, "hdf5": formats.hdf5,
}  # fmt: skip


def _open_and_read(config: ArrayConfig) -> object:
    array = config.array_type(config)
    shape = Coordinate(min(4, extent) for extent in array.roi.shape / array.voxel_size)
    return array[Roi(array.roi.offset, shape * array.voxel_size)]


def arrays(name: str, folder: Path) -> Iterator[Reader]:
    """Yield readers of the metadata and the voxels of arrays of a format."""
    values = np.arange(12 * 16 * 20, dtype=np.uint16).reshape(12, 16, 20)
    folder.mkdir(parents=True)
    config = FORMATS[name](folder, "raw", values)
    yield from _files_of(name, folder, lambda: _open_and_read(config))


def _files_of(name: str, place: Path, read: Callable[[], object]) -> Iterator[Reader]:
    files = sorted(path for path in place.rglob("*") if path.is_file())
    metadata = [
        path for path in files if path.name in (".zarray", ".zattrs", ".zgroup", "zarr.json", "attributes.json", "info")
    ]
    for file in metadata:
        yield Reader(f"{name} {file.relative_to(place)}", file.read_bytes(), of_json, _restored(file, read))
    data = [path for path in files if path not in metadata]
    if data:
        kind = of_bytes
        yield Reader(f"{name} {'chunk' if metadata else 'file'}", data[0].read_bytes(), kind, _restored(data[0], read))


def _restored(file: Path, read: Callable[[], object]) -> Callable[[bytes], object]:
    """Return a function that reads with other content of a file, and writes its own content again."""
    good = file.read_bytes()

    def with_content(content: bytes) -> object:
        file.write_bytes(content)
        try:
            return read()
        finally:
            file.write_bytes(good)

    return with_content


GROUPS: dict[str, Callable[[Path], Iterator[Reader]]] = {
    "texts": lambda folder: texts(),
    "records": records,
    "checkpoints": checkpoints,
    **{name: functools.partial(arrays, name) for name in FORMATS},
}
"""Readers by group; each takes the folder for its files."""
