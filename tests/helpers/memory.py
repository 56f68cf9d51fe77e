"""Volumes and runs whose use of memory is measured."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.run import Run
from dacapo.experiments.trainers import GunpowderTrainerConfig
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.processes import wait_until
from tests.helpers.runs import affinities_run_config, unet_config

VOXEL = Coordinate(8, 4, 4)


def large(folder: Path, shape: tuple[int, int, int] = (500, 700, 600)) -> ZarrArray:
    """Return an array of zeros, of which nothing is on disk."""
    if (folder / "large.zarr").exists():
        return ZarrArray.open_from_array_identifier(LocalArrayIdentifier(folder / "large.zarr", "raw"), mode="r")
    return ZarrArray.create_from_array_identifier(
        LocalArrayIdentifier(folder / "large.zarr", "raw"),
        ["z", "y", "x"],
        Roi((0, 0, 0), Coordinate(shape) * VOXEL),
        None,
        VOXEL,
        np.uint8,
    )


def training_run(folder: Path, batch_size: int = 6, accumulate: int = 1) -> Run:
    """Return a run whose network takes much more memory in training than anything beside it."""
    trainer = GunpowderTrainerConfig(
        name="trainer", batch_size=batch_size, learning_rate=1e-3, num_data_fetchers=1, accumulate=accumulate
    )
    architecture = unet_config(3, num_fmaps=16)
    return Run(affinities_run_config(folder, dims=3, architecture_config=architecture, trainer_config=trainer))


_GROUPS = Path("/sys/fs/cgroup")


@contextmanager
def control_group(limit: int) -> Iterator[Path]:
    """Give the folder of a control group whose processes are killed if they take more than a number of bytes.

    The test is skipped where no group can be made, which takes the rights of the administrator.
    """
    unified = (_GROUPS / "cgroup.controllers").exists()
    folder = (_GROUPS if unified else _GROUPS / "memory") / f"dacapo_test_{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.max" if unified else "memory.limit_in_bytes")).write_text(str(limit))
    except OSError as error:
        folder.is_dir() and folder.rmdir()
        pytest.skip(f"control groups cannot be made here: {error}")
    try:
        yield folder
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not (folder / "cgroup.procs").read_text().split())
        folder.rmdir()


def kills_in(group: Path) -> int:
    """Return how many processes of a control group were killed for want of memory."""
    for name in ("memory.events", "memory.oom_control"):
        if (group / name).exists():
            lines = dict(line.split() for line in (group / name).read_text().splitlines())
            return int(lines["oom_kill"])
    raise AssertionError(f"{group} does not count its kills")


def run_within(group: Path, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code in a control group, with the processes that it starts."""
    join = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    command = [sys.executable, "-c", join + script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
