"""Blockwise operations: what a subclass writes, and how work that was interrupted goes on."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest

from dacapo.blockwise.journal import Resume, journal_folder
from dacapo.blockwise.operation import BlockwiseOperation
from dacapo.blockwise.scheduling.run_operation import run_operation
from dacapo.errors import BlockwiseError, ConfigError, OutputExistsError
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.invert import Invert, make_invert, set_fault, tried
from tests.helpers.markdown import code_blocks
from tests.helpers.volumes import VOXEL_SIZE, stored_values, write_array


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 10, 11)).astype(np.uint8)


@pytest.fixture
def operation(tmp_path: Path, values: np.ndarray) -> Invert:
    return make_invert(tmp_path, values, (4, 5, 11))


FAULT = [112, 60, 40]
NUM_BLOCKS = 6


@pytest.fixture(params=[1, 2])
def workers(request: pytest.FixtureRequest, options: DaCapoConfig) -> int:
    return int(request.param)


def test_result_and_settings(operation: Invert, values: np.ndarray, workers: int, tmp_path: Path) -> None:
    again = BlockwiseOperation.from_settings(json.loads(json.dumps(operation.as_settings())))
    assert isinstance(again, Invert)
    assert again.as_settings() == operation.as_settings()
    run_operation(operation, workers)
    np.testing.assert_array_equal(stored_values(operation.output), 255 - values)
    assert len(tried(tmp_path)) == NUM_BLOCKS
    assert not (journal_folder(operation.output) / "logs").exists()


def test_an_interrupted_block_is_no_failure(
    operation: Invert, options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(self: Invert, block: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Invert, "process", interrupted)
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        run_operation(operation, num_workers=1)
    assert not caplog.messages


def test_only_what_is_missing_is_done_again(
    operation: Invert, values: np.ndarray, workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = set_fault(tmp_path, "raise", FAULT)
    with pytest.raises(BlockwiseError) as raised:
        run_operation(operation, workers, max_retries=1)
    message = str(raised.value)
    assert "1 of 6 blocks are not done" in message
    assert "ValueError: this block is bad" in message
    assert tried(tmp_path).count(FAULT) == 2
    with pytest.raises(BlockwiseError, match="1 of 6"):
        run_operation(operation, workers, max_retries=0)
    assert tried(tmp_path) == [FAULT]
    bad.unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO, "dacapo"):
        run_operation(operation, workers)
    assert [text.partition(": ")[2] for text in caplog.messages] == ["5 of 6 blocks were done before"]
    assert tried(tmp_path) == [FAULT]
    np.testing.assert_array_equal(stored_values(operation.output), 255 - values)


@pytest.mark.parametrize(
    ("resume", "overwrite", "expected"),
    [
        (Resume.ALWAYS, False, 0),
        (Resume.ALWAYS, True, 0),
        (Resume.UNFINISHED, True, NUM_BLOCKS),
        (Resume.NEVER, True, NUM_BLOCKS),
        (None, True, NUM_BLOCKS),
        (Resume.UNFINISHED, False, None),
        (Resume.NEVER, False, None),
    ],
)
def test_what_is_finished(
    options: DaCapoConfig,
    operation: Invert,
    tmp_path: Path,
    resume: Resume | None,
    overwrite: bool,
    expected: int | None,
) -> None:
    run_operation(operation)
    tried(tmp_path)
    if expected is None:
        with pytest.raises(OutputExistsError, match="exists already"):
            run_operation(operation, overwrite=overwrite, resume=resume)
    else:
        run_operation(operation, overwrite=overwrite, resume=resume)
    assert len(tried(tmp_path)) == (expected or 0)


def test_other_parameters_do_not_mix(options: DaCapoConfig, operation: Invert, tmp_path: Path) -> None:
    set_fault(tmp_path, "raise", FAULT)
    with pytest.raises(BlockwiseError):
        run_operation(operation, max_retries=0)
    tried(tmp_path)
    other = attrs.evolve(operation, number=200)
    with pytest.raises(OutputExistsError, match=r"other parameters.*: number was 255, is 200;"):
        run_operation(other, overwrite=False)
    assert not tried(tmp_path)
    (tmp_path / "fault").unlink()
    run_operation(other)
    assert len(tried(tmp_path)) == NUM_BLOCKS


def test_work_that_goes_on_keeps_its_blocks(
    options: DaCapoConfig, operation: Invert, values: np.ndarray, tmp_path: Path
) -> None:
    bad = set_fault(tmp_path, "raise", FAULT)
    with pytest.raises(BlockwiseError):
        run_operation(operation, max_retries=0)
    bad.unlink()
    tried(tmp_path)
    run_operation(attrs.evolve(operation, block_shape=VOXEL_SIZE * 2))
    assert tried(tmp_path) == [FAULT]
    np.testing.assert_array_equal(stored_values(operation.output), 255 - values)


def test_an_input_made_anew_is_another_one(options: DaCapoConfig, operation: Invert, values: np.ndarray) -> None:
    run_operation(operation)
    write_again = operation.input.container
    shutil.rmtree(write_again)
    write_array(write_again, "raw", values)
    with pytest.raises(OutputExistsError, match=r"inputs\.input\.made was"):
        run_operation(operation, overwrite=False, resume=Resume.ALWAYS)


def test_an_output_that_was_deleted_or_replaced(
    options: DaCapoConfig, operation: Invert, values: np.ndarray, tmp_path: Path
) -> None:
    run_operation(operation)
    path = operation.output.container / operation.output.dataset
    shutil.rmtree(path)
    tried(tmp_path)
    run_operation(operation, overwrite=False, resume=Resume.ALWAYS)
    assert len(tried(tmp_path)) == NUM_BLOCKS
    shutil.rmtree(path)
    write_array(operation.output.container, operation.output.dataset, values)
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="exists"):
            run_operation(operation, overwrite=overwrite, resume=Resume.ALWAYS)
    np.testing.assert_array_equal(stored_values(operation.output), values)


def test_without_a_record_nothing_is_left_beside_the_output(
    options: DaCapoConfig, operation: Invert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run_operation(operation, resume=None)
    assert not list((tmp_path / "here").iterdir())
    assert not journal_folder(operation.output).exists()


def test_failures_are_listed_without_a_record_too(
    options: DaCapoConfig, operation: Invert, tmp_path: Path, values: np.ndarray
) -> None:
    set_fault(tmp_path, "raise", FAULT)
    with pytest.raises(BlockwiseError, match=r"1 of 6 blocks are not done(.|\n)*112") as raised:
        run_operation(operation, resume=None)
    assert str(raised.value).count("\nblock ") == 1
    assert len(tried(tmp_path)) == NUM_BLOCKS + 2  # with two retries
    set_fault(tmp_path, "raise once", FAULT)
    run_operation(operation, resume=None)
    np.testing.assert_array_equal(stored_values(operation.output), 255 - values)


def test_a_class_that_workers_cannot_find(options: DaCapoConfig, operation: Invert, values: np.ndarray) -> None:
    @attrs.define(kw_only=True, eq=False)
    class Local(Invert):
        pass

    local = Local(**{field.name: getattr(operation, field.name) for field in attrs.fields(Invert)})
    for resume in (Resume.UNFINISHED, None):
        with pytest.raises(ConfigError, match="do the blocks with a single worker"):
            run_operation(local, num_workers=2, resume=resume)
    assert not operation.output.container.exists()
    run_operation(local, num_workers=1)
    np.testing.assert_array_equal(stored_values(operation.output), 255 - values)


def test_two_processes_do_not_write_the_same(options: DaCapoConfig, operation: Invert) -> None:
    folder = journal_folder(operation.output)
    folder.mkdir(parents=True)
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(BlockwiseError, match="another process works on this output"):
        run_operation(operation)
    os.close(handle)
    run_operation(operation)


def test_workers_of_the_context(operation: Invert, values: np.ndarray, options: DaCapoConfig) -> None:
    Options.instance(compute_context={"type": "LocalTorch", "config": {"distribute_workers": True}})
    run_operation(operation, 1)
    np.testing.assert_array_equal(stored_values(operation.output), 255 - values)


PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "blockwise.md"


@pytest.mark.parametrize("as_file", [True, False])
def test_the_operation_of_the_page_runs(tmp_path: Path, values: np.ndarray, as_file: bool) -> None:
    (code,) = [block for block in code_blocks(PAGE) if "class Invert" in block]
    write_array(tmp_path / "volume.zarr", "raw", values)
    code = code.replace("512, 512, 512", "40, 40, 40")
    # Without a file, as in a notebook, no other process could find the class.
    code = code if as_file else code.replace("num_workers=2", "num_workers=1")
    script = tmp_path / "invert.py"
    script.write_text(code)
    command = [sys.executable, *([str(script)] if as_file else ["-"])]
    got = subprocess.run(command, input="" if as_file else code, cwd=tmp_path, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr[-2000:]
    np.testing.assert_array_equal(stored_values(LocalArrayIdentifier(tmp_path / "inverted.zarr", "raw")), 255 - values)
