"""Workers are replaced as long as blocks get done, and a few times in a row without."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path

import pytest

from dacapo.blockwise.worker.progress import DoneCount, blocks_done, did_a_block
from dacapo.blockwise.worker.replacing import Replacing
from dacapo.blockwise.worker.reports import deaths, log_file
from dacapo.errors import BlockwiseError


def ended(code: int = 1) -> BlockwiseError:
    error = BlockwiseError(f"'srun x' ended with exit code {code}; its output ends:\nthe last line\n")
    error.exit_code = code
    return error


class TestReplacing:
    @pytest.fixture
    def count(self, tmp_path: Path) -> DoneCount:
        return DoneCount.create(tmp_path)

    def run(self, replacing: Replacing, error: Exception, *done: int, count: DoneCount) -> bool:
        replacing.begin()
        for number in done:
            count.write(number)
        return replacing.is_due(error)

    def test_a_worker_without_progress_is_left_to_daisy(self, tmp_path: Path, count: DoneCount) -> None:
        assert not self.run(Replacing(tmp_path, 0, 2), ended(), count=count)
        assert [text.partition(" (")[0] for text in deaths(tmp_path)] == [
            "'srun x' ended with exit code 1: the last line"
        ]

    def test_workers_with_progress_are_replaced_for_ever(self, tmp_path: Path, count: DoneCount) -> None:
        replacing = Replacing(tmp_path, 0, 0)
        assert all(self.run(replacing, ended(), number, count=count) for number in range(1, 50))
        assert not deaths(tmp_path), "they only ended"
        assert "another worker takes its place" in log_file(tmp_path, 0).read_text()

    def test_progress_resets_the_number_of_those_without(self, tmp_path: Path, count: DoneCount) -> None:
        replacing = Replacing(tmp_path, 0, 2)
        for number in (1, 2):
            assert self.run(replacing, ended(), number, count=count)
            assert self.run(replacing, OSError("no such machine"), count=count)
            assert self.run(replacing, ended(), count=count)
            assert len(deaths(tmp_path)) == 2
        assert not self.run(replacing, ended(), count=count)

    def test_progress_of_others_counts(self, tmp_path: Path, count: DoneCount) -> None:
        one, other = Replacing(tmp_path, 0, 0), Replacing(tmp_path, 1, 0)
        one.begin()
        other.begin()
        count.write(1)
        assert one.is_due(ended())
        assert other.is_due(ended())

    def test_progress_that_the_worker_tells_itself(self, tmp_path: Path, count: DoneCount) -> None:
        replacing = Replacing(tmp_path, 3, 0)
        replacing.begin()
        did_a_block(tmp_path, 3).touch()
        assert replacing.is_due(ended())
        assert not self.run(replacing, ended(), count=count), "the next one did none"

    @pytest.mark.parametrize("code", [-signal.SIGALRM, 128 + signal.SIGALRM], ids=["killed", "told by a shell"])
    def test_a_block_that_took_too_long(self, tmp_path: Path, count: DoneCount, code: int) -> None:
        replacing = Replacing(tmp_path, 0, 2)
        assert all(self.run(replacing, ended(code), count=count) for _ in range(50))
        assert not deaths(tmp_path), "they only ended"
        assert log_file(tmp_path, 0).read_text().count("its block took too long, so another worker") == 50
        for _ in range(5):
            replacing.wait()  # would take minutes

    def test_a_worker_that_daisy_ended(self, tmp_path: Path, count: DoneCount) -> None:
        # Daisy has started the next worker by then, so that another one would be too many.
        assert not self.run(Replacing(tmp_path, 0, 2), ended(87), 1, count=count)


def test_the_count_of_blocks_that_are_done(tmp_path: Path) -> None:
    assert blocks_done(tmp_path / "missing") == b""
    with closing(DoneCount.create(tmp_path)) as count:
        seen = [blocks_done(tmp_path)]
        for number in (1, 10**15, 2):
            count.write(number)
            seen.append(blocks_done(tmp_path))
    assert list(map(int, seen)) == [0, 1, 10**15, 2]
