"""Results are written to URLs: the same voxels, levels and metadata as on a disk, resumed, and never beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from funlib.geometry import Coordinate

from dacapo.apply import apply
from dacapo.blockwise import pyramid
from dacapo.blockwise.pyramid import write_image
from dacapo.blockwise.scheduling.run_operation import run_operation
from dacapo.cli import cli
from dacapo.compute_context import Execution
from dacapo.convert import convert
from dacapo.errors import BlockwiseError, ConfigError, OutputExistsError
from dacapo.experiments.datasplits.datasets.arrays import open_array
from dacapo.experiments.datasplits.datasets.arrays.ome_images import level_name
from dacapo.experiments.datasplits.datasets.arrays.places import read_json
from dacapo.options import DaCapoConfig, Options
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.invert import make_invert, set_fault, tried
from tests.helpers.runs import stored_run
from tests.helpers.servers import CREDENTIALS, s3_server
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, cells, write_array

SEGMENT = """
def segment_function(input_array, roi):
    values = input_array[roi]
    return (values > 128).astype("uint64")
"""
WORKER = """
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, ZarrArrayConfig


def process_block(block, input_container, input_dataset, output_container, output_dataset):
    source = ZarrArray(ZarrArrayConfig("in", input_container, input_dataset, mode="r"))
    target = ZarrArray(ZarrArrayConfig("out", output_container, output_dataset))
    target[block.write_roi] = 255 - source[block.write_roi]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[str]:
    """A URL of its own for each test, which runs in an empty folder that stays empty."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pyramid, "COARSEST", 16)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield f"s3://bucket/{abs(hash(request.node.nodeid))}"
    assert list(here.iterdir()) == []


def volume(shape: tuple[int, ...] = (24, 24, 24)) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, shape).astype(np.uint8)


def values(path: str, dataset: str) -> np.ndarray:
    array = open_array(path, dataset)
    return np.asarray(array[array.roi])


def described(container: Any, group: str = "") -> Any:
    """Return the images that a group lists."""
    folder = Path(container) / group
    in_v3 = read_json(folder / "zarr.json").get("attributes", {}).get("ome")
    return (in_v3 or read_json(folder / ".zattrs"))["multiscales"]


@pytest.mark.parametrize("file_format", ["zarr2", "zarr3"])
def test_a_volume_is_converted_to_a_url(bucket: str, tmp_path: Path, file_format: str) -> None:
    write_array(tmp_path / "in.zarr", "raw", volume())
    for folder in (f"{bucket}/out.zarr", str(tmp_path / "out.zarr")):
        convert(tmp_path / "in.zarr", folder, "raw", "images/raw", file_format=file_format)
    remote, local = open_array(f"{bucket}/out.zarr", "images/raw"), open_array(tmp_path / "out.zarr", "images/raw")
    np.testing.assert_array_equal(remote[remote.roi], volume())
    assert (remote.axes, remote.roi, remote.spacing, remote.world) == (
        local.axes,
        local.roi,
        local.spacing,
        local.world,
    )
    np.testing.assert_array_equal(
        values(f"{bucket}/out.zarr", "images/raw_s1"), values(str(tmp_path / "out.zarr"), "images/raw_s1")
    )
    assert described(f"{bucket}/out.zarr", "images") == described(tmp_path / "out.zarr", "images")


def test_an_interrupted_operation_is_resumed(bucket: str, options: DaCapoConfig, tmp_path: Path) -> None:
    operation = make_invert(tmp_path, volume(), (12, 12, 12))
    operation.output = LocalArrayIdentifier(Path(f"{bucket}/out.zarr"), "a/inverted")
    fault = set_fault(tmp_path, "raise", list(map(int, OFFSET + VOXEL_SIZE * 12)))
    with pytest.raises(BlockwiseError, match="1 of 8 blocks"):
        run_operation(operation, max_retries=0)
    fault.unlink()
    assert len(tried(tmp_path)) == 8
    run_operation(operation)
    assert len(tried(tmp_path)) == 1
    np.testing.assert_array_equal(values(f"{bucket}/out.zarr", "a/inverted"), 255 - volume())
    write_image(operation.output, Execution(1), is_labels=False)
    (image,) = described(f"{bucket}/out.zarr", "a")
    assert [level["path"] for level in image["datasets"]] == ["inverted", "inverted_s1", "inverted_s2"]
    operation.number = 254
    with pytest.raises(OutputExistsError, match=rf"{bucket}/out\.zarr/a/inverted was started with other parameters"):
        run_operation(operation, overwrite=False)
    run_operation(operation)
    assert values(f"{bucket}/out.zarr", "a/inverted").max() == 253


@pytest.mark.parametrize("file_format", ["zarr", "zarr3"])
def test_a_run_is_applied_to_a_url(bucket: str, options: DaCapoConfig, tmp_path: Path, file_format: str) -> None:
    run = stored_run(tmp_path)
    write_array(tmp_path / "in.zarr", "raw", cells((64, 60))[0], Coordinate(4, 4), Coordinate(40, 40))
    chosen: dict[str, Any] = {"iteration": 1, "parameters": str(next(iter(run.task.parameters))), "num_workers": 1}
    here, there = str(tmp_path / "out.zarr"), f"{bucket}/out.zarr"
    for place in (here, there):
        applied = apply(run.name, tmp_path / "in.zarr", "raw", place, file_format=file_format, **chosen)
    names = [array.dataset for array in (applied.output, applied.prediction)]
    for name in [*names, *(level_name(name, 1) for name in names)]:
        np.testing.assert_array_equal(values(there, name), values(here, name))
    for group in ("", str(PurePosixPath(applied.output.dataset).parent)):
        assert described(there, group) == described(here, group)
    long_name = f"output_affinities_1_{applied.selection.parameters}"
    np.testing.assert_array_equal(values(there, long_name), values(here, long_name))


def test_a_volume_is_segmented_to_a_url_by_workers(bucket: str, options: DaCapoConfig, tmp_path: Path) -> None:
    (tmp_path / "segment.py").write_text(SEGMENT)
    (tmp_path / "work.py").write_text(WORKER)
    write_array(tmp_path / "in.zarr", "raw", volume())
    size = str(list(VOXEL_SIZE * 12)).replace(" ", "")
    common = ["-rr", size, "-wr", size]
    for command, file, dataset, workers in (
        ("segment-blockwise", "segment.py", "labels/cells/s0", "1"),
        ("run-blockwise", "work.py", "inverted", "2"),
    ):
        arguments = [command, str(tmp_path / "in.zarr"), "raw", f"{bucket}/out.zarr", dataset, str(tmp_path / file)]
        result = CliRunner().invoke(cli, [*arguments, *common, "-nw", workers])
        assert result.exit_code == 0, result.output
        assert result.output.strip().splitlines()[-1] == f"{bucket}/out.zarr/{dataset}"
    np.testing.assert_array_equal(values(f"{bucket}/out.zarr", "inverted"), 255 - volume())
    np.testing.assert_array_equal(values(f"{bucket}/out.zarr", "labels/cells/s0") > 0, volume() > 128)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/out.zarr", "memory://out.zarr"])
def test_places_that_cannot_be_written_are_refused_early(options: DaCapoConfig, tmp_path: Path, url: str) -> None:
    write_array(tmp_path / "in.zarr", "raw", volume())
    run = stored_run(tmp_path)
    name, chosen = run.name, str(next(iter(run.task.parameters)))
    calls = (
        lambda: convert(tmp_path / "in.zarr", url, "raw"),
        lambda: predict(name, 1, tmp_path / "in.zarr", "raw", url),
        lambda: apply(name, tmp_path / "in.zarr", "raw", url, iteration=1, parameters=chosen),
    )
    for call in calls:
        with pytest.raises(ConfigError, match=rf"cannot write to {url}; give .* s3:// or gs://"):
            call()


def test_other_formats_are_not_written_to_urls(bucket: str, tmp_path: Path) -> None:
    write_array(tmp_path / "in.zarr", "raw", volume())
    with pytest.raises(ConfigError, match=r"only Zarr is written to URLs, not tiff"):
        convert(tmp_path / "in.zarr", f"{bucket}/out.tif", "raw")


def test_a_refused_request_names_url_and_cause(bucket: str, tmp_path: Path) -> None:
    write_array(tmp_path / "in.zarr", "raw", volume())
    with pytest.raises(Exception, match=r"s3://absent/out\.zarr.*(NoSuchBucket|404|bucket)"):
        convert(tmp_path / "in.zarr", "s3://absent/out.zarr", "raw")


def test_runs_are_not_kept_at_urls() -> None:
    with pytest.raises(ConfigError, match="runs_base_dir is s3://bucket/runs, but runs are kept in a folder"):
        Options.instance(runs_base_dir="s3://bucket/runs")
