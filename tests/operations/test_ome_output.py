"""Results are OME-NGFF images: the array is where it was asked for, its smaller levels are beside it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from funlib.geometry import Coordinate, Roi

from dacapo.apply import Applied, apply
from dacapo.blockwise import pyramid, segment_blockwise
from dacapo.blockwise.journal import Resume
from dacapo.blockwise.pyramid import Downsample, write_image
from dacapo.cli import cli
from dacapo.compute_context import Execution
from dacapo.errors import BlockwiseError, ConfigError, OutputExistsError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, ZarrArrayConfig
from dacapo.experiments.datasplits.datasets.arrays.world import World
from dacapo.experiments.run import Run
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers import ome_tools
from tests.helpers.ome_schema import check_ome_group
from tests.helpers.runs import stored_run
from tests.helpers.volumes import cells, write_array

SEGMENT = """
def segment_function(input_array, roi):
    values = input_array[roi]
    return (values > 128).astype("uint64")
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make several levels of small arrays."""
    monkeypatch.setattr(pyramid, "COARSEST", 16)


def checked(group: Path) -> dict[str, Any]:
    """Return the attributes of a group, which are valid."""
    opened = zarr.open_group(str(group), mode="r")
    attributes = json.loads((group / ".zattrs").read_text())
    check_ome_group(attributes, {name: array.ndim for name, array in opened.arrays()})
    return attributes


def paths(image: dict[str, Any]) -> list[str]:
    return [level["path"] for level in image["datasets"]]


def transformations(image: dict[str, Any]) -> list[tuple[list[float], list[float]]]:
    pairs = (level["coordinateTransformations"] for level in image["datasets"])
    return [(scale["scale"], translation["translation"]) for scale, translation in pairs]


def made(
    path: Path, values: np.ndarray, dataset: str = "cells", size: Any = (4, 4), parts: int = 1, unit: str = "nm",
    axes: str = "yx",
) -> LocalArrayIdentifier:  # fmt: skip
    identifier = LocalArrayIdentifier(path, dataset)
    dims = len(size)
    shape = Coordinate(values.shape[-dims:]) * Coordinate(size)
    array = ZarrArray.create_from_array_identifier(
        identifier, list(axes), Roi(Coordinate(size) * 10, shape), values.shape[0] if "c" in axes else None,
        Coordinate(size), values.dtype, write_size=Coordinate((8,) * dims) * Coordinate(size),
        world=World((unit,) * dims, parts),
    )  # fmt: skip
    array[array.roi] = values
    array.add_metadata({"dacapo": {}})
    return identifier


def image_of(path: Path, values: np.ndarray, is_labels: bool = False, **how: Any) -> dict[str, Any]:
    write_image(made(path, values, **how), Execution(num_workers=1), is_labels)
    return checked(path)


@pytest.mark.usefixtures("small", "options")
def test_levels_are_means_that_lie_where_the_first_does(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 256, (3, 41, 30), dtype=np.uint8)
    (image,) = image_of(tmp_path / "a.zarr", values, size=(524, 450), parts=100, axes="cyx")["multiscales"]
    assert paths(image) == ["cells", "cells_s1", "cells_s2"]
    assert image["axes"][1] == {"name": "y", "type": "space", "unit": "nanometer"}
    assert transformations(image)[0] == ([1, 5.24, 4.5], [0, 52.4, 45])
    assert transformations(image)[1] == ([1, 10.48, 9], [0, 55.02, 47.25])
    padded = np.pad(values, ((0, 0), (0, 1), (0, 0)), mode="edge").astype(float)
    expected = np.rint(padded.reshape(3, 21, 2, 15, 2).mean(axis=(2, 4)))
    levels = [open_(tmp_path / "a.zarr", name) for name in paths(image)]
    np.testing.assert_array_equal(levels[1].data[...], expected)
    assert {level.roi.begin for level in levels} == {levels[0].roi.begin}
    assert [level.spacing for level in levels] == [(5.24, 4.5), (10.48, 9), (20.96, 18)]


def open_(container: Path, dataset: str) -> ZarrArray:
    return ZarrArray(ZarrArrayConfig("level", container, dataset, mode="r"))


@pytest.mark.usefixtures("small", "options")
@pytest.mark.parametrize(("unit", "named"), [("um", "micrometer"), ("px", None), ("", None)])
def test_labels_keep_their_ids_and_units_their_names(tmp_path: Path, unit: str, named: str | None) -> None:
    labels = np.kron(np.random.default_rng(0).integers(0, 9, (12, 12)), np.ones((3, 3))).astype(np.uint64) * 10**15
    write_image(made(tmp_path / "a.zarr", labels, "labels/cells/s0", unit=unit), Execution(num_workers=1), True)
    attributes = checked(tmp_path / "a.zarr" / "labels" / "cells")
    (image,) = attributes["multiscales"]
    assert paths(image) == ["s0", "s1", "s2"]
    assert attributes["image-label"] == {"version": "0.4"}
    assert json.loads((tmp_path / "a.zarr/labels/.zattrs").read_text()) == {"labels": ["cells"]}
    assert [axis.get("unit") for axis in image["axes"]] == [named] * 2
    smaller = open_(tmp_path / "a.zarr", "labels/cells/s1").data[...]
    assert set(np.unique(smaller)) <= set(np.unique(labels))
    assert smaller.dtype == np.uint64


@pytest.mark.usefixtures("small", "options")
@pytest.mark.parametrize(("size", "numbers"), [(0.00524, [5.24, 5.24]), (0.004, [4, 4])])
def test_micrometers_that_are_nanometers_inside_are_micrometers_for_viewers(
    tmp_path: Path, size: float, numbers: list[float]
) -> None:
    group = zarr.open_group(str(tmp_path / "in.zarr"))
    group.create_dataset("0", data=cells((40, 40))[0])
    scale = [{"type": "scale", "scale": [size] * 2}]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    source = open_(tmp_path / "in.zarr", "0")
    identifier = LocalArrayIdentifier(tmp_path / "out.zarr", "made")
    for made_from in (source, source):  # the second time in place of the first
        array = ZarrArray.create_from_array_identifier(
            identifier, ["y", "x"], made_from.roi, None, made_from.voxel_size, np.uint8, overwrite=True,
            world=made_from.world,
        )  # fmt: skip
        array.add_metadata({"dacapo": {}})
        write_image(identifier, Execution(num_workers=1), False)
    assert (array.attrs["resolution"], array.attrs["units"]) == (numbers, ["nm", "nm"])
    (image,) = checked(tmp_path / "out.zarr")["multiscales"]
    assert [axis["unit"] for axis in image["axes"]] == ["micrometer"] * 2
    assert transformations(image)[1] == ([2 * size] * 2, [size / 2] * 2)
    assert open_(tmp_path / "out.zarr", "made_s1").spacing == tuple(2 * number for number in numbers)


@pytest.mark.usefixtures("small", "options")
def test_axes_with_short_voxels_are_halved_first(tmp_path: Path) -> None:
    values = np.zeros((20, 60, 60), np.float32)
    (image,) = image_of(tmp_path / "a.zarr", values, size=(40, 4, 4), axes="zyx")["multiscales"]
    sizes = [scale for scale, _ in transformations(image)]
    assert sizes == [[40, 4, 4], [40, 8, 8], [40, 16, 16], [40, 32, 32], [80, 64, 64]]
    assert open_(tmp_path / "a.zarr", "cells_s4").data.shape == (10, 4, 4)


@pytest.mark.usefixtures("small", "options")
@pytest.mark.parametrize("axes", ["yxc", "x"])
def test_what_the_format_has_no_place_for_stays_as_it_is(tmp_path: Path, axes: str) -> None:
    path = tmp_path / "a.zarr"
    sizes = {"y": 40, "x": 40, "c": 2}
    array = zarr.open_group(str(path)).create_dataset("raw", shape=[sizes[axis] for axis in axes], dtype="u1")
    array.attrs.put({"axes": list(axes), "resolution": [4] * (len(axes) - axes.count("c"))})
    with pytest.warns(UserWarning, match="offset"):
        write_image(LocalArrayIdentifier(path, "raw"), Execution(num_workers=1), False)
    assert [name for name, _ in zarr.open_group(str(path)).arrays()] == ["raw"]


@pytest.mark.usefixtures("small", "options")
def test_an_interrupted_pyramid_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identifier = made(tmp_path / "a.zarr", cells((60, 60))[0])
    done: list[Any] = []
    process = Downsample.process

    def stops(self: Downsample, block: Any) -> None:
        if len(done) == 5:
            raise KeyboardInterrupt
        process(self, block)
        done.append((self.output.dataset, block.write_roi))

    monkeypatch.setattr(Downsample, "process", stops)
    execution = Execution(num_workers=1, resume=Resume.UNFINISHED)
    with pytest.raises((KeyboardInterrupt, BlockwiseError)):
        write_image(identifier, execution, False)
    assert not (tmp_path / "a.zarr" / ".zattrs").exists()
    done.append(None)  # no longer 5
    write_image(identifier, execution, False)
    assert len(done) == len({str(one) for one in done})  # nothing was done twice
    before = len(done)
    write_image(identifier, execution, False)
    assert len(done) == before
    checked(tmp_path / "a.zarr")


@pytest.mark.usefixtures("small", "options")
def test_a_new_result_drops_the_levels_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write_image(made(path, cells((40, 40))[0], "one"), Execution(num_workers=1), False)
    write_image(made(path, cells((40, 40))[0], "two"), Execution(num_workers=1), False)
    assert [image["name"] for image in checked(path)["multiscales"]] == ["one", "two"]
    identifier = LocalArrayIdentifier(path, "one")
    made_anew = Roi((0, 0), (400, 400))
    ZarrArray.create_from_array_identifier(
        identifier, ["y", "x"], made_anew, None, Coordinate(4, 4), np.uint8, overwrite=True
    ).add_metadata({"dacapo": {}})
    assert [image["name"] for image in checked(path)["multiscales"]] == ["two"]
    assert open_(path, "one").roi == made_anew
    write_image(identifier, Execution(num_workers=1), False)
    assert open_(path, "one_s1").data.shape == (50, 50)


@pytest.mark.usefixtures("small", "options")
def test_arrays_and_images_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    theirs = {"version": "0.4", "axes": [{"name": n, "type": "space"} for n in "yx"], "datasets": [
        {"path": "raw", "coordinateTransformations": [{"type": "scale", "scale": [4, 4]}]}]}  # fmt: skip
    zarr.open_group(str(path)).create_dataset("raw", shape=(8, 8), dtype="u1")
    zarr.open_group(str(path)).attrs.put({"multiscales": [theirs], "note": "mine"})
    attributes = image_of(path, cells((40, 40))[1], True)
    assert attributes["multiscales"][0] == theirs
    assert attributes["note"] == "mine"
    assert "image-label" not in attributes
    zarr.open_group(str(path)).create_dataset("other_s1", shape=(8, 8), dtype="u1")
    with pytest.raises(OutputExistsError, match="was not written by dacapo"):
        write_image(made(path, cells((40, 40))[0], "other"), Execution(num_workers=1), False)


# Whole operations


@pytest.fixture
def applied(options: Any, small: None, tmp_path: Path) -> Applied:
    run: Run = stored_run(tmp_path)
    volume = write_array(tmp_path / "new.zarr", "raw", cells((64, 60))[0], Coordinate(4, 4), Coordinate(40, 40))
    parameters = str(next(iter(run.task.parameters)))
    chosen: dict[str, Any] = {"iteration": 1, "parameters": parameters, "num_workers": 1}
    return apply(run, volume.container, "raw", tmp_path / "out.zarr", **chosen)


def test_apply_writes_an_image_with_its_labels(applied: Applied) -> None:
    container = applied.output.container
    image = checked(container)["multiscales"][0]
    assert paths(image) == ["prediction_affinities_1", "prediction_affinities_1_s1", "prediction_affinities_1_s2"]
    assert [axis["type"] for axis in image["axes"]] == ["channel", "space", "space"]
    labels = checked((container / applied.output.dataset).parent)
    assert labels["image-label"] == {"version": "0.4", "source": {"image": "../../"}}
    names = json.loads((container / "labels" / ".zattrs").read_text())["labels"]
    assert f"labels/{names[0]}/s0" == applied.output.dataset
    for identifier in (applied.prediction, applied.output):
        array = zarr.open(str(identifier.container), mode="r")[identifier.dataset]
        assert (array.attrs["offset"], array.attrs["resolution"]) == ([40, 40], [4, 4])
        assert open_(identifier.container, f"{identifier.dataset.removesuffix('_s0')}").roi == Roi((40, 40), (256, 240))
    scale = open_(container, "prediction_affinities_1_s1").attrs["value_range"]
    assert scale == open_(container, "prediction_affinities_1").attrs["value_range"]


def test_an_output_under_its_former_name_is_kept_in_use(applied: Applied, tmp_path: Path) -> None:
    container = tmp_path / "earlier.zarr"
    former = f"output_affinities_1_{applied.selection.parameters}"
    zarr.open_group(str(container)).create_dataset(former, shape=(64, 60), dtype="u8").attrs.put(
        {"axes": ["y", "x"], "resolution": [4, 4], "offset": [40, 40], "dacapo": {}}
    )
    again = apply("affinities", tmp_path / "new.zarr", "raw", container, iteration=1,
                  parameters=applied.selection.parameters, num_workers=1)  # fmt: skip
    assert again.output.dataset == former
    assert not (container / "labels").exists()


@pytest.mark.parametrize("command", ["predict", "apply", "convert", "segment-blockwise", "run-blockwise"])
def test_levels_can_be_left_out(command: str, small: None, options: Any, tmp_path: Path) -> None:
    run = stored_run(tmp_path)
    write_array(tmp_path / "new.zarr", "raw", cells((64, 60))[0], Coordinate(4, 4), Coordinate(40, 40))
    (tmp_path / "segment.py").write_text(SEGMENT)
    source, target = [str(tmp_path / "new.zarr"), "raw"], str(tmp_path / "out.zarr")
    blocks = ["-rr", "[128,128]", "-wr", "[128,128]", "-nw", "1"]
    (tmp_path / "work.py").write_text("def process_block(block, **names):\n    pass\n")
    invert = str(tmp_path / "work.py")
    arguments = {
        "predict": [run.name, "1", *source, target],
        "apply": [
            run.name, *source, target, "--iteration", "1", "--parameters", str(next(iter(run.task.parameters))),
        ],
        "convert": ["/".join(source), target],
        "segment-blockwise": [*source, target, "cells/s0", str(tmp_path / "segment.py"), *blocks],
        "run-blockwise": [*source, target, "out", invert, *blocks, "-dt", "float32"],
    }[command]  # fmt: skip
    result = CliRunner().invoke(cli, [command, *arguments, "--no-pyramid"])
    assert result.exit_code == 0, result.output
    array = Path(result.output.strip().splitlines()[-1])
    assert [level for image in checked(array.parent)["multiscales"] for level in paths(image)] == [array.name]
    assert [folder.name for folder in array.parent.iterdir() if "_s1" in folder.name or folder.name == "s1"] == []


def test_predict_and_segment_write_images_at_the_names_given(applied: Applied, tmp_path: Path) -> None:
    made_here = LocalArrayIdentifier(tmp_path / "p.zarr", "volumes/affs")
    predict("affinities", 1, tmp_path / "new.zarr", "raw", made_here, num_workers=1)
    assert paths(checked(tmp_path / "p.zarr" / "volumes")["multiscales"][0])[0] == "affs"
    (tmp_path / "segment.py").write_text(SEGMENT)
    block = Roi((0, 0), (128, 120))
    segment_blockwise(
        str(tmp_path / "segment.py"), Coordinate(4, 4), Roi((40, 40), (256, 240)), block, block, num_workers=1,
        input_array_identifier=LocalArrayIdentifier(tmp_path / "new.zarr", "raw"),
        output_array_identifier=LocalArrayIdentifier(tmp_path / "seg.zarr", "cells"),
    )  # fmt: skip
    attributes = checked(tmp_path / "seg.zarr")
    assert attributes["image-label"] == {"version": "0.4"}
    assert paths(attributes["multiscales"][0]) == ["cells", "cells_s1", "cells_s2"]
    assert attributes["multiscales"][0]["type"] == "mode"


@pytest.mark.usefixtures("small", "options")
@pytest.mark.parametrize(("dtype", "levels"), [("uint8", 1), ("float32", 3), ("uint64", 3)])
def test_results_of_worker_files_are_images_too(tmp_path: Path, dtype: str, levels: int) -> None:
    """Small integers may be labels or intensities, which are made smaller in different ways, so they are not."""
    write_array(tmp_path / "new.zarr", "raw", cells((64, 60))[0], Coordinate(4, 4), Coordinate(40, 40))
    arguments = [str(tmp_path / "new.zarr"), "raw", str(tmp_path / "out.zarr"), "mask"]
    options = ["-rr", "128,120", "-wr", "128,120", "-nw", "1", "-dt", dtype, "--threshold", "100"]
    worker = ["-w", "dacapo.blockwise.threshold_worker"]
    result = CliRunner().invoke(cli, ["run-blockwise", *arguments, *worker, *options])
    assert result.exit_code == 0, result.output
    attributes = checked(tmp_path / "out.zarr")
    assert len(paths(attributes["multiscales"][0])) == levels
    assert ("image-label" in attributes) == (dtype == "uint64")


@pytest.fixture
def sharded(options: Any, small: None, tmp_path: Path) -> Applied:
    """The same in Zarr v3 and v2."""
    run: Run = stored_run(tmp_path)
    write_array(tmp_path / "new.zarr", "raw", cells((64, 60))[0], Coordinate(4, 4), Coordinate(40, 40))
    chosen: dict[str, Any] = {"iteration": 1, "parameters": str(next(iter(run.task.parameters))), "num_workers": 1}
    made = apply("affinities", tmp_path / "new.zarr", "raw", tmp_path / "v3.zarr", file_format="zarr3", **chosen)
    apply("affinities", tmp_path / "new.zarr", "raw", tmp_path / "v2.zarr", **chosen)
    return made


def test_zarr_v3_holds_the_same_in_shards(sharded: Applied, tmp_path: Path) -> None:
    header = json.loads((tmp_path / "v3.zarr" / sharded.prediction.dataset / "zarr.json").read_text())
    assert header["codecs"][0]["name"] == "sharding_indexed"
    assert header["dimension_names"] == ["c", "y", "x"]
    names = [sharded.prediction.dataset, f"{sharded.prediction.dataset}_s2", sharded.output.dataset]
    for name in [*names, sharded.output.dataset.replace("s0", "s2")]:
        one, other = (open_(tmp_path / container, name) for container in ("v3.zarr", "v2.zarr"))
        np.testing.assert_array_equal(one[one.roi], other[other.roi])
        assert one.world == other.world
        assert {**one.attrs, "dacapo_record": 0} == {**other.attrs, "dacapo_record": 0}
    for group in ("", str(Path(sharded.output.dataset).parent)):
        own = json.loads((tmp_path / "v3.zarr" / group / "zarr.json").read_text())["attributes"]["ome"]
        theirs = json.loads((tmp_path / "v2.zarr" / group / ".zattrs").read_text())
        assert own.pop("version") == "0.5"
        for part in theirs.get("multiscales", []):
            assert part.pop("version") == "0.4"
        theirs.get("image-label", {}).pop("version", None)
        assert own == {key: theirs[key] for key in theirs if key in ("multiscales", "image-label")}
    long_name = f"output_affinities_1_{sharded.selection.parameters}"
    assert open_(tmp_path / "v3.zarr", long_name).roi == Roi((40, 40), (256, 240))


def test_a_container_keeps_its_version(sharded: Applied, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not Zarr v3"):
        predict("affinities", 1, tmp_path / "new.zarr", "raw", tmp_path / "v2.zarr", file_format="zarr3")
    with pytest.raises(ConfigError, match="'zarr' or 'zarr3', not as 'hdf5'"):
        predict("affinities", 1, tmp_path / "new.zarr", "raw", tmp_path / "v4.zarr", file_format="hdf5")
    before = open_(tmp_path / "v3.zarr", sharded.prediction.dataset).attrs["dacapo_record"]
    again = predict("affinities", 1, tmp_path / "new.zarr", "raw", tmp_path / "v3.zarr", num_workers=2)
    array = open_(tmp_path / "v3.zarr", again.dataset)
    assert array.attrs["dacapo_record"] != before
    assert np.any(array[array.roi])


@pytest.mark.skipif("DACAPO_TEST_OME_PYTHON" not in os.environ, reason="needs DACAPO_TEST_OME_PYTHON, see ome_tools")
def test_the_tools_of_others_read_the_same(sharded: Applied, tmp_path: Path) -> None:
    containers = [tmp_path / name for name in ("v2.zarr", "v3.zarr")]
    groups = [group for one in containers for group in (one, (one / sharded.output.dataset).parent)]
    command = [os.environ["DACAPO_TEST_OME_PYTHON"], "-W", "ignore", str(ome_tools.__file__), *map(str, groups)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    seen = [json.loads(line) for line in subprocess.check_output(command, text=True, env=environment).splitlines()]
    for group, found in zip(groups, seen, strict=True):
        assert found["levels"], group
        for name, (shape, dtype, total) in found["levels"].items():
            array = open_(group, name)
            values = array[array.roi]
            assert (list(values.shape), str(values.dtype), int(values.astype("f8").sum())) == (shape, dtype, total)
