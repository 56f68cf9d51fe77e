"""Every flag of the original, in each of its spellings, beside ours; arguments by position or by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from funlib.geometry import Coordinate, Roi

from dacapo.cli import cli
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.options import Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store
from dacapo.train import train
from tests.helpers.runs import affinities_run_config
from tests.helpers.volumes import cells, write_array

PARAMETERS = "WatershedPostProcessorParameters(id=0, bias=0.1, context=(32, 32, 32))"
ROI, REGION = "[60:140,80:120]", Roi((60, 80), (80, 40))
WORKER = """
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

def opened(container, dataset):
    return ZarrArray.open_from_array_identifier(LocalArrayIdentifier(container, dataset), mode="a")

def process_block(block, input_container, input_dataset, output_container, output_dataset, threshold=0):
    raw, mask = opened(input_container, input_dataset), opened(output_container, output_dataset)
    values = raw[block.write_roi] > threshold
    mask[block.write_roi] = values[None] if mask.num_channels else values
"""
SEGMENT = """
from scipy.ndimage import label

def segment_function(input_array, roi, threshold=0):
    return label(input_array[roi] > threshold)[0]
"""

# Of each flag: its spellings, what is given (None for a flag without a value), the parameter, and its value then.
Row = tuple[tuple[str, ...], str | None, str, Any]
RUN: Row = (("-r", "--run-name"), "affinities", "run_name", "affinities")
ITERATION: Row = (("-i", "--iteration"), "2", "iteration", 2)
WORKERS: Row = (("-w", "--num_workers"), "1", "num_workers", 1)
DTYPE: Row = (("-dt", "--output_dtype"), "uint8", "output_dtype", "uint8")
OVERWRITE: Row = (("-ow", "--overwrite"), None, "overwrite", True)
INPUT: list[Row] = [
    (("-ic", "--input_container"), "new.zarr", "input_container", Path("new.zarr")),
    (("-id", "--input_dataset"), "raw", "input_dataset", "raw"),
]
OUTPUT: Row = (("-op", "--output_path"), "out.zarr", "output_path", Path("out.zarr"))
BLOCKS: list[Row] = [
    *INPUT,
    (("-oc", "--output_container"), "out.zarr", "output_container", Path("out.zarr")),
    (("-od", "--output_dataset"), "blocks", "output_dataset", "blocks"),
    (("-tr", "--total_roi"), ROI, "total_roi", REGION),
    (("-rr", "--read_roi_size"), "[80,80]", "read_roi_size", Coordinate(80, 80)),
    (("-wr", "--write_roi_size"), "[40,40]", "write_roi_size", Coordinate(40, 40)),
    (("-nw", "--num_workers"), "1", "num_workers", 1),
    (("-mr", "--max_retries"), "1", "max_retries", 1),
    (("-t", "--timeout"), "100", "timeout", 100),
    OVERWRITE,
]
FLAGS: dict[str, list[Row]] = {
    "train": [RUN],
    "validate": [RUN, ITERATION, WORKERS, DTYPE, OVERWRITE],
    "apply": [
        RUN, *INPUT, OUTPUT,
        (("-vd", "--validation_dataset"), "validate", "validation_dataset", "validate"),
        (("-c", "--criterion"), "voi", "criterion", "voi"),
        ITERATION,
        (("-p", "--parameters"), PARAMETERS, "parameters", PARAMETERS),
        (("-roi", "--roi"), ROI, "roi", REGION),
        WORKERS, DTYPE, OVERWRITE,
    ],
    "predict": [
        RUN, ITERATION, *INPUT, OUTPUT,
        (("-roi", "--output_roi"), ROI, "output_roi", REGION),
        WORKERS, DTYPE, OVERWRITE,
    ],
    "run-blockwise": [
        *BLOCKS,
        (("-w", "--worker_file"), "worker.py", "worker_file", "worker.py"),
        (("-co", "-channels_out"), "1", "channels_out", 1),
        DTYPE,
    ],
    "segment-blockwise": [
        *BLOCKS,
        (("-sf", "--segment_function_file"), "segment.py", "segment_function_file", "segment.py"),
        (("-c", "--context"), "[8,8]", "context", Coordinate(8, 8)),
        (("-co", "--channels_out"), "1", "channels_out", 1),
    ],
}  # fmt: skip
# Values of flags that are not given; the others are required. The original starts 30 workers where ours finds the
# number, starts over where ours resumes unless told otherwise, and needs the total roi.
BLOCK_DEFAULTS = {"num_workers": 16, "max_retries": 2, "timeout": None, "overwrite": False, "total_roi": None}
DEFAULTS: dict[str, dict[str, Any]] = {
    "train": {},
    "validate": {"num_workers": None, "output_dtype": "uint8", "overwrite": True},
    "apply": {
        "validation_dataset": None, "criterion": "voi", "iteration": None, "parameters": None, "roi": None,
        "num_workers": None, "output_dtype": "uint8", "overwrite": False,
    },
    "predict": {"output_roi": None, "num_workers": None, "output_dtype": "uint8", "overwrite": False},
    "run-blockwise": {**BLOCK_DEFAULTS, "channels_out": None, "output_dtype": "uint8"},
    "segment-blockwise": {**BLOCK_DEFAULTS, "context": None, "channels_out": None},
}  # fmt: skip
WRITTEN = {
    "apply": f"output_affinities_2_{PARAMETERS}",
    "predict": "prediction_affinities_2",
    "run-blockwise": "blocks",
    "segment-blockwise": "blocks",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder with a trained and validated run in two dimensions."""
    base = tmp_path_factory.mktemp("trained")
    Options.reset()
    Options.instance(runs_base_dir=base)
    config = affinities_run_config(base / "data", dims=2, num_iterations=2, validation_interval=2)
    create_config_store().store_run_config(config)
    train(config.name)
    Options.reset()
    return base


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with all that the flags name."""
    write_array(tmp_path / "new.zarr", "raw", cells((40, 44), seed=7)[0], Coordinate(4, 4), Coordinate(40, 40))
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "segment.py").write_text(SEGMENT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_cli(base: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--runs-dir", str(base), *arguments])


def words(row: Row, spelling: str) -> list[str]:
    return [spelling] if row[1] is None else [spelling, row[1]]


def parsed(command: str, *arguments: str) -> dict[str, Any]:
    root = cli.make_context("dacapo", [command], resilient_parsing=False)
    return cli.commands[command].make_context(command, list(arguments), parent=root).params


SPELLINGS = [
    pytest.param(command, row, spelling, id=f"{command} {spelling}")
    for command, rows in FLAGS.items()
    for row in rows
    for name in row[0]
    for spelling in dict.fromkeys((name, name.replace("_", "-")))
]


@pytest.mark.parametrize(("command", "row", "spelling"), SPELLINGS)
def test_a_flag_is_known(command: str, row: Row, spelling: str) -> None:
    others = [word for other in FLAGS[command] if other is not row for word in words(other, other[0][-1])]
    assert parsed(command, *others, *words(row, spelling))[row[2]] == row[3]


@pytest.mark.parametrize("command", FLAGS)
def test_defaults_are_those_of_the_original(command: str) -> None:
    required = [row for row in FLAGS[command] if row[2] not in DEFAULTS[command]]
    taken = parsed(command, *(word for row in required for word in words(row, row[0][0])))
    assert {name: taken[name] for name in DEFAULTS[command]} == DEFAULTS[command]


@pytest.mark.parametrize(
    ("command", "missing"),
    [(command, row[2]) for command, rows in FLAGS.items() for row in rows if row[2] not in DEFAULTS[command]],
)
def test_required_flags_are_missed(command: str, missing: str) -> None:
    others = [row for row in FLAGS[command] if row[2] != missing and row[2] not in DEFAULTS[command]]
    with pytest.raises(click.UsageError, match=rf"(?i)missing .*{missing.replace('_', '[-_]')}"):
        parsed(command, *(word for row in others for word in words(row, row[0][0])))


def test_the_table_holds_every_flag_of_the_original() -> None:
    counts = {command: len(rows) for command, rows in FLAGS.items()}
    assert counts == {
        "train": 1,
        "validate": 5,
        "apply": 12,
        "predict": 9,
        "run-blockwise": 14,
        "segment-blockwise": 14,
    }
    assert all(
        DEFAULTS[command].keys() < {row[2] for row in rows} for command, rows in FLAGS.items() if command != "train"
    )


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("command", FLAGS)
def test_a_command_runs_with_flags_only(trained: Path, folder: Path, command: str, position: int) -> None:
    result = run_cli(trained, command, *(word for row in FLAGS[command] for word in words(row, row[0][position])))
    assert result.exit_code == 0, result.output
    if command in WRITTEN:
        array = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(folder / "out.zarr", WRITTEN[command]))
        assert array.roi == REGION
        assert np.any(array[REGION])


@pytest.mark.parametrize("command", ["run-blockwise", "segment-blockwise"])
def test_parameters_of_a_function_follow_flags(trained: Path, folder: Path, command: str) -> None:
    flags = [word for row in FLAGS[command] for word in words(row, row[0][0])]
    for threshold in (100, 255):
        assert run_cli(trained, command, *flags, "--threshold", str(threshold)).exit_code == 0
        array = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(folder / "out.zarr", "blocks"))
        assert np.any(array[REGION]) == (threshold == 100)


@pytest.mark.parametrize(
    "arguments",
    [
        ["affinities", "2", "new.zarr", "raw", "out"],
        ["-r", "affinities", "2", "new.zarr", "raw", "out"],
        ["2", "new.zarr", "-id", "raw", "out", "--run_name", "affinities"],
        ["-op", "out", "-ow", "-i", "2", "affinities", "new.zarr", "raw"],
    ],
)
def test_what_has_no_name_is_taken_in_order(arguments: list[str]) -> None:
    taken = parsed("predict", *arguments)
    expected = {"run_name": "affinities", "iteration": 2, "input_container": Path("new.zarr"), "input_dataset": "raw"}
    assert {**expected, "output_path": Path("out")}.items() <= taken.items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "Missing RUN_NAME: give it as an argument, or as -r/--run-name."),
        (["train", "-r", "a", "b"], "Got too many arguments, 'b' is left over. Expected RUN_NAME, each once"),
        (["train", "a", "b", "c"], "Got too many arguments, 'b c' are left over."),
        (["predict", "-r", "a", "2", "x.zarr", "raw"], "Missing OUTPUT_PATH: give it as an argument, or as -op/"),
        (["validate", "a", "-i", "x"], "Invalid value for '-i' / '--iteration': 'x' is not a valid integer"),
        (["run-blockwise", "-rr", "[4,4]", "-wr", "[4,4]", "--threshold", "5"], "Missing INPUT_CONTAINER"),
        (["predict", "a", "2", "x", "raw", "out", "-roi", "1-2"], "'1-2' is not begin:end per axis in world units"),
        (["train", "a", "-x"], "No such option '-x'"),
    ],
)
def test_missing_and_doubled_values_are_usage_errors(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run_cli(tmp_path, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize("level", ["CRITICAL", "critical", "DEBUG", "INFO", "WARNING", "ERROR"])
def test_log_levels(tmp_path: Path, level: str) -> None:
    result = CliRunner().invoke(cli, ["--log-level", level, "--runs_dir", str(tmp_path), "runs"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", FLAGS)
def test_help_tells_places_and_names(command: str) -> None:
    shown = CliRunner().invoke(cli, [command, "--help"]).output
    places, options = shown.split("Arguments, by position or by name:")[1].split("Options:")
    for spellings, _, name, _ in FLAGS[command]:
        assert spellings[0] in places + options
        assert (name.upper() in places) == (name.upper() in shown.split("\n\n")[0].split()), name


@pytest.mark.slow
def test_a_run_with_several_devices_is_named_by_a_flag_too(trained: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "dacapo",
        "--runs-dir",
        str(trained),
        "train",
        "-r",
        "affinities",
        "--devices",
        "2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "affinities: trained 2 of 2 iterations\n"
