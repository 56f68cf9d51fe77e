"""New volumes are changed as the training data was, or refused."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import tifffile
import torch
import zarr
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ArrayNotFoundError, ConfigError
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    ArrayConfig,
    BinarizeArrayConfig,
    ChannelArrayConfig,
    ConcatArrayConfig,
    CropArrayConfig,
    IntensitiesArrayConfig,
    LogicalOrArrayConfig,
    MergeInstancesArrayConfig,
    ResampledArrayConfig,
    SelectArrayConfig,
    SumArrayConfig,
    TiffArrayConfig,
    ZarrArray,
    ZarrArrayConfig,
    config_for,
)
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.inference.inputs import open_raw
from dacapo.inference.prediction import as_network_input
from dacapo.options import DaCapoConfig
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store
from tests.helpers.runs import affinities_run_config, unet_config
from tests.helpers.volumes import write_array

SIZE, OFFSET, SHAPE = Coordinate(4, 4), Coordinate(40, 40), (40, 44)
Made = Callable[[Callable[[str], ArrayConfig]], ArrayConfig]


def volume(folder: Path, name: str, seed: int, shape: tuple[int, ...] = SHAPE) -> None:
    values = np.random.default_rng(seed).integers(0, 6, shape).astype(np.uint8)
    write_array(folder, name, values, SIZE, OFFSET)


@pytest.fixture
def there(tmp_path: Path) -> Callable[..., RunConfig]:
    """Return a function that gives a run trained on raw data of some configs."""
    for number, name in enumerate(("raw", "other")):
        volume(tmp_path / "train.zarr", name, number)
        volume(tmp_path / "second.zarr", name, number + 2)
    volume(tmp_path / "train.zarr", "channels", 7, (2, *SHAPE))

    def config(*raw: ArrayConfig, **more: Any) -> RunConfig:
        datasets = [RawGTDatasetConfig(f"d{number}", raw_config=one) for number, one in enumerate(raw)]
        base = affinities_run_config(tmp_path / "base", dims=2, architecture_config=unet_config(2, **more))
        split = TrainValidateDataSplitConfig("split", train_configs=datasets, validate_configs=[])
        return attrs.evolve(base, datasplit_config=split)

    return config


def leaf(folder: Path, name: str = "raw", container: str = "train.zarr", **more: Any) -> ZarrArrayConfig:
    return ZarrArrayConfig(name, folder / container, name, **more)


def scaled(source: ArrayConfig, highest: float = 5.0) -> IntensitiesArrayConfig:
    return IntensitiesArrayConfig("scaled", source, 0.0, highest)


def values_of(array: Array) -> np.ndarray:
    return array[array.roi]


def built(config: ArrayConfig) -> Array:
    return config.array_type(config)


CHAINS: dict[str, Made] = {
    "plain": lambda raw: raw("raw"),
    "scaled": lambda raw: scaled(raw("raw")),
    "resampled": lambda raw: ResampledArrayConfig("r", raw("raw"), Coordinate(0, 0), Coordinate(2, 2), True),
    "binarized": lambda raw: BinarizeArrayConfig("b", raw("raw"), [("a", [1, 2]), ("b", [])]),
    "or": lambda raw: LogicalOrArrayConfig("o", raw("channels")),
    "channel": lambda raw: scaled(ChannelArrayConfig("c", raw("channels"), 1)),
    "concat": lambda raw: ConcatArrayConfig("c", ["a", "b"], {"a": scaled(raw("raw")), "b": scaled(raw("raw"), 2.0)}),
    "concat with default": lambda raw: ConcatArrayConfig(
        "c", ["a", "b"], {"a": scaled(raw("raw"))}, scaled(raw("raw"), 9.0)
    ),
    "concat with zeros": lambda raw: ConcatArrayConfig("c", ["a", "b"], {"b": scaled(raw("raw"))}),
    "scaled concat": lambda raw: scaled(
        ConcatArrayConfig("c", ["a", "b"], {"a": raw("raw"), "b": scaled(raw("raw"))}), 3.0
    ),
    "sum": lambda raw: SumArrayConfig("s", [scaled(raw("raw")), scaled(raw("raw"), 2.0)]),
    "merge": lambda raw: MergeInstancesArrayConfig("m", [raw("raw"), raw("raw")]),
    "crop of all": lambda raw: CropArrayConfig("c", scaled(raw("raw")), Roi((40, 40), (64, 64))),
    "crop inside": lambda raw: scaled(CropArrayConfig("c", raw("raw"), Roi((40, 40), (64, 64)))),
    "grid": lambda raw: scaled(attrs.evolve(raw("raw"), snap_to_grid=Coordinate(8, 8))),
    "axes": lambda raw: scaled(attrs.evolve(raw("raw"), axes=["y", "x"])),
}
SEVERAL: dict[str, Made] = {
    "concat": lambda raw: ConcatArrayConfig("c", ["a", "b"], {"a": scaled(raw("raw")), "b": scaled(raw("other"), 2.0)}),
    "sum": lambda raw: SumArrayConfig("s", [scaled(raw("raw")), scaled(raw("other"), 2.0)]),
    "merge": lambda raw: scaled(MergeInstancesArrayConfig("m", [raw("raw"), raw("other")])),
}


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("name", [*CHAINS, *(f"several: {name}" for name in SEVERAL)])
def test_the_training_data_is_seen_as_in_training(
    there: Callable[..., RunConfig], tmp_path: Path, name: str, copied: bool, caplog: pytest.LogCaptureFixture
) -> None:
    make = CHAINS.get(name) or SEVERAL[name.removeprefix("several: ")]
    config = make(lambda dataset: leaf(tmp_path, dataset))
    run_config = there(config)
    trained_on = built(config)
    container = tmp_path / "train.zarr"
    if copied:  # another volume that has the same voxels; the training data is gone
        container = container.rename(tmp_path / "new.zarr")
        config = make(lambda dataset: leaf(tmp_path, dataset, "new.zarr"))
        trained_on = built(config)
    seen = open_raw(run_config, LocalArrayIdentifier(container, "channels" if name in ("or", "channel") else "raw"))
    assert seen.roi.contains(trained_on.roi)
    assert (seen.axes, seen.dtype, seen.voxel_size) == (trained_on.axes, trained_on.dtype, trained_on.voxel_size)
    np.testing.assert_array_equal(seen[trained_on.roi], values_of(trained_on))
    assert not caplog.records


@pytest.mark.parametrize("copied", [False, True])
def test_prediction_of_a_concat_is_that_of_the_network(
    options: DaCapoConfig, there: Callable[..., RunConfig], tmp_path: Path, copied: bool
) -> None:
    raw = CHAINS["concat"](lambda dataset: leaf(tmp_path, dataset))
    config = there(raw, fmaps_in=2, input_shape=Coordinate(40, 40), padding="same")
    create_config_store().store_run_config(config)
    run = Run(config)
    create_weights_store().store_weights(run, 1)
    container = tmp_path / "train.zarr"
    if copied:
        container = Path(shutil.copytree(container, tmp_path / "new.zarr"))
    given = (container, "raw") if copied else (config_for(container, "raw"), None)
    found = predict(config.name, 1, *given, tmp_path / "out.zarr", output_dtype=np.float32)
    values = run.datasplit.train[0].raw
    values = run.trainer.prepare_input(values_of(values))
    with torch.inference_mode():
        expected = run.model.eval()(as_network_input(values, ["c", "y", "x"], torch.device("cpu")))[0].numpy()
    array = ZarrArray.open_from_array_identifier(found)
    np.testing.assert_allclose(values_of(array), expected, atol=1e-5)


def test_a_volume_with_channels_stands_for_several_arrays(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = SEVERAL["concat"](lambda dataset: leaf(tmp_path, dataset))
    trained_on = built(config)
    stacked = np.stack([values_of(built(leaf(tmp_path, name))) for name in ("raw", "other")])
    new = write_array(tmp_path / "new.zarr", "both", stacked, SIZE, OFFSET)
    wrapped = CropArrayConfig("crop", scaled(config, 2.0), Roi((40, 40), (64, 64)))
    for trained, expected in ((config, values_of(trained_on)), (wrapped, values_of(trained_on) / np.float32(2))):
        seen = open_raw(there(trained), new)
        assert seen.axes == ["c", "y", "x"]
        np.testing.assert_allclose(values_of(seen), expected)

    three = ConcatArrayConfig("c", ["z", "a", "b"], {"a": scaled(leaf(tmp_path))}, scaled(leaf(tmp_path, "other"), 2.0))
    new = write_array(tmp_path / "new.zarr", "three", np.concatenate([stacked[1:], stacked]), SIZE, OFFSET)
    np.testing.assert_array_equal(values_of(open_raw(there(three), new)), values_of(built(three)))


class OddArray(ZarrArray):
    """Reads files in a way of its own."""


@attrs.define
class OddArrayConfig(ZarrArrayConfig):
    """Reads files in a way of its own."""

    array_type: ClassVar[type[Array]] = OddArray
    is_as_stored: ClassVar[bool] = False


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (SEVERAL["concat"], r"ConcatArrayConfig 'c', made of several arrays \(other, raw\), and new.zarr/em cannot"),
        (SEVERAL["sum"], r"SumArrayConfig 's', made of several arrays"),
        (SEVERAL["merge"], r"IntensitiesArrayConfig 'scaled', made of several arrays"),
        (lambda raw: scaled(OddArrayConfig("odd", raw("raw").file_name, "raw")), r"OddArrayConfig 'odd', which may"),
    ],
)
def test_what_a_volume_cannot_stand_for_is_refused(
    options: DaCapoConfig, there: Callable[..., RunConfig], tmp_path: Path, make: Made, message: str
) -> None:
    config = there(make(lambda dataset: leaf(tmp_path, dataset)))
    create_config_store().store_run_config(config)
    volume(tmp_path / "new.zarr", "em", 3)
    with pytest.raises(ConfigError, match=message) as error:
        predict(config.name, 1, tmp_path / "new.zarr", "em", tmp_path / "out.zarr")
    assert "predict_array" in str(error.value)
    assert not (tmp_path / "out.zarr").exists()


def test_a_container_without_all_arrays_is_refused(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    volume(tmp_path / "new.zarr", "raw", 3)
    with pytest.raises(ConfigError, match="arrays of the same names"):
        open_raw(
            there(SEVERAL["sum"](lambda dataset: leaf(tmp_path, dataset))),
            LocalArrayIdentifier(tmp_path / "new.zarr", "raw"),
        )


# Several datasets


def test_datasets_that_say_the_same_are_one(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    volume(tmp_path / "new.zarr", "em", 3)
    config = there(
        scaled(leaf(tmp_path)),
        CropArrayConfig("crop", scaled(leaf(tmp_path, "raw", "second.zarr")), Roi((40, 40), (40, 40))),
        attrs.evolve(scaled(leaf(tmp_path, "other")), name="another name"),
    )
    seen = open_raw(config, LocalArrayIdentifier(tmp_path / "new.zarr", "em"))
    np.testing.assert_array_equal(values_of(seen), values_of(built(scaled(leaf(tmp_path, "em", "new.zarr")))))


def test_datasets_that_differ_are_refused_except_for_their_own_volumes(
    there: Callable[..., RunConfig], tmp_path: Path
) -> None:
    volume(tmp_path / "new.zarr", "em", 3)
    configs = [scaled(leaf(tmp_path)), scaled(leaf(tmp_path, "other"), 9.0)]
    config = there(*configs)
    with pytest.raises(ConfigError, match=r"min=0.0, max=5.0.*; .*min=0.0, max=9.0.*nothing says which is right"):
        open_raw(config, LocalArrayIdentifier(tmp_path / "new.zarr", "em"))
    for one, name in zip(configs, ("raw", "other"), strict=True):
        seen = open_raw(config, LocalArrayIdentifier(tmp_path / "train.zarr", name))
        np.testing.assert_array_equal(values_of(seen), values_of(built(one)))
    with pytest.raises(ConfigError, match="nothing says which"):  # one volume in two ways
        open_raw(there(configs[0], scaled(leaf(tmp_path), 7.0)), LocalArrayIdentifier(tmp_path / "train.zarr", "raw"))


@pytest.mark.parametrize(("size", "voxels"), [(4, 20), (8, 40)])
def test_voxels_tell_which_of_several_ways_is_right(
    there: Callable[..., RunConfig], tmp_path: Path, size: int, voxels: int
) -> None:
    """Some training data has voxels of 8, other of 4 that are made twice as large."""
    coarse = np.random.default_rng(0).integers(0, 6, (40, 40)).astype(np.uint8)
    write_array(tmp_path / "coarse.zarr", "raw", coarse, SIZE * 2, OFFSET)
    resampled = ResampledArrayConfig("r", leaf(tmp_path), Coordinate(0, 0), Coordinate(2, 2), True)
    config = there(scaled(leaf(tmp_path, "raw", "coarse.zarr")), scaled(resampled))
    new = write_array(tmp_path / "new.zarr", "em", coarse, Coordinate(size, size), OFFSET)
    seen = open_raw(config, new)
    assert seen.voxel_size == SIZE * 2
    assert seen.roi.shape == SIZE * 2 * voxels
    shutil.rmtree(tmp_path / "coarse.zarr")
    shutil.rmtree(tmp_path / "train.zarr")  # nothing tells the voxel size of the training any more
    with pytest.raises(ConfigError, match="nothing says which is right"):
        open_raw(config, new)


# How files are read


def test_axes_given_in_training_hold(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    """Both volumes lie x, y on disk, and say that they lie y, x."""
    config = scaled(leaf(tmp_path, axes=["x", "y"]))
    volume(tmp_path / "new.zarr", "em", 3)
    seen = open_raw(there(config), LocalArrayIdentifier(tmp_path / "new.zarr", "em"))
    assert seen.axes == ["x", "y"]

    concat = ConcatArrayConfig("c", ["a", "b"], {"a": config, "b": config})
    assert open_raw(there(concat), LocalArrayIdentifier(tmp_path / "new.zarr", "em")).axes == ["c", "x", "y"]


def test_axes_of_a_file_without_metadata_hold(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    for container in ("train.zarr", "new.zarr"):
        array = zarr.open_group(str(tmp_path / container), mode="a").create_dataset(
            "bare", shape=(44, 40, 2), dtype="u1"
        )
        array.attrs.put({"resolution": [4, 4], "offset": [0, 0]})
    config = there(scaled(leaf(tmp_path, "bare", axes=["y", "x", "c"])), fmaps_in=2)
    seen = open_raw(config, LocalArrayIdentifier(tmp_path / "new.zarr", "bare"))
    assert (seen.axes, seen.num_channels) == (["y", "x", "c"], 2)


def test_axes_for_another_number_of_them_are_refused(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = there(scaled(leaf(tmp_path, "channels", axes=["c", "y", "x"])))
    volume(tmp_path / "new.zarr", "em", 3)
    with pytest.raises(ConfigError, match=r"trained with axes \['c', 'y', 'x'\], which new.zarr/em cannot"):
        open_raw(config, LocalArrayIdentifier(tmp_path / "new.zarr", "em"))


def test_axes_in_which_datasets_differ_are_refused(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = there(scaled(leaf(tmp_path, axes=["x", "y"])), scaled(leaf(tmp_path, "other")))
    volume(tmp_path / "new.zarr", "em", 3)
    with pytest.raises(ConfigError, match=r"'axes': \['x', 'y'\].*nothing says which is right for new.zarr/em"):
        open_raw(config, LocalArrayIdentifier(tmp_path / "new.zarr", "em"))
    assert open_raw(config, LocalArrayIdentifier(tmp_path / "train.zarr", "raw")).axes == ["x", "y"]
    said = config_for(tmp_path / "new.zarr", "em", axes=["x", "y"])
    assert open_raw(config, said).axes == ["x", "y"]
    agreeing = there(scaled(leaf(tmp_path, axes=["y", "x"])), scaled(leaf(tmp_path, "other")))
    assert open_raw(agreeing, LocalArrayIdentifier(tmp_path / "new.zarr", "em")).axes == ["y", "x"]


HELD = {"voxel_size": Coordinate(6, 3), "offset": Coordinate(-12, 60)}
HELD_ROI = Roi(HELD["offset"], (40 * 6, 44 * 3))


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("name", ["scaled", "concat", "sum", "several: concat", "several: sum"])
def test_voxel_size_and_offset_given_in_training_hold(
    there: Callable[..., RunConfig], tmp_path: Path, name: str, bare: bool, copied: bool
) -> None:
    """The files are wrong about both, or say nothing."""
    make = CHAINS.get(name) or SEVERAL[name.removeprefix("several: ")]
    config = there(make(lambda dataset: leaf(tmp_path, dataset, **HELD)))
    if bare:
        for array in zarr.open_group(str(tmp_path / "train.zarr"), mode="r+").values():
            array.attrs.put({"axes": ["y", "x"]})
    container = tmp_path / "train.zarr"
    if copied:
        container = container.rename(tmp_path / "new.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = open_raw(config, LocalArrayIdentifier(container, "raw"))
    assert (seen.voxel_size, seen.roi) == (HELD["voxel_size"], HELD_ROI)


def test_overrides_hold_for_a_volume_with_channels(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    """Two scaled arrays that became channels in training; the axes of all files are told wrongly."""
    config = there(SEVERAL["concat"](lambda dataset: leaf(tmp_path, dataset, axes=["x", "y"], **HELD)))
    trained_on = built(SEVERAL["concat"](lambda dataset: leaf(tmp_path, dataset, axes=["x", "y"], **HELD)))
    stacked = np.stack([values_of(built(leaf(tmp_path, name))) for name in ("raw", "other")])
    new = write_array(tmp_path / "new.zarr", "both", stacked, SIZE, OFFSET)
    seen = open_raw(config, new)
    assert (seen.axes, seen.voxel_size, seen.roi) == (["c", "x", "y"], HELD["voxel_size"], HELD_ROI)
    np.testing.assert_array_equal(values_of(seen), values_of(trained_on))

    differing = {"raw": {"voxel_size": SIZE, "offset": OFFSET}, "other": {}}
    config = there(SEVERAL["concat"](lambda dataset: leaf(tmp_path, dataset, **differing[dataset])))
    with pytest.raises(ConfigError, match=r"read in different ways \(voxel_size .*; files that say all themselves\)"):
        open_raw(config, new)


def test_different_offsets_are_places_of_files(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = there(scaled(leaf(tmp_path, offset=(400, 4))), scaled(leaf(tmp_path, "other", offset=(4, 400))))
    volume(tmp_path / "new.zarr", "em", 3)
    assert open_raw(config, LocalArrayIdentifier(tmp_path / "new.zarr", "em")).roi.offset == OFFSET
    assert open_raw(config, LocalArrayIdentifier(tmp_path / "train.zarr", "other")).roi.offset == (4, 400)


def test_a_config_says_itself_how_its_volume_is_read(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    volume(tmp_path / "new.zarr", "em", 3)
    new = config_for(tmp_path / "new.zarr", "em", offset=(0, 0), voxel_size=SIZE * 2)
    seen = open_raw(there(scaled(leaf(tmp_path, **HELD))), new)
    assert (seen.voxel_size, seen.roi.offset) == (SIZE * 2, (0, 0))
    np.testing.assert_array_equal(values_of(seen), values_of(built(scaled(leaf(tmp_path, "em", "new.zarr")))))
    own = config_for(tmp_path / "train.zarr", "raw", offset=(0, 0))
    seen = open_raw(there(scaled(leaf(tmp_path, **HELD))), own)
    assert (seen.voxel_size, seen.roi.offset) == (HELD["voxel_size"], (0, 0))


def test_what_a_file_of_another_format_lacks_is_as_in_training(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    file = tmp_path / "raw.tif"
    tifffile.imwrite(file, np.random.default_rng(0).integers(0, 6, SHAPE).astype(np.uint8))
    config = there(scaled(TiffArrayConfig("raw", file, OFFSET, SIZE, ["y", "x"])))
    volume(tmp_path / "new.zarr", "em", 3)
    zarr.open_array(str(tmp_path / "new.zarr" / "em")).attrs.put({"offset": [8, 8]})
    seen = open_raw(config, LocalArrayIdentifier(tmp_path / "new.zarr", "em"))
    assert (seen.axes, seen.voxel_size, seen.roi.offset) == (["y", "x"], SIZE, (8, 8))


@pytest.mark.parametrize(("size", "voxels"), [(4, 40), (8, 20), (16, 40)])
def test_of_an_image_the_level_that_was_trained_on_is_read(
    there: Callable[..., RunConfig], tmp_path: Path, size: int, voxels: int
) -> None:
    """The finest one stands for voxels that no level has."""
    values = np.zeros((40, 40), np.uint8)
    write_array(tmp_path / "trained.zarr", "em", values, Coordinate(size, size), OFFSET)
    group = zarr.open_group(str(tmp_path / "new.zarr"), mode="w").create_group("em")
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "yx"]
    levels = []
    for level, step in (("s0", 1), ("s1", 2)):
        group.create_dataset(level, data=values[::step, ::step])
        scale = {"type": "scale", "scale": [4.0 * step, 4.0 * step]}
        levels.append({"path": level, "coordinateTransformations": [scale]})
    group.attrs["multiscales"] = [{"axes": axes, "datasets": levels}]
    config = there(scaled(leaf(tmp_path, "em", "trained.zarr")))
    seen = open_raw(config, LocalArrayIdentifier(tmp_path / "new.zarr", "em"))
    assert seen.roi.shape / seen.voxel_size == (voxels, voxels)


def test_a_point_in_time_is_chosen_as_in_training(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    """Time lies between 0.1 s, which is no whole number."""
    values = np.random.default_rng(0).integers(0, 6, (3, 2, *SHAPE)).astype(np.uint8)
    axes = [{"name": "t", "type": "time", "unit": "second"}, {"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "nanometer"} for name in "yx"]
    for container in ("time.zarr", "new.zarr"):
        group = zarr.open_group(str(tmp_path / container), mode="w")
        group.create_dataset("0", data=values)
        scale = {"type": "scale", "scale": [0.1, 1.0, 4.0, 4.0]}
        group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}]
    point = config_for(tmp_path / "time.zarr", select={"t": -1})
    assert isinstance(point, SelectArrayConfig)
    config = there(scaled(point), fmaps_in=2)
    chosen = config_for(tmp_path / "new.zarr", select={"t": 0})
    np.testing.assert_allclose(values_of(open_raw(config, chosen)), values[0] / np.float32(5))
    for container in ("time.zarr", "new.zarr"):
        seen = open_raw(config, LocalArrayIdentifier(tmp_path / container, "0"))
        assert (seen.axes, seen.voxel_size) == (["c", "y", "x"], SIZE)
        np.testing.assert_allclose(values_of(seen), values[2] / np.float32(5))


def test_a_tiff_gives_way_to_a_volume(
    there: Callable[..., RunConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "raw.tif"
    tifffile.imwrite(file, np.random.default_rng(0).integers(0, 6, SHAPE).astype(np.uint8))
    config = scaled(TiffArrayConfig("raw", file, OFFSET, SIZE, ["y", "x"]))
    new = write_array(tmp_path / "new.zarr", "em", tifffile.imread(file), SIZE, OFFSET)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(values_of(open_raw(there(config), new)), values_of(built(config)))
    assert not caplog.records


def test_a_volume_that_is_not_there(there: Callable[..., RunConfig], tmp_path: Path) -> None:
    for config in (scaled(leaf(tmp_path, axes=["y", "x"])), SEVERAL["concat"](lambda dataset: leaf(tmp_path, dataset))):
        with pytest.raises(ArrayNotFoundError):
            open_raw(there(config), LocalArrayIdentifier(tmp_path / "missing.zarr", "em"))
