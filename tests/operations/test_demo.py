"""The demo, from made-up data and from data of a user to table and picture, and its commands."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from funlib.geometry import Coordinate, Roi

from dacapo.cli import cli
from dacapo.demo import Demo, demo
from dacapo.demo.data import own_data
from dacapo.demo.script import ITERATIONS_PER_MINUTE
from dacapo.demo.tissue import synthetic_tissue
from dacapo.errors import ConfigError, DtypeError, InputTooSmallError, OutputExistsError, RoiError
from dacapo.experiments.architectures import CNNectomeUNet, CNNectomeUNetConfig
from dacapo.experiments.architectures.architecture import compute_shape
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.defaults.network import INPUT_SIZES
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.volumes import write_array

SHAPES = {"train": (34, 40, 36), "validate": (32, 34, 34), "unseen": (32, 36, 40)}
FEW = 2 / ITERATIONS_PER_MINUTE

pytestmark = pytest.mark.filterwarnings("ignore::dacapo.errors.MetadataWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return demo(tmp_path_factory.mktemp("made") / "demo", minutes=FEW, shapes=SHAPES)


@pytest.fixture
def in_folder(made: Demo, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work inside the demo's folder, as its settings file is found there."""
    monkeypatch.chdir(made.folder)
    monkeypatch.delenv("DACAPO_OPTIONS_FILE", raising=False)
    Options.reset()
    return made.folder


def own_volume(folder: Path, shape: tuple[int, ...] = (34, 36, 80), dtype: str = "uint8") -> tuple[Path, Path]:
    raw, labels = synthetic_tissue(shape, seed=9)
    scaled = raw if dtype == "uint8" else raw.astype(dtype) * 40 + 1000
    for dataset, values in (("volumes/raw", scaled), ("volumes/labels", labels.astype(np.uint64))):
        write_array(folder / "own.zarr", dataset, values, Coordinate(4, 4, 4), Coordinate(40, 0, 8))
    return folder / "own.zarr/volumes/raw", folder / "own.zarr/volumes/labels"


def test_it_leaves_data_that_says_it_is_synthetic(made: Demo) -> None:
    for part, shape in SHAPES.items():
        for dataset, dtype in (("raw", np.uint8), ("labels", np.uint32)):
            array = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(made.folder / f"{part}.zarr", dataset))
            assert array.attrs["synthetic"] is True
            assert array.axes == ["z", "y", "x"]
            assert array.voxel_size == Coordinate(8, 8, 8)
            assert array.roi.shape == Coordinate(shape) * 8
            assert array.dtype == dtype


def test_scores_are_of_the_two_networks(made: Demo) -> None:
    assert made.untrained.iteration == 0
    assert made.trained.iteration in (0, 1, 2)
    for scores in (made.untrained, made.trained):
        assert scores.voi == pytest.approx(scores.voi_split + scores.voi_merge)
        assert 0 < scores.voi < 15
    lines = made.table.splitlines()
    assert lines[0].split() == ["network", "iteration", "voi_split", "voi_merge", "voi"]
    assert [line.split()[0] for line in lines[1:]] == ["untrained", "trained"]


def test_it_writes_a_picture(made: Demo) -> None:
    assert made.picture == made.folder / "demo.png"
    assert made.picture.read_bytes().startswith(b"\x89PNG")


def test_it_leaves_the_settings_of_the_process_alone(options: DaCapoConfig, tmp_path: Path) -> None:
    with pytest.raises(InputTooSmallError):
        demo(tmp_path / "demo", shapes={**SHAPES, "train": (20, 20, 20)})
    assert Options.instance() == options


def test_the_same_again_reuses_everything(made: Demo) -> None:
    weights = {path: path.stat().st_mtime_ns for path in (made.folder / "runs").rglob("*") if path.is_file()}
    again = demo(made.folder, minutes=FEW, shapes=SHAPES)
    assert again == made
    assert {path: path.stat().st_mtime_ns for path in weights} == weights


def test_other_settings_are_refused(made: Demo) -> None:
    with pytest.raises(OutputExistsError, match=r"different settings.*--output.*--overwrite"):
        demo(made.folder, minutes=2 * FEW, shapes=SHAPES)


def test_overwriting_starts_again_and_gives_the_same_numbers(made: Demo, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(made.folder, folder)
    (folder / "notes.txt").write_text("mine")
    checkpoint = next(path for path in (folder / "runs").rglob("*") if path.is_file())
    before = checkpoint.stat().st_mtime_ns
    again = demo(folder, minutes=FEW, shapes=SHAPES, overwrite=True)
    assert (again.untrained, again.trained) == (made.untrained, made.trained)
    assert checkpoint.stat().st_mtime_ns != before
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_folder_with_something_else_is_refused_even_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="--output"):
            demo(tmp_path, minutes=FEW, shapes=SHAPES, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.usefixtures("in_folder")
def test_the_next_steps_work(made: Demo) -> None:
    assert made.next_steps[0].startswith("cd ")
    commands = [shlex.split(line)[1:] for line in made.next_steps[1:]]
    assert [words[0] for words in commands] == ["runs", "validate", "predict", "apply", "train"]
    for words in commands:
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 0, result.output
    assert "trained 2 of 2 iterations" in result.output


def test_data_of_a_user(tmp_path: Path) -> None:
    raw, labels = own_volume(tmp_path)
    done = demo(tmp_path / "demo", raw, labels, minutes=FEW)
    assert done.picture.is_file()
    assert not list(done.folder.glob("train.zarr"))
    output = done.folder / "results.zarr"
    segmentation = next((output / "labels").glob("*/s0")).relative_to(output)
    array = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(output, str(segmentation)))
    assert array.roi == Roi((40, 0, 8 + 64 * 4), (34 * 4, 36 * 4, 16 * 4))
    assert not list(tmp_path.glob("own.zarr/*output*"))


def test_flat_data_of_a_user_with_coarse_rows(tmp_path: Path) -> None:
    raw, labels = (volume[0] for volume in synthetic_tissue((16, 40, 180), seed=2))
    for dataset, values in (("raw", raw), ("labels", labels)):
        write_array(tmp_path / "flat.zarr", dataset, values[:, :170], Coordinate(12, 4), Coordinate(0, 0))
    done = demo(tmp_path / "demo", tmp_path / "flat.zarr/raw", tmp_path / "flat.zarr/labels", minutes=FEW)
    assert done.picture.is_file()
    assert done.trained.voi == pytest.approx(done.trained.voi_split + done.trained.voi_merge)


def test_parts_of_a_users_volume_do_not_overlap(tmp_path: Path) -> None:
    raw, labels = own_volume(tmp_path)
    data = own_data(raw, labels)
    train, validate = build(data.train.gt_config).roi, build(data.validate.gt_config).roi
    assert train == build(data.train.raw_config).roi
    assert train.shape[2] == 48 * 4
    assert train.end[2] == validate.begin[2]
    assert data.unseen_roi is not None
    assert validate.end[2] == data.unseen_roi.begin[2]
    assert data.unseen_roi.end == build(data.validate.raw_config).roi.end


def test_intensities_are_scaled_by_the_range_of_the_type_or_of_the_data(tmp_path: Path) -> None:
    ranges = {}
    for dtype in ("uint8", "uint16", "float32"):
        raw, labels = own_volume(tmp_path / dtype, dtype=dtype)
        values = build(own_data(raw, labels).train.raw_config)
        ranges[dtype] = np.percentile(values[values.roi], (0.5, 99.5))
    assert -0.9 < ranges["uint8"][0] < ranges["uint8"][1] <= 1
    for dtype in ("uint16", "float32"):
        np.testing.assert_allclose(ranges[dtype], (-1, 1), atol=0.04)


@pytest.mark.parametrize("downsampled", [True, False])
@pytest.mark.parametrize("dims", [2, 3])
def test_all_input_sizes_suit_the_network(downsampled: bool, dims: int) -> None:
    smallest, largest, step = INPUT_SIZES[downsampled]
    assert (largest[dims] - smallest) % step == 0
    for size in (smallest, smallest + step, largest[dims]):
        network = CNNectomeUNet(
            CNNectomeUNetConfig(
                name="u",
                input_shape=Coordinate((size,) * dims),
                fmaps_in=1,
                fmaps_out=2,
                num_fmaps=2,
                fmap_inc_factor=2,
                downsample_factors=[Coordinate((3 if downsampled else 1,) * dims)],
            )
        )
        assert min(compute_shape(network, 1, network.input_shape)[1]) >= 4


def test_one_of_raw_and_labels_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both raw data and labels"):
        demo(tmp_path / "demo", raw=tmp_path / "a.zarr/raw")
    assert not (tmp_path / "demo").exists()


def test_labels_of_another_place_are_refused(tmp_path: Path) -> None:
    raw, labels = own_volume(tmp_path)
    write_array(tmp_path / "own.zarr", "short", np.ones((34, 36, 79), np.uint64), Coordinate(4, 4, 4))
    with pytest.raises(RoiError, match="the same region"):
        demo(tmp_path / "demo", raw, labels.parent.parent / "short")
    assert not (tmp_path / "demo").exists()


def test_labels_that_are_no_whole_numbers_are_refused(tmp_path: Path) -> None:
    raw, _ = own_volume(tmp_path)
    write_array(tmp_path / "own.zarr", "volumes/floats", np.ones((34, 36, 80), np.float32), Coordinate(4, 4, 4))
    with pytest.raises(DtypeError, match="must be integers"):
        demo(tmp_path / "demo", raw, raw.parent / "floats")


def test_a_small_volume_is_refused(tmp_path: Path) -> None:
    raw, labels = own_volume(tmp_path, shape=(20, 40, 60))
    with pytest.raises(InputTooSmallError, match="larger volume"):
        demo(tmp_path / "demo", raw, labels)
    assert not (tmp_path / "demo").exists()


def test_a_users_data_inside_the_folder_is_not_put_at_risk(tmp_path: Path) -> None:
    raw, labels = own_volume(tmp_path)
    with pytest.raises(ConfigError, match="--output"):
        demo(tmp_path, raw, labels, overwrite=True)
    assert raw.is_dir()


def test_errors_on_the_command_line_are_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["demo", "--raw", str(tmp_path / "a"), "--labels", str(tmp_path / "b")])
    assert result.exit_code == 1
    assert result.output.strip().count("\n") == 0
    assert f"{tmp_path / 'a'} does not exist" in result.output
