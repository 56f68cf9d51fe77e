from __future__ import annotations

import itertools
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacapo.errors import StorageError, UnsafeFileError
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.store.file_stats_store import FileStatsStore
from dacapo.store.json_lines import encode, read_columns, read_entries, update_entries
from dacapo.store.record_stats_store import Choice, from_columns
from dacapo.store.stats_store import StatsStore
from dacapo.testing.stats_store import StatsStoreContract, training, validation
from tests.helpers.golden_data import item_arrays, items


class TestFileStatsStore(StatsStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> StatsStore:
        return FileStatsStore(tmp_path)

    @pytest.fixture
    def reopened(self, tmp_path: Path) -> StatsStore:
        return FileStatsStore(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> FileStatsStore:
    return FileStatsStore(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "training_stats" / "run"


def test_files_lie_where_the_original_has_them(store: FileStatsStore, tmp_path: Path) -> None:
    store.store_training_stats("run_x", training(0, 1))
    store.store_validation_iteration_scores("run_x", validation(1))
    recorded = items("config_store")["stats_files"]
    for place in (recorded["training"], recorded["validation"]):
        assert (tmp_path / place.replace("<run name>", "run_x")).is_file()


def test_recorded_training_stats(store: FileStatsStore) -> None:
    # The original read back only [3, 4, 5] after the second save; a record that loses its beginning is wrong.
    golden = items("stats")["training"]
    entries = [TrainingIterationStats(**entry) for entry in golden["iterations"]]
    for iterations in (golden["file_stats_store"]["stored_first"], golden["file_stats_store"]["stored_second"]):
        store.store_training_stats("run_x", TrainingStats(entries[: len(iterations)]))
        assert store.retrieve_training_stats("run_x").iteration_stats == entries[: len(iterations)]


@pytest.mark.parametrize("case", ["validation_binary", "validation_instance"])
def test_recorded_validation_scores(store: FileStatsStore, case: str) -> None:
    golden = items("stats")[case]
    scores = item_arrays("stats", case)["scores"]
    entries = [
        ValidationIterationScores(iteration, values.tolist())
        for iteration, values in zip(golden["iterations"], scores, strict=True)
    ]
    for iterations in golden["file_stats_store"]["stored"]:
        given_scores = SimpleNamespace(scores=entries[: len(iterations)])
        store.store_validation_iteration_scores("run_x", given_scores)  # type: ignore[arg-type]
        got = store.retrieve_validation_iteration_scores("run_x")
        assert [entry.iteration for entry in got] == iterations
        np.testing.assert_array_equal([entry.scores for entry in got], scores[: len(iterations)])


def test_a_save_writes_only_what_is_new(store: FileStatsStore, file: Path) -> None:
    store.store_training_stats("run", training(0, 1000))
    before = file.stat()
    store.store_training_stats("run", training(0, 1001))
    after = file.stat()
    assert after.st_ino == before.st_ino
    assert after.st_size - before.st_size < 100


def test_a_save_does_not_look_at_the_history(tmp_path: Path) -> None:
    encoded: list[int] = []

    def to_entry(entry: TrainingIterationStats) -> dict[str, float]:
        encoded.append(entry.iteration)
        return {"iteration": entry.iteration, "loss": entry.loss}

    path = tmp_path / "run"
    update_entries(path, training(0, 5000).iteration_stats, to_entry)
    encoded.clear()
    update_entries(path, training(0, 5002).iteration_stats, to_entry)
    assert encoded == [4999, 5000, 5001]


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
names = st.text("ietarlos1.-E \u00e9", min_size=1, max_size=4)


@given(
    st.lists(names, max_size=3, unique=True).flatmap(
        lambda fields: st.lists(st.fixed_dictionaries(dict.fromkeys((*fields, "iteration"), numbers)), max_size=6)
    )
)
def test_columns_hold_what_records_hold(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, float]]
) -> None:
    path = tmp_path_factory.mktemp("stats") / "run"
    # In the same order, which those drawn need not have.
    records = [
        {name: record[name] for name in records[0]} | {"iteration": int(record["iteration"])} for record in records
    ]
    path.write_bytes(b"".join(encode(record) + b"\n" for record in records) + b'{"iteration":7,"lo')
    columns = read_columns(path)
    plain = records and not any(set("1.-E\u00e9") & set(name) for name in records[0])
    small = all(abs(record["iteration"]) < 10**18 for record in records)
    assert (columns is not None) == bool(plain and small)
    if columns is not None:
        expected = {name: [record[name] for record in read_entries(path)] for name in records[0]}
        assert list(columns.items()) == list(expected.items())
        assert [type(v) for c in columns.values() for v in c] == [type(v) for c in expected.values() for v in c]


@pytest.mark.parametrize(
    "line",
    [
        b'{"iteration":3,"loss":NaN,"time":1.0}',
        b'{"iteration":3,"loss":null,"time":1.0}',
        b'{"iteration":3,"loss":[0.5],"time":1.0}',
        b'{"iteration":3,"loss":"0.5","time":1.0}',
        b'{"iteration":true,"loss":0.5,"time":1.0}',
        b'{"iteration":3.0,"loss":0.5,"time":1.0}',
        b'{"iteration":3e0,"loss":0.5,"time":1.0}',
        b'{"iteration":3,"loss":0.5e,"time":1.0}',
        b'{"iteration":3,"loss":,"time":1.0}',
        b'{"iteration":3,"loss":-,"time":1.0}',
        b'{"iteration":3,"loss":0.5-1,"time":1.0}',
        b'{"iteration":03,"loss":0.5,"time":1.0}',
        b'{"itratione":3,"loss":0.5,"time":1.0}',
        b'5{"iteration":3,"loss":0.5,"time":1.0}',
        b'{"it3ration":3,"loss":0.5,"time":1.0}',
        b'{"itrati1on":3,"loss":0.5,"time":1.0}',
        b'{"iteration":3,"time":0.5,"loss":1.0}',
        b'{"iteration":3,"loss":0.5}',
        b'{"iteration":3,"loss":0.5,"time":1.0,"time":2.0}',
        b'{"iteration": 3,"loss":0.5,"time":1.0}',
        b'{"iteration":3,"loss":0.5,"time":1.0}5',
        b'{"iteration":3,"loss":0.5,"time":1.0},{"iteration":4,"loss":0.5,"time":1.0}',
        b'{"iteration":3,\n"loss":0.5,"time":1.0}',
        b"",
        b"5",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_columns_are_read_of_plain_lines_only(tmp_path: Path, line: bytes, first: bool) -> None:
    plain = [encode({"iteration": i, "loss": 0.25, "time": 1e-07}) for i in range(3)]
    path = tmp_path / "run"
    path.write_bytes(b"\n".join([line, *plain, b""] if first else [*plain, line, plain[-1], b""]))
    assert read_columns(path) is None


def test_an_incomplete_file_has_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "run"
    for content in (b"", b'{"iteration":3,"loss":0.5}', b"\n"):
        path.write_bytes(content)
        assert read_columns(path) is None


@pytest.mark.parametrize("interval", [None, 7])
@pytest.mark.parametrize("subsample", [False, True])
def test_a_choice_of_columns_is_that_of_entries(subsample: bool, interval: int | None) -> None:
    choice, entries = Choice(subsample, interval), training(0, 9000).iteration_stats
    columns = {name: [getattr(entry, name) for entry in entries] for name in ("time", "iteration", "loss")}
    chosen = set(choice.of(range(9000)))
    assert from_columns(columns, TrainingIterationStats, choice) == [e for e in entries if e.iteration in chosen]
    del columns["loss"]
    assert from_columns(columns, TrainingIterationStats, choice) is None


def test_a_long_record_is_read_fast(store: FileStatsStore) -> None:
    stats = training(0, 100_000)
    store.store_training_stats("run", stats)
    start = time.process_time()
    got = store.retrieve_training_stats("run")
    seconds = time.process_time() - start
    assert got.trained_until() == 100_000
    assert seconds < 5  # takes about 0.5 s


@pytest.mark.parametrize("torn", [b'{"iteration":3,"lo', b'{"iteration":3,"loss":0.25,"time":0.75}', b"{", b"\0" * 40])
def test_an_unfinished_last_line_is_dropped_and_overwritten(store: FileStatsStore, file: Path, torn: bytes) -> None:
    store.store_training_stats("run", training(0, 3))
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    assert store.retrieve_training_stats("run") == training(0, 3)
    store.store_training_stats("run", training(0, 5))
    assert store.retrieve_training_stats("run") == training(0, 5)
    assert file.read_bytes().startswith(whole)
    assert file.read_bytes().count(b"\n") == 5


def test_zeros_that_a_power_failure_leaves_are_overwritten(store: FileStatsStore, file: Path) -> None:
    store.store_training_stats("run", training(0, 3))
    file.write_bytes(file.read_bytes() + b"\0\0\0\n\0\0\n")
    assert store.retrieve_training_stats("run") == training(0, 3)
    store.store_training_stats("run", training(0, 4))
    assert store.retrieve_training_stats("run") == training(0, 4)


@given(cut=st.integers(0, 400))
def test_a_file_cut_anywhere_is_repaired(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    store = FileStatsStore(tmp_path_factory.mktemp("stats"))
    store.store_training_stats("run", training(0, 8))
    path = store.path / "training_stats" / "run"
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    assert store.retrieve_training_stats("run") == training(0, kept)
    store.store_training_stats("run", training(0, 8))
    assert path.read_bytes() == whole


@given(st.integers(0, 5000), st.integers(1, 20), st.none() | st.integers(1, 7))
def test_a_choice_is_spread_evenly(count: int, step: int, interval: int | None) -> None:
    iterations = range(0, count * step, step)
    eligible = [i for i in iterations if i % (interval or 1) == 0]
    assert Choice(interval=interval).of(iterations) == eligible
    chosen = Choice(True, interval).of(iterations)
    assert len(chosen) == min(len(eligible), 1000)
    assert [chosen[:1], chosen[-1:]] == [eligible[:1], eligible[-1:]]
    place = {iteration: index for index, iteration in enumerate(eligible)}
    gaps = {place[two] - place[one] for one, two in itertools.pairwise(chosen)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_a_line_longer_than_a_block_is_found(store: FileStatsStore) -> None:
    entries = [ValidationIterationScores(i, [[[0.1 * i] * 30_000]]) for i in (1, 2, 3)]
    for count in (2, 3):
        store.store_validation_iteration_scores("run", SimpleNamespace(scores=entries[:count]))  # type: ignore[arg-type]
    assert store.retrieve_validation_iteration_scores("run") == entries


def test_damage_before_the_last_line_is_an_error(store: FileStatsStore, file: Path) -> None:
    store.store_training_stats("run", training(0, 3))
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([lines[0], b"garbage", *lines[2:]]))
    with pytest.raises(StorageError, match="damaged in line 2"):
        store.retrieve_training_stats("run")


def test_a_record_torn_over_two_lines_is_not_joined(store: FileStatsStore, file: Path) -> None:
    store.store_training_stats("run", training(0, 3))
    first, second, third, _ = file.read_bytes().split(b"\n")
    half, rest = second.split(b",", 1)
    file.write_bytes(b"\n".join([first, half, rest, third, b""]))
    with pytest.raises(StorageError, match="damaged in line 2"):
        store.retrieve_training_stats("run")


def test_another_file_is_an_error(store: FileStatsStore, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text('{"iteration": 0}\n')
    with pytest.raises(StorageError, match="TrainingIterationStats"):
        store.retrieve_training_stats("run")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_files_of_the_original_are_read_and_turned_into_lines(store: FileStatsStore, file: Path, protocol: int) -> None:
    documents = [{**items("config_store")["stats_files"]["training_document"], "iteration": i} for i in range(3)]
    file.parent.mkdir(parents=True)
    file.write_bytes(pickle.dumps(documents, protocol))
    entries = [TrainingIterationStats(i, 0.1, 0.2) for i in range(5)]
    assert store.retrieve_training_stats("run").iteration_stats == entries[:3]
    store.store_training_stats("run", TrainingStats(entries))
    assert file.read_bytes().startswith(b"{")
    assert store.retrieve_training_stats("run").iteration_stats == entries


def test_scores_of_the_original_are_read(store: FileStatsStore, tmp_path: Path) -> None:
    file = tmp_path / "validation_scores" / "run"
    file.parent.mkdir(parents=True)
    file.write_bytes(pickle.dumps([{"iteration": 5, "scores": [[[0.5]]], "run_name": "run"}]))
    assert store.retrieve_validation_iteration_scores("run") == [ValidationIterationScores(5, [[[0.5]]])]


class _Harmful:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize(
    "access",
    [
        lambda store: store.retrieve_training_stats("run"),
        lambda store: store.store_training_stats("run", training(0, 2)),
    ],
    ids=["read", "save"],
)
def test_a_pickle_that_would_run_code_is_refused(
    store: FileStatsStore, file: Path, tmp_path: Path, access: Callable[[FileStatsStore], object]
) -> None:
    file.parent.mkdir(parents=True)
    content = pickle.dumps([{"iteration": 0, "loss": _Harmful(tmp_path / "owned"), "time": 0.0}])
    file.write_bytes(content)
    with pytest.raises(UnsafeFileError, match="mkdir"):
        access(store)
    assert not (tmp_path / "owned").exists()
    assert file.read_bytes() == content


@pytest.mark.parametrize("content", [b"\x80", b"\x80\x04garbage", pickle.dumps({"a": 1}), pickle.dumps([1])])
def test_a_damaged_pickle_is_an_error(store: FileStatsStore, file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(StorageError):
        store.retrieve_training_stats("run")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    store, outside = FileStatsStore(tmp_path / "stats"), tmp_path / "outside"
    outside.write_bytes(b"precious")
    store.store_training_stats("run", training(0, 2))
    (file,) = [path for path in (tmp_path / "stats").rglob("run") if path.is_file()]
    for target in (outside, tmp_path / "missing"):
        file.unlink()
        file.symlink_to(target)
        with pytest.raises(StorageError, match="is a link, which leads to"):
            store.store_training_stats("run", training(0, 3))
    assert outside.read_bytes() == b"precious"
    assert not (tmp_path / "missing").exists()


def test_the_folder_of_statistics_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "stats").symlink_to(tmp_path / "disk")
    store = FileStatsStore(tmp_path / "stats")
    store.store_training_stats("run", training(0, 3))
    assert store.retrieve_training_stats("run").trained_until() == 3
