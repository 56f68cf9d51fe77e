"""Sizes of memory, and what networks take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dacapo.errors import ConfigError
from dacapo.experiments.architectures.network_memory import forward_bytes, training_bytes
from dacapo.utils import memory
from dacapo.utils.memory import available_memory, format_size, parse_size, process_memory
from dacapo.utils.memory_estimates import (
    PROCESS_BYTES,
    agglomeration_voxel_bytes,
    network_bytes,
    process_bytes,
    watershed_voxel_bytes,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 << 30),
        ("1.5 GiB", 3 << 29),
        ("500M", 500 << 20),
        ("2k", 2048),
        ("1TB", 1 << 40),
        (12, 12),
        (1.5, 2),
        ("0.0001 K", 1),
    ],
)
def test_parse(text: str | float, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("wrong", ["8", "GB", "-1GB", "0GB", "8 GBs", "", 0, -4, True, None, [1]])
def test_wrong_sizes_are_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="memory must be a size"):
        parse_size(wrong)  # type: ignore[arg-type]


@given(st.integers(1, 1 << 50))
def test_format_is_close_and_can_be_read_back(size: int) -> None:
    text = format_size(size)
    if text.endswith("bytes"):
        assert text == f"{size} bytes"
    else:
        assert abs(parse_size(text) - size) <= 0.05 * size


def test_memory_of_this_process_grows_with_what_it_holds() -> None:
    before = process_memory()
    assert before is not None
    block = bytearray(b"x" * (64 << 20))
    after = process_memory()
    assert after is not None
    assert after - before > 48 << 20
    assert len(block) == 64 << 20
    free = available_memory()
    assert free is not None
    assert free > 0


def test_the_address_space_limits_what_is_free() -> None:
    script = (
        "import resource; from dacapo.utils.memory import available_memory, total_memory; "
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); print(total_memory(), available_memory())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    total, free = map(int, done.stdout.split())
    assert total == 1 << 30
    assert 0 < free < total


def test_control_groups_limit_what_is_free(tmp_path: Path) -> None:
    group = tmp_path / "cgroup" / "user" / "job"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("5\n")
    (group.parent / "memory.max").write_text("1000\n")
    (group.parent / "memory.current").write_text("400\n")
    first = tmp_path / "cgroup" / "memory" / "job"
    first.mkdir(parents=True)
    (first / "memory.limit_in_bytes").write_text("300\n")
    (first / "memory.usage_in_bytes").write_text("500\n")
    own = tmp_path / "own"
    own.write_text("4:memory:/job\n3:cpuset:/\n0::/user/job\n")
    assert sorted(memory._groups(tmp_path / "cgroup", own)) == [(300, 500), (1000, 400)]
    assert memory._groups(tmp_path / "cgroup", tmp_path / "missing") == []


def test_memory_that_holds_files_is_free(tmp_path: Path) -> None:
    """A group that has read a file of its limit's size has all of it cached, and yet can use it."""
    second, first = tmp_path / "job", tmp_path / "memory" / "job"
    for group in (second, first):
        group.mkdir(parents=True)
    (second / "memory.max").write_text("1000\n")
    (second / "memory.current").write_text("990\n")
    (second / "memory.stat").write_text(
        "anon 200\nfile 700\nshmem 100\nactive_file 150\ninactive_file 450\nslab_reclaimable 50\n"
    )
    (first / "memory.limit_in_bytes").write_text("2000\n")
    (first / "memory.usage_in_bytes").write_text("2000\n")
    (first / "memory.stat").write_text(
        "cache 0\nactive_file 0\ninactive_file 0\ntotal_cache 900\ntotal_active_file 300\ntotal_inactive_file 500\n"
    )
    own = tmp_path / "own"
    own.write_text("4:memory:/job\n0::/job\n")
    assert sorted(memory._groups(tmp_path, own)) == [(1000, 340), (2000, 1200)]


class TestForward:
    def test_pointwise(self) -> None:
        # The input and the result of one operation live at the same time.
        assert forward_bytes(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Sigmoid()), (1, 2, 8, 8)) == 4 * 2 * 64 * 3

    def test_convolution_counts_what_libraries_copy(self) -> None:
        size = forward_bytes(torch.nn.Conv3d(2, 5, 3, padding=1), (1, 2, 8, 8, 8))
        assert size == 4 * (2 + 5) * 512 * 2

    def test_what_is_no_longer_needed_does_not_count(self) -> None:
        long = torch.nn.Sequential(*[torch.nn.Conv2d(4, 4, 1) for _ in range(9)])
        short = torch.nn.Sequential(*[torch.nn.Conv2d(4, 4, 1) for _ in range(2)])
        # The input of the whole is held by the caller.
        assert forward_bytes(long, (1, 4, 16, 16)) == forward_bytes(short, (1, 4, 16, 16))

    def test_nothing_is_allocated(self) -> None:
        assert forward_bytes(torch.nn.Conv3d(1, 64, 3), (1, 1, 4096, 4096, 4096)) > 1 << 43


class TestTraining:
    def test_all_layers_are_kept_for_the_way_back(self) -> None:
        def size(layers: int) -> int:
            modules = [layer for _ in range(layers) for layer in (torch.nn.Conv2d(4, 4, 1), torch.nn.Sigmoid())]
            return training_bytes(torch.nn.Sequential(*modules), (1, 4, 64, 64))

        # The way back through a convolution needs its input, that through a sigmoid its result: the same tensors.
        assert size(9) - size(8) == pytest.approx(4 * 4 * 64 * 64, rel=0.01)

    def test_batches_scale(self) -> None:
        network = torch.nn.Sequential(torch.nn.Conv3d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv3d(8, 8, 3))
        one, four = (training_bytes(network, (batch, 1, 16, 16, 16)) for batch in (1, 4))
        assert four == pytest.approx(4 * one, rel=0.1)

    def test_gradients_of_weights_count(self) -> None:
        network = torch.nn.Linear(1000, 1000, bias=False)
        assert training_bytes(network, (1, 1000)) >= 4 * 1000 * 1000


def test_estimates_have_a_margin() -> None:
    assert network_bytes(1000) == 1250
    assert process_bytes() >= process_bytes(is_this_one=False) == PROCESS_BYTES
    # Channels behind the affinities are only read.
    assert watershed_voxel_bytes(3, 5, 4) == watershed_voxel_bytes(3, 3, 4) + 8 == 1.2 * (53 + 3 * 34) + 8


# Bytes per voxel that `python -m benchmarks.agglomeration_memory` measured with noise, in November 2026.
@pytest.mark.parametrize(("channels", "itemsize", "measured"), [(3, 1, 52.9), (3, 1, 54.4), (9, 4, 92.2)])
def test_the_estimate_of_agglomeration_is_slightly_above_measurements(
    channels: int, itemsize: int, measured: float
) -> None:
    assert measured < agglomeration_voxel_bytes(3, channels, itemsize) < 1.3 * measured
