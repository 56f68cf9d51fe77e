"""The command line: it works, and every mistake is one line that says what was given and what was expected."""

from __future__ import annotations

import inspect
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result
from funlib.geometry import Coordinate

import dacapo
import dacapo.predict
import dacapo.validate
from dacapo.apply import Applied
from dacapo.cli import cli
from dacapo.errors import DacapoError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store
from dacapo.train import train
from tests.helpers.runs import affinities_run_config
from tests.helpers.volumes import cells, stored_values, write_array


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder with a trained and validated run, and its data beside it."""
    from dacapo.options import Options

    base = tmp_path_factory.mktemp("trained")
    Options.reset()
    Options.instance(runs_base_dir=base)
    config = affinities_run_config(base / "data", num_iterations=4, validation_interval=2)
    create_config_store().store_run_config(config)
    train(config.name)
    raw, _ = cells((40, 44, 40), seed=7)
    write_array(base / "data" / "new.zarr", "raw", raw)
    Options.reset()
    return base


def run_cli(base: Path, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["--runs-dir", str(base), *map(str, arguments)])


def test_runs_are_listed(trained: Path) -> None:
    result = run_cli(trained, "runs")
    assert result.exit_code == 0
    assert re.search(r"affinities\s+4 of 4\s+4", result.output)


def test_a_run_that_cannot_be_read_hides_no_other(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = trained / "configs" / "runs" / "broken.yaml"
    broken.write_text("__type__: RunConfig\n")
    try:
        result = run_cli(trained, "runs")
    finally:
        broken.unlink()
    assert result.exit_code == 0, result.output
    assert re.search(r"affinities\s+4 of 4\s+4\nbroken\s+0 of \?\s+none", result.output)
    assert "broken.yaml: RunConfig cannot be read" in caplog.text


def test_train_goes_on_and_says_how_far(trained: Path) -> None:
    result = run_cli(trained, "train", "affinities")
    assert result.exit_code == 0, result.output
    assert "trained 4 of 4 iterations" in result.output


@pytest.mark.parametrize("options", [[], ["--num-workers", 2, "--max-memory", "8GB"]])
def test_validate_prints_the_scores(trained: Path, options: list[object]) -> None:
    result = run_cli(trained, "validate", "affinities", 4, *options)
    assert result.exit_code == 0, result.output
    assert re.search(r"validate\s+WatershedPostProcessorParameters\(id=0.*\s+\d+\.\d{4}", result.output)


@pytest.mark.parametrize("command", ["predict", "apply"])
def test_workers_that_were_asked_for_differ_from_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    numbers: list[int] = []
    names = inspect.signature(getattr(dacapo, command)).parameters

    def take(*given: Any, **more: Any) -> LocalArrayIdentifier | Applied:
        numbers.append({**dict(zip(names, given, strict=False)), **more}["num_workers"])
        written = LocalArrayIdentifier(tmp_path, "x")
        return written if command == "predict" else Applied(written, written, None)  # type: ignore[arg-type]

    monkeypatch.setattr(sys.modules[f"dacapo.{command}"], command, take)
    place = ["run", *([1] if command == "predict" else []), tmp_path, "raw", tmp_path]
    for option in ([], ["--num-workers", 30]):
        result = run_cli(tmp_path, command, *place, *option)
        assert result.exit_code == 0, result.output
    assert numbers == [None, 30]


def test_predict_writes_where_it_says(trained: Path, tmp_path: Path) -> None:
    data = trained / "data" / "new.zarr"
    result = run_cli(trained, "predict", "affinities", 4, data, "raw", tmp_path, "--roi", "[80:240,40:200,40:180]")
    assert result.exit_code == 0, result.output
    written = tmp_path / "new.zarr" / "prediction_affinities_4"
    assert result.output.strip().endswith(str(written))
    array = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(tmp_path / "new.zarr", written.name))
    assert array.num_channels == 3
    assert tuple(array.roi.begin) == (80, 40, 40)
    assert tuple(array.roi.end) == (240, 200, 180)


def test_apply_picks_the_best_and_says_why(trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = trained / "data" / "new.zarr"
    result = run_cli(trained, "apply", "affinities", data, "raw", tmp_path / "out.zarr")
    assert result.exit_code == 0, result.output
    assert re.search(r"iteration [24] with Watershed.*: voi [\d.]+ on the validation datasets is the best", caplog.text)
    segmentation = result.output.strip().splitlines()[-1].removeprefix(f"{tmp_path / 'out.zarr'}/")
    array = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(tmp_path / "out.zarr", segmentation))
    assert array.dtype == np.uint64
    assert array.roi.shape == ZarrArray.open_from_array_identifier(LocalArrayIdentifier(data, "raw")).roi.shape


def test_options_say_how_to_read_a_volume(trained: Path, tmp_path: Path) -> None:
    data = LocalArrayIdentifier(trained / "data" / "new.zarr", "raw")
    raw = ZarrArray.open_from_array_identifier(data)
    tifffile.imwrite(tmp_path / "movie.tif", np.stack([0 * stored_values(data), stored_values(data)]))
    size, corner = (",".join(map(str, values)) for values in (raw.voxel_size, raw.roi.offset))
    options = [
        "--axes",
        "tzyx",
        "--voxel-size",
        f"1,{size}",
        "--offset",
        f"0,{corner}",
        "--unit",
        "nm",
        "--select",
        "t=1",
    ]
    for arguments in (["predict", "affinities", 4], ["apply", "affinities"]):
        expected = run_cli(trained, *arguments, data.container, data.dataset, tmp_path / "expected.zarr")
        got = run_cli(trained, *arguments, tmp_path / "movie.tif", ".", tmp_path / "got.zarr", *options)
        assert (expected.exit_code, got.exit_code) == (0, 0), got.output
        arrays = [dacapo.open_array(done.output.strip().splitlines()[-1]) for done in (expected, got)]
        assert arrays[0].roi == arrays[1].roi
        np.testing.assert_array_equal(*(array[array.roi] for array in arrays))


@pytest.mark.destructive
@pytest.mark.parametrize("command", ["validate", "predict", "apply"])
def test_ctrl_c_ends_with_its_own_status(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    place = [] if command == "validate" else [trained / "data" / "new.zarr", "raw", tmp_path]
    iteration = [] if command == "apply" else [4]
    monkeypatch.setattr(
        sys.modules[f"dacapo.{command}"], "predict_array", lambda *_, **__: signal.raise_signal(signal.SIGINT)
    )
    result = run_cli(trained, command, "affinities", *iteration, *place)
    assert result.exit_code == 130
    assert result.stderr.endswith("Error: interrupted; everything saved before is kept\n")


def mistakes(trained: Path, tmp: Path) -> dict[str, tuple[list[object], str]]:
    """Return, by name, a command line that cannot work and what its error must say."""
    data = trained / "data" / "new.zarr"
    raw, _ = cells((40, 44, 40))
    write_array(tmp / "small.zarr", "raw", raw[:20])
    write_array(tmp / "two.zarr", "raw", np.stack([raw, raw]))
    write_array(tmp / "mine.zarr", "prediction_affinities_4", raw)
    (tmp / "locked").mkdir()
    return {
        "unknown run": (["train", "affinites"], "affinities"),
        "unknown checkpoint": (["predict", "affinities", 3, data, "raw", tmp], "3"),
        "missing container": (["predict", "affinities", 4, tmp / "no.zarr", "raw", tmp], "no.zarr"),
        "missing dataset": (["apply", "affinities", data, "rw", tmp], "raw"),
        "roi outside": (
            ["predict", "affinities", 4, data, "raw", tmp, "--roi", "[0:800,0:80,0:80]"],
            "is not inside the data",
        ),
        "roi empty": (["predict", "affinities", 4, data, "raw", tmp, "--roi", "[200:80,40:200,40:180]"], "is empty"),
        "roi malformed": (["apply", "affinities", data, "raw", tmp, "--roi", "1-2"], "begin:end per axis"),
        "foreign output": (
            ["predict", "affinities", 4, data, "raw", tmp / "mine.zarr"],
            "was not written by dacapo",
        ),
        "wrong channels": (["apply", "affinities", tmp / "two.zarr", "raw", tmp], "has 2"),
        "too small": (["apply", "affinities", tmp / "small.zarr", "raw", tmp], r"\(28, 28, 28\) voxels"),
        "unknown criterion": (["apply", "affinities", data, "raw", tmp, "--criterion", "dice"], "voi_split"),
        "unknown dataset": (
            ["apply", "affinities", data, "raw", tmp, "--validation-dataset", "x"],
            "this run's are validate",
        ),
        "unknown parameters": (["apply", "affinities", data, "raw", tmp, "--parameters", "x"], "Watershed"),
        "not validated": (["apply", "affinities", data, "raw", tmp, "--iteration", 3], "no score of 'voi'"),
    }


NAMES = [
    "unknown run", "unknown checkpoint", "missing container", "missing dataset", "roi outside", "roi empty",
    "roi malformed", "foreign output", "wrong channels", "too small", "unknown criterion", "unknown dataset",
    "unknown parameters", "not validated",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_mistakes_are_one_line(trained: Path, tmp_path: Path, name: str) -> None:
    arguments, expected = mistakes(trained, tmp_path)[name]
    before = sorted(p for p in tmp_path.rglob("*"))
    result = run_cli(trained, *arguments)
    assert result.exit_code in (1, 2)
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert re.search(expected, errors[0]), errors[0]
    assert "Traceback" not in result.output
    assert sorted(p for p in tmp_path.rglob("*")) == before, "something was done before the mistake was found"


def test_debug_shows_where_an_error_came_from(trained: Path) -> None:
    result = CliRunner().invoke(cli, ["--log-level", "DEBUG", "--runs-dir", str(trained), "train", "none"])
    assert isinstance(result.exception, DacapoError)


def test_a_command_that_is_repeated_goes_on(trained: Path, tmp_path: Path) -> None:
    command = ["predict", "affinities", 4, trained / "data" / "new.zarr", "raw", tmp_path]
    record = tmp_path / "new.zarr" / ".prediction_affinities_4.blocks" / "parameters.json"

    def made() -> str:
        return str(json.loads(record.read_text())["id"])

    assert run_cli(trained, *command).exit_code == 0
    first = made()
    assert run_cli(trained, *command).exit_code == 0
    assert made() == first
    result = run_cli(trained, *command, "--output-dtype", "float32")
    assert result.exit_code == 1
    assert 'other parameters, so it cannot be resumed: dtype was "uint8", is "float32";' in result.stderr
    assert made() == first
    assert run_cli(trained, *command, "--overwrite").exit_code == 0
    assert made() != first


def test_an_apply_that_is_repeated_keeps_what_is_finished(trained: Path, tmp_path: Path) -> None:
    command = ["apply", "affinities", trained / "data" / "new.zarr", "raw", tmp_path / "out.zarr"]

    def made() -> list[str]:
        records = sorted((tmp_path / "out.zarr").rglob(".*.blocks/parameters.json"))
        return [json.loads(record.read_text())["id"] for record in records]

    assert run_cli(trained, *command).exit_code == 0
    first = made()
    assert len(first) == 2
    result = run_cli(trained, *command)
    assert result.exit_code == 0, result.output
    assert made() == first
    assert run_cli(trained, *command, "--overwrite").exit_code == 0
    assert not set(made()) & set(first)


def test_float_labels_are_refused(options: DaCapoConfig, tmp_path: Path) -> None:
    config = affinities_run_config(tmp_path)
    _, labels = cells((40, 40, 40))
    write_array(tmp_path / "float.zarr", "labels", labels.astype(np.float32))
    dataset = config.datasplit_config.train_configs[0]
    dataset.gt_config = attrs.evolve(dataset.gt_config, file_name=tmp_path / "float.zarr")
    create_config_store().store_run_config(config)
    result = run_cli(options.runs_base_dir, "train", "affinities")
    assert result.exit_code == 1
    assert "float32" in result.stderr
    assert not (options.runs_base_dir / "affinities" / "checkpoints").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that even root cannot write to")
def test_unwritable_folder(trained: Path) -> None:
    result = run_cli(trained, "predict", "affinities", 4, trained / "data" / "new.zarr", "raw", "/proc/dacapo")
    assert result.exit_code == 1
    assert "/proc/dacapo" in result.stderr
    assert "Traceback" not in result.output


def test_output_folder_that_is_a_file(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    data = trained / "data" / "new.zarr"
    result = run_cli(trained, "predict", "affinities", 4, data, "raw", tmp_path / "file" / "out.zarr")
    assert result.exit_code == 1
    assert str(tmp_path / "file") in result.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_warnings_are_one_line(trained: Path, tmp_path: Path) -> None:
    raw, _ = cells((40, 44, 40))
    write_array(tmp_path / "bare.zarr", "raw", raw)
    (tmp_path / "bare.zarr" / "raw" / ".zattrs").unlink()
    command = [sys.executable, "-m", "dacapo.cli", "--runs-dir", trained, "predict", "affinities", 4]
    done = subprocess.run(
        [*map(str, command), str(tmp_path / "bare.zarr"), "raw", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "bare.zarr/raw: no axes in its attributes; assumed z, y, x\n" in done.stderr
    assert all(line.startswith(("WARNING: ", "INFO: ")) for line in done.stderr.splitlines()), done.stderr


def test_help_loads_no_torch() -> None:
    code = (
        "import sys, dacapo.cli, click.testing\n"
        "result = click.testing.CliRunner().invoke(dacapo.cli.cli, ['--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "heavy = {'torch', 'gunpowder', 'skimage', 'daisy', 'zarr'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_dacapo_is_light() -> None:
    code = (
        "import sys, dacapo\n"
        "heavy = {'torch', 'numpy', 'gunpowder', 'zarr'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from dacapo import Options, train\n"
        "import dacapo.train\n"
        "assert callable(dacapo.train) and dacapo.train is train\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_voxels_than_those_of_training_are_warned_of(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw, _ = cells((40, 40, 40), seed=7)
    write_array(tmp_path / "fine.zarr", "raw", raw, voxel_size=Coordinate(4, 4, 4))
    for container, warned in ((trained / "data" / "new.zarr", False), (tmp_path / "fine.zarr", True)):
        caplog.clear()
        result = run_cli(trained, "predict", "affinities", 4, container, "raw", tmp_path / f"{warned}.zarr")
        assert result.exit_code == 0, result.output
        assert ("voxels of (4, 4, 4), the run was trained on (8, 4, 4)" in caplog.text) == warned
