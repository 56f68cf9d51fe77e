"""A loaded model predicts and segments arrays in the form in which they are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from funlib.geometry import Coordinate

import dacapo
from dacapo import LoadedModel
from dacapo.errors import (
    ChannelMismatchError,
    ConfigError,
    DtypeError,
    InputTooSmallError,
    MetadataError,
    NotFoundError,
)
from dacapo.experiments import Run, RunConfig
from dacapo.experiments.datasplits.datasets.arrays import ResampledArrayConfig, ZarrArrayConfig, memory_array
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.options import Options
from dacapo.store.create_store import create_config_store
from tests.helpers.runs import affinities_run_config, raw_config, unet_config
from tests.helpers.volumes import cells, stored_values, write_array

TRAINER = TorchTrainerConfig("trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=1)
SHAPE = (61, 74)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the stores of a validated run in two dimensions, whose blocks are small, and a new volume."""
    folder = tmp_path_factory.mktemp("loaded")
    with Options.override(runs_base_dir=folder / "runs"):
        network = unet_config(2, eval_shape_increase=Coordinate(6, 6))
        config = affinities_run_config(
            folder, dims=2, num_iterations=2, architecture_config=network, trainer_config=TRAINER
        )
        create_config_store().store_run_config(config)
        dacapo.train(config.name)
        write_array(folder / "new.zarr", "raw", volume(), Coordinate(4, 4), Coordinate(40, 40))
        yield folder


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedModel:
    return dacapo.load_model("affinities")


@pytest.fixture(scope="module")
def expected(folder: Path) -> np.ndarray:
    """The prediction that is written block by block."""
    done = dacapo.predict("affinities", 2, folder / "new.zarr", "raw", folder / "expected.zarr", output_dtype="float32")
    return stored_values(done)


def volume() -> np.ndarray:
    return cells(SHAPE, seed=7)[0]


def with_coordinates(values: Any) -> xr.DataArray:
    coords: dict[str, Any] = {
        "y": ("y", 40 + 4.0 * np.arange(SHAPE[0]), {"units": "nm"}),
        "x": ("x", 40 + 4.0 * np.arange(SHAPE[1]), {"units": "nm", "long_name": "across"}),
        "time": 3,
    }
    return xr.DataArray(values, dims=("y", "x"), coords=coords, attrs={"microscope": "m"}, name="em")


def test_numpy_gives_the_numbers_of_a_blockwise_prediction(model: LoadedModel, expected: np.ndarray) -> None:
    assert model.iteration == 2
    predicted = model.predict(volume())
    assert type(predicted) is np.ndarray
    assert (predicted.dtype, predicted.shape) == (np.float32, (2, *SHAPE))
    np.testing.assert_array_equal(predicted, expected)
    assert model.predict(volume(), dtype="uint8").dtype == np.uint8
    np.testing.assert_array_equal(model.predict(volume().astype(">u2")), expected)
    np.testing.assert_array_equal(model.predict(volume()[None], axes=["c", "y", "x"]), expected)
    assert not [key for key in memory_array._values if key.startswith("lent")]


def test_dask_gives_dask_that_computes_lazily(model: LoadedModel, expected: np.ndarray) -> None:
    computed = []

    def load(block: np.ndarray) -> np.ndarray:
        computed.append(block.shape)
        return block

    lazy = da.from_array(volume(), chunks=(20, 30)).map_blocks(load, dtype=np.uint8, meta=np.zeros((0, 0), np.uint8))
    predicted = model.predict(lazy)
    assert isinstance(predicted, da.Array)
    assert not computed
    assert (predicted.shape, predicted.dtype) == ((2, *SHAPE), np.float32)
    assert predicted.npartitions > 4
    np.testing.assert_array_equal(predicted.compute(scheduler="threads"), expected)
    computed.clear()
    np.testing.assert_array_equal(predicted[:, :4, :4].compute(scheduler="sync"), expected[:, :4, :4])
    assert 0 < len(computed) < 12  # the corner needs only some of the chunks
    np.testing.assert_array_equal(model.predict(lazy, tta="flips").compute(), model.predict(volume(), tta="flips"))


@pytest.mark.parametrize("lazy", [False, True])
def test_xarray_keeps_coordinates_units_and_attributes(model: LoadedModel, expected: np.ndarray, lazy: bool) -> None:
    data = with_coordinates(da.from_array(volume(), chunks=30) if lazy else volume())
    predicted = model.predict(data)
    assert predicted.dims == ("c", "y", "x")
    assert predicted.name == "em"
    assert predicted.attrs == data.attrs
    assert isinstance(predicted.data, da.Array) is lazy
    for name, coordinate in data.coords.items():
        xr.testing.assert_identical(predicted.coords[name].variable, coordinate.variable)
    np.testing.assert_array_equal(predicted.values, expected)
    turned = model.predict(data.transpose("x", "y"))
    assert turned.dims == ("c", "x", "y")
    np.testing.assert_array_equal(turned.transpose("c", "y", "x").values, expected)
    assert set(model.predict(xr.DataArray(volume(), dims=("y", "x"))).coords) == set()
    segmented = model.segment(data)
    assert segmented.dims == ("y", "x")
    xr.testing.assert_identical(segmented.coords["x"].variable, data.coords["x"].variable)


def test_files_are_predicted_in_memory_or_into_an_output(
    model: LoadedModel, folder: Path, tmp_path: Path, expected: np.ndarray
) -> None:
    path = folder / "new.zarr" / "raw"
    for place in (path, str(path), zarr.open_array(str(path), mode="r")):
        predicted = model.predict(place)
        np.testing.assert_array_equal(predicted.values, expected)
        assert predicted.coords["y"].values[:2].tolist() == [40, 44]
        assert predicted.coords["y"].attrs == {"units": "nm"}
    written = model.predict(path, tmp_path / "out.zarr", dtype="float32")
    assert written.roi.offset == Coordinate(40, 40)
    np.testing.assert_array_equal(written[written.roi], expected)
    from_memory = model.predict(with_coordinates(volume()), tmp_path / "memory.zarr", dtype="float32")
    assert (from_memory.roi, from_memory.units) == (written.roi, written.units)
    np.testing.assert_array_equal(from_memory[from_memory.roi], expected)


def test_a_segmentation_is_that_of_apply(model: LoadedModel, folder: Path, tmp_path: Path) -> None:
    applied = dacapo.apply("affinities", folder / "new.zarr", "raw", tmp_path / "applied.zarr")
    assert (model.iteration, model.parameters) == (applied.selection.iteration, applied.selection.parameters)
    truth = stored_values(applied.output)
    np.testing.assert_array_equal(model.segment(volume()), truth)
    np.testing.assert_array_equal(model.segment(da.from_array(volume(), chunks=30)), truth)
    written = model.segment(folder / "new.zarr" / "raw", tmp_path / "segmented.zarr")
    np.testing.assert_array_equal(written[written.roi], truth)
    other = model.segment(volume(), parameters=str(attrs.evolve(applied.selection.parameters, min_size=10**6)))
    assert other.max() <= 1


def test_a_model_is_loaded_by_name_folder_and_run(folder: Path, tmp_path: Path, expected: np.ndarray) -> None:
    with Options.override(runs_base_dir=tmp_path):
        by_folder = dacapo.load_model(folder / "runs" / "affinities", iteration=2)
        np.testing.assert_array_equal(by_folder.predict(volume()), expected)
        written = by_folder.predict(volume(), tmp_path / "out.zarr", dtype="float32")
        np.testing.assert_array_equal(written[written.roi], expected)
        np.testing.assert_array_equal(
            dacapo.load_model(Run.open(folder / "runs" / "affinities")).predict(volume()), expected
        )
    run = Run.open("affinities")
    np.testing.assert_array_equal(dacapo.load_model(run).predict(volume()), expected)
    with pytest.raises(NotFoundError, match="no checkpoint of iteration 1"):
        dacapo.load_model("affinities", 1)
    with pytest.raises(NotFoundError, match="unknown criterion"):
        dacapo.load_model("affinities", criterion="nonsense")


def test_a_run_in_memory_predicts_with_its_weights(folder: Path, tmp_path: Path) -> None:
    config = attrs.evolve(Run.open("affinities").config, name="nowhere")
    model = dacapo.load_model(Run(config))
    assert model.predict(volume()).shape == (2, *SHAPE)
    with pytest.raises(ConfigError, match="in memory only"):
        model.predict(volume(), tmp_path / "out.zarr")
    with pytest.raises(ConfigError, match=r"has not been validated.*such as WatershedPostProcessorParameters\("):
        model.segment(volume())
    create_config_store().store_run_config(config)
    with pytest.raises(ConfigError, match="'nowhere' has no checkpoint; train it first"):
        dacapo.load_model("nowhere")


def changed(**network: Any) -> LoadedModel:
    """Return a model of other layers, with random weights."""
    config = Run.open("affinities").config
    architecture = attrs.evolve(config.architecture_config, **network)  # type: ignore[arg-type]
    return dacapo.load_model(Run(attrs.evolve(config, name="changed", architecture_config=architecture)))


def test_predictions_of_other_voxels_get_coordinates_of_their_own(folder: Path) -> None:
    model = changed(upsample_factors=[Coordinate(1, 2)])
    assert model.predict(volume()).shape == (2, SHAPE[0], 2 * SHAPE[1])
    predicted = model.predict(with_coordinates(volume()))
    assert predicted.coords["x"].values[:3].tolist() == [40, 42, 44]
    assert predicted.coords["x"].attrs == {"units": "nm", "long_name": "across"}
    assert predicted.coords["y"].values[:3].tolist() == [40, 44, 48]


def test_channels_come_first_or_by_name(folder: Path) -> None:
    model = changed(fmaps_in=2)
    data = np.stack([volume(), volume() // 2])
    predicted = model.predict(data)
    np.testing.assert_array_equal(model.predict(np.moveaxis(data, 0, -1), axes=["y", "x", "c"]), predicted)
    last = xr.DataArray(np.moveaxis(data, 0, -1), dims=("y", "x", "channel"))
    np.testing.assert_array_equal(model.predict(last).values, predicted)
    np.testing.assert_array_equal(model.predict(da.from_array(data, chunks=40)).compute(), predicted)
    with pytest.raises(ChannelMismatchError):
        model.predict(volume())


def test_wrong_data_is_an_error_that_says_what_to_do(model: LoadedModel, folder: Path) -> None:
    uneven = with_coordinates(volume()).assign_coords(x=np.arange(SHAPE[1]) ** 2)
    for data, error, message in (
        (volume()[0], MetadataError, r"shape \(74,\) has no known axes: expected 2 spatial axes"),
        (volume()[:20], InputTooSmallError, "network's input is"),
        (uneven, MetadataError, "coordinates along 'x' do not ascend evenly"),
        (volume().astype(complex), DtypeError, "complex128; expected numbers"),
        ([[1, 2]], MetadataError, "got a list; expected an array"),
        (folder / "missing.zarr", NotFoundError, "does not exist"),
    ):
        with pytest.raises(error, match=message):
            model.predict(data)
    with pytest.raises(MetadataError, match="name each axis once"):
        model.predict(volume(), axes=["y", "y"])


def test_lazy_data_is_not_resampled(folder: Path) -> None:
    def resampled(config: RunConfig) -> RunConfig:
        (dataset,) = config.datasplit_config.train_configs  # type: ignore[attr-defined]
        source = raw_config(folder / "train.zarr")
        assert isinstance(source.source_array_config, ZarrArrayConfig)
        factors = {"upsample": Coordinate(1, 1), "downsample": Coordinate(2, 2)}
        view = ResampledArrayConfig("coarse", source, **factors, interp_order=False)
        split = attrs.evolve(
            config.datasplit_config,
            train_configs=[attrs.evolve(dataset, raw_config=view)],  # type: ignore[call-arg]
        )
        return attrs.evolve(config, name="resampled", datasplit_config=split)

    model = dacapo.load_model(Run(resampled(Run.open("affinities").config)))
    assert model.predict(volume()).shape == (2, 30, 37)
    with pytest.raises(ConfigError, match="resamples its raw data"):
        model.predict(da.from_array(volume()))
