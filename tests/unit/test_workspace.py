"""The files of blocks are read in order, some ahead, and a damaged one is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dacapo.blockwise.segmentation.workspace import Workspace
from dacapo.errors import BlockwiseError

NUMBER = 100


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    for index in range(NUMBER):
        # The later, the sooner read.
        workspace.save("blocks", index, one=np.arange(50 * (NUMBER - index)), other=np.array([index]))
    return workspace


def test_all_files_in_order(workspace: Workspace) -> None:
    order = [*range(1, NUMBER, 2), 0]
    found = list(workspace.load_all("blocks", order, "other", "one"))
    assert [int(other[0]) for other, _ in found] == order
    assert [len(one) for _, one in found] == [50 * (NUMBER - index) for index in order]
    assert list(workspace.load_all("blocks", [], "one")) == []


def test_only_some_are_held_in_memory(workspace: Workspace) -> None:
    begun = []

    def indices() -> Iterator[int]:
        for index in range(NUMBER):
            begun.append(index)
            yield index

    for taken, _ in enumerate(workspace.load_all("blocks", indices(), "one"), 1):
        assert len(begun) - taken < 40


def test_a_damaged_file_is_named_when_its_turn_comes(workspace: Workspace, tmp_path: Path) -> None:
    (file,) = tmp_path.glob("blocks/*/70.npz")
    file.write_bytes(file.read_bytes()[:-30])
    found = []
    with pytest.raises(BlockwiseError, match=r"70\.npz is missing or damaged"):
        found.extend(int(other[0]) for (other,) in workspace.load_all("blocks", range(NUMBER), "other"))
    file.unlink()
    with pytest.raises(BlockwiseError, match=r"70\.npz is missing or damaged"):
        list(workspace.load_all("blocks", range(NUMBER), "other"))
