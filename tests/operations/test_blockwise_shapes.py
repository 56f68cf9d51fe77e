"""The result of a blockwise operation does not depend on its blocks, whatever their shape."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dacapo.blockwise.scheduling.run_operation import run_operation
from dacapo.blockwise.voxelwise import Argmax, Threshold
from dacapo.blockwise.worker_module import WorkerModule
from dacapo.experiments.run import Run
from dacapo.inference.prediction import predict_array
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.prediction import SAME, VALID, numpy_array, whole_pass
from tests.helpers.runs import unet_run
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, stored_values, write_array

# The largest of the neighbors along all axes, which takes one voxel of context.
LARGEST = """
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier
from scipy import ndimage

def start_worker(source, target):
    source = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(*source), mode="r")
    target = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(*target))
    def process(block):
        roi = block.read_roi.intersect(source.roi)
        largest = ndimage.maximum_filter(source[roi], 3, mode="nearest")
        begin = (block.write_roi.begin - roi.begin) / source.voxel_size
        extent = block.write_roi.shape / source.voxel_size
        target[block.write_roi] = largest[tuple(slice(b, b + e) for b, e in zip(begin, extent))]
    return process
"""


@st.composite
def volumes_and_blocks(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks of one voxel, larger than the volume, or not dividing it."""
    dims = draw(st.sampled_from([2, 3]))
    shape = draw(st.tuples(*[st.integers(1, 7)] * dims))
    block = draw(st.tuples(*[st.integers(1, 9)] * dims))
    # Not too many blocks, for the time that it takes.
    return shape, tuple(max(b, s // 3) for s, b in zip(shape, block, strict=True))


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


def place(folder: Path, values: np.ndarray, block: tuple[int, ...], dims: int) -> dict[str, Any]:
    """Write values as the input of an operation, and return what places the operation."""
    for name in ("in.zarr", "out.zarr"):
        shutil.rmtree(folder / name, ignore_errors=True)
    voxel_size, offset = Coordinate(VOXEL_SIZE[-dims:]), Coordinate(OFFSET[-dims:])
    return {
        "input": write_array(folder / "in.zarr", "values", values, voxel_size, offset),
        "output": LocalArrayIdentifier(folder / "out.zarr", "result"),
        "region": Roi(offset, Coordinate(values.shape[-dims:]) * voxel_size),
        "block_shape": Coordinate(block) * voxel_size,
    }


quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(volumes_and_blocks(), st.sampled_from([None, 1, 3]), st.integers(0, 99))
@example(((3, 2, 3), (1, 1, 1)), 2, 0)
def test_threshold(
    options: DaCapoConfig, folder: Path, sizes: tuple[tuple[int, ...], tuple[int, ...]], channels: int | None, seed: int
) -> None:
    shape, block = sizes
    full = shape if channels is None else (channels, *shape)
    values = np.random.default_rng(seed).integers(0, 256, full).astype(np.uint8)
    placed = place(folder, values, block, len(shape))
    run_operation(Threshold(threshold=127.5, **placed), resume=None)
    np.testing.assert_array_equal(stored_values(placed["output"]), values > 127.5)


@quick
@given(volumes_and_blocks(), st.integers(1, 4), st.integers(0, 99))
@example(((5, 4), (1, 1)), 3, 0)
def test_argmax(
    options: DaCapoConfig, folder: Path, sizes: tuple[tuple[int, ...], tuple[int, ...]], channels: int, seed: int
) -> None:
    shape, block = sizes
    values = np.random.default_rng(seed).integers(0, 4, (channels, *shape)).astype(np.uint8)
    placed = place(folder, values, block, len(shape))
    run_operation(Argmax(axis=0, **placed))
    np.testing.assert_array_equal(stored_values(placed["output"]), values.argmax(axis=0))


@quick
@given(volumes_and_blocks(), st.integers(0, 99))
@example(((3, 3), (1, 1)), 0)
def test_function_of_a_user(
    options: DaCapoConfig, folder: Path, sizes: tuple[tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    from scipy import ndimage

    shape, block = sizes
    values = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    placed = place(folder, values, block, len(shape))
    file = folder / "largest.py"
    file.write_text(LARGEST)
    context = Coordinate(VOXEL_SIZE[-len(shape) :])
    names = [[str(placed[key].container), placed[key].dataset] for key in ("input", "output")]
    run_operation(WorkerModule(worker_file=str(file), args=names, before=context, after=context, **placed))
    np.testing.assert_array_equal(stored_values(placed["output"]), ndimage.maximum_filter(values, 3, mode="nearest"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], tuple[Run, Any, np.ndarray]]:
    """Return run, raw data and the prediction in one pass, by dimensions and padding."""
    made = {}
    for dims, shape in ((2, (37, 33)), (3, (29, 31, 28))):
        for padding in (VALID, SAME):
            run = unet_run(tmp_path_factory.mktemp("run"), dims, **padding)
            raw = numpy_array(shape, (8, 4, 4)[-dims:])
            made[dims, padding["padding"]] = run, raw, whole_pass(run, raw)
    return made


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([2, 3]), st.sampled_from(["valid", "same"]))
def test_predict(
    options: DaCapoConfig, networks: Any, folder: Path, data: st.DataObject, dims: int, padding: str
) -> None:
    run, raw, expected = networks[dims, padding]
    # Along one axis blocks may be as small as a voxel; they write at least a step of the down-sampling.
    small = data.draw(st.integers(0, dims - 1))
    sizes = [st.integers(1 if axis == small else 12, 50) for axis in range(dims)]
    block = Coordinate(data.draw(st.tuples(*sizes))) * raw.voxel_size
    output = LocalArrayIdentifier(folder / "out.zarr", "prediction")
    array = predict_array(run, raw, output, output_dtype=np.float32, block_shape=block)
    np.testing.assert_allclose(array[array.roi], expected, atol=1e-5)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([2, 3]), st.sampled_from(["valid", "same"]))
def test_predict_volumes_of_any_shape(
    options: DaCapoConfig, networks: Any, folder: Path, data: st.DataObject, dims: int, padding: str
) -> None:
    run, _, _ = networks[dims, padding]
    smallest = int(run.model.input_shape[0])
    shape = data.draw(st.tuples(*[st.integers(smallest, smallest + (20 if dims == 2 else 4))] * dims))
    raw = numpy_array(shape, VOXEL_SIZE[-dims:])
    block = Coordinate(data.draw(st.tuples(*[st.integers(1 if dims == 2 else 8, 60)] * dims))) * raw.voxel_size
    output = LocalArrayIdentifier(folder / "out.zarr", "prediction")
    array = predict_array(run, raw, output, output_dtype=np.float32, block_shape=block)
    np.testing.assert_allclose(array[array.roi], whole_pass(run, raw), atol=1e-5)
