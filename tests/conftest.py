"""What all tests share: options in a temporary folder, few threads, fixed seeds."""

from __future__ import annotations

import os

# Before anything imports NumPy or PyTorch, which read it once. Processes that test side by side share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")

import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import yaml

from dacapo.options import ENVIRONMENT_VARIABLE, DaCapoConfig, Options

# A shell that starts tests in the background lets them ignore Ctrl-C, which several of them send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A failed assertion of a helper shows its values too.
pytest.register_assert_rewrite("tests.helpers")

# The same examples each time, and no limit per example, which a busy machine would exceed.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fib25", metavar="PATH", help="Zarr container of the FIB-25 volume, for the tests on real data")


@pytest.fixture(scope="session")
def fib25(request: pytest.FixtureRequest) -> Path:
    """Path of the FIB-25 container; the test is skipped where none is given."""
    path = request.config.getoption("--fib25")
    if path is None:
        pytest.skip("needs --fib25=PATH")
    path = Path(path).resolve()
    if not path.is_dir():
        raise pytest.UsageError(f"--fib25: there is no container {path}")
    return path


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaCapoConfig]:
    """Options of a store in a temporary folder, for this process and those it starts."""
    file = tmp_path / "options.yaml"
    file.write_text(yaml.safe_dump({"runs_base_dir": str(tmp_path / "runs")}))
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(file))
    Options.reset()
    yield Options.instance()
    Options.reset()


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
