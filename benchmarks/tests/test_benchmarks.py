"""The benchmarks run, and one whose result is wrong does not pass."""

from __future__ import annotations

import ast
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pytest
import zarr

from benchmarks import peer, scaling
from benchmarks.cpu_time import tree_seconds
from benchmarks.data import cells
from benchmarks.floors import PlainBatches
from benchmarks.harness import Case, Setting, Timing, WrongResultError, measure, table
from benchmarks.run import CASES
from benchmarks.targets import equal
from benchmarks.watershed_context import MUCH, Comparison, noisy
from dacapo.experiments.tasks.post_processors import watershed_post_processor
from dacapo.options import DaCapoConfig
from dacapo.utils.voi import voi
from tests.helpers.processes import wait_until

ROOT = Path(__file__).parents[2]
NAMES = ["one-hot of 6 classes, 88^3", "VOI, sparse 64-bit ids, 160^3", "save 100 iterations after 10^3"]


def test_quick_run() -> None:
    command = [sys.executable, "-m", "benchmarks.run", "--quick", *NAMES]
    got = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert got.returncode == 0, got.stdout + got.stderr
    rows = got.stdout.split("\n\n")[1].splitlines()
    assert rows[0].startswith("work")
    assert [row.split("  ")[0] for row in rows[1:]] == NAMES


def test_an_unknown_name_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "nonsense"]
    got = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert got.returncode == 2
    assert NAMES[0] in got.stderr


def test_the_documentation_shows_every_row() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert [name for name in CASES if f"\n{name}  " not in page] == []


def test_a_wrong_result_fails() -> None:
    case = Case(lambda: np.array([1, 2]), lambda: np.array([1, 3]), equal)
    with pytest.raises(WrongResultError, match="sum"):
        measure("sum", case, seconds=0)


def changed(result: Any) -> Any:
    """Return a result that is a little off."""
    if isinstance(result, dict):
        return {name: value + 0.01 for name, value in result.items()}
    if isinstance(result, tuple | list):
        return [*result[:-1], changed(result[-1])]
    return result + 1


@pytest.mark.parametrize(
    "name",
    [
        "affinities, target and weight, 88^3",
        "one-hot of 6 classes, 88^3",
        "signed distance, 88^3",
        "10 training iterations, affinities, 2 x 52^3",
        "10 torch training iterations, affinities, 2 x 52^3",
        "10 torch training iterations, distances, 2 x 52^3",
        "VOI, dense ids, 160^3",
        "binary evaluator, 21 criteria, 128^3",
    ],
)
def test_cases_notice_a_wrong_result(name: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        case = CASES[name](Setting(True, tmp_path, stack))
        result, expected = case.ours(), case.floor()
        case.check(result, expected)
        with pytest.raises(AssertionError):
            case.check(result, changed(expected))


def test_predictions_that_are_wrong_alike_are_noticed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        case = CASES["prediction in default blocks, 120^3"](Setting(True, tmp_path, stack))
        result, expected = case.ours(), case.floor()
        case.check(result, expected)
        with pytest.raises(AssertionError):
            case.check(result + 2, expected + 2)


def shuffled(values: Any) -> Any:
    return np.random.default_rng(0).permuted(values.ravel()).reshape(values.shape)


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: batch._replace(raw=shuffled(batch.raw)),
        lambda batch: batch._replace(raw=batch.raw[..., ::-1]),
        lambda batch: batch._replace(raw=np.roll(batch.raw, 3, axis=-1)),
        lambda batch: batch._replace(target=batch.target[::-1]),
        lambda batch: batch._replace(target=batch.target[:, [0, 1, 2, 5, 4, 3]]),
        lambda batch: batch._replace(weight=batch.weight[::-1]),
    ],
    ids=["shuffled", "mirrored raw", "moved raw", "target from elsewhere", "swapped axes", "weight from elsewhere"],
)
def test_augmented_batches_are_noticed_that_do_not_belong_together(
    change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = PlainBatches.augmented
    with ExitStack() as stack:
        case = CASES["batches, affinities, all augments, 2 x 64^3"](Setting(True, tmp_path, stack))
        case.check(case.ours(), case.floor())
        monkeypatch.setattr(PlainBatches, "augmented", lambda self: change(plain(self)))
        with pytest.raises(AssertionError, match="tolerance"):
            case.check(case.ours(), case.floor())


def test_ours_and_the_floor_take_turns() -> None:
    calls: list[str] = []
    case = Case(*(lambda name=name: calls.append(name) for name in ("ours", "floor")), check=lambda *_: None)
    timing = measure("order", case, seconds=0, least=3)
    assert calls == ["ours", "floor", "ours", "floor", "floor", "ours", "ours", "floor"]
    assert len(timing.ours) == len(timing.floor) == 3


def test_row_shows_medians_and_quartiles() -> None:
    timing = Timing("work", [0.002, 0.004, 0.006, 0.008, 0.010], [0.002] * 5, "2")
    assert timing.row() == ["work", "6", "2", "3.00", "2.00 to 4.00", "2"]
    assert table([timing]).splitlines()[1].split() == ["work", "6", "2", "3.00", "2.00", "to", "4.00", "2"]


def test_the_original_is_timed_under_our_names() -> None:
    tree = ast.parse((ROOT / "benchmarks" / "original" / "cases.py").read_text(encoding="utf-8"))
    cases = next(node.value for node in tree.body if isinstance(node, ast.AnnAssign) and node.target.id == "CASES")
    names = [key.value for key in cases.keys if isinstance(key, ast.Constant)]
    assert names
    assert set(names) <= set(CASES)


def test_the_original_stands_in_a_column_and_reasons_below() -> None:
    timings = [Timing(name, [0.002], [0.001]) for name in ("a", "b", "c")]
    lines = table(timings, {"a": "7.10", "b": "ValueError: too big"}).splitlines()
    assert [line.split()[-1] for line in lines[:4]] == ["original", "7.10", "(1)", "-"]
    assert lines[4:] == ["(1) ValueError: too big"]


def test_processor_time_is_that_of_all_processes() -> None:
    before = tree_seconds()
    work = "import time\nwhile time.process_time() < 0.4: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    ended = tree_seconds()
    assert ended - before >= 0.35
    with subprocess.Popen([sys.executable, "-c", work + "\ninput()"], stdin=subprocess.PIPE) as running:
        wait_until(lambda: tree_seconds(running.pid) >= 0.35)
        assert tree_seconds() - ended >= 0.35
        running.communicate(b"\n")


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("teravoxel", ["8 x H200  ", "watershed     ", "joining       ", "4 per GPU: "]),
        ("joining", ["27 blocks, ", "gathering, 1 worker(s): ", "its memory: "]),
        ("handing_out", ["dacapo  ", "Daisy  ", "ratio of time: ", "ratio of processors: "]),
        ("watershed_context", ["cells, much noise, ", "noise alone, "]),
        ("watershed_context --growth", ["cells, much noise, in blocks ", "8  "]),
    ],
)
def test_quick_runs_of_others(name: str, rows: list[str]) -> None:
    command = [sys.executable, "-m", *f"benchmarks.{name}".split(), "--quick"]
    got = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert got.returncode == 0, got.stderr
    assert [row for row in rows if f"\n{row}" not in got.stdout] == []


def test_pairs_that_share_half_join_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are closer to the whole than with a limit of half of the smaller segment."""
    comparison = Comparison(noisy(cells(64), MUCH), tmp_path)
    bits = sum(comparison.row(8, 32)[:2])
    monkeypatch.setattr(watershed_post_processor, "MIN_OVERLAP", 0.5)
    assert bits < sum(comparison.row(8, 32)[:2])


@pytest.mark.parametrize("work", ["predict", "segment"])
def test_what_scales_computes_what_the_loop_does(work: str, tmp_path: Path, options: DaCapoConfig) -> None:
    results = []
    for how in ("loop", "1"):
        setting = scaling.Setting(work, how, 32, 16, str(tmp_path))
        scaling.create_raw(setting)
        assert scaling.measure_here(setting)["seconds"] > 0
        results.append(zarr.open(str(setting.output.container), mode="r")["result"][:])
    plain, ours = results
    if work == "predict":
        np.testing.assert_allclose(ours.astype(int), plain.astype(int), atol=1)
        assert ours.std() > 1
    else:
        np.testing.assert_array_equal(ours > 0, plain > 0)
        raw = zarr.open(str(setting.input.container), mode="r")["raw"][:]
        whole = cc3d.connected_components(raw > 128, connectivity=6)  # which the loop does not join
        assert len(np.unique(whole)) > 2
        assert voi(ours, whole) == (0, 0)


def test_what_was_timed_counts_when_the_original_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(python: str, script: str, arguments: Any, folder: Path) -> None:
        (folder / "timings.json").write_text('{"a": {"original": [2.0], "floor": [1.0]}}')
        raise subprocess.CalledProcessError(-11, [python])

    monkeypatch.setattr(peer, "run_script", crash)
    assert peer.timings("python", ["a", "b"], quick=True) == {"a": "2.00", "b": "ended with status -11 before"}
