"""Start of a process that imports the package; the floor is one that imports PyTorch.

Modules are compiled before, as they are when a package is installed, in a folder of the benchmark's own.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from .harness import Case, Setting

# Run in the child: what it imports is named by the first argument, and it says whether PyTorch came with it.
IMPORT = "import importlib, sys; importlib.import_module(sys.argv[1]); print('torch' in sys.modules)"


@functools.cache
def compiled() -> tempfile.TemporaryDirectory[str]:
    """Return the folder of compiled modules, which is deleted when this process ends."""
    return tempfile.TemporaryDirectory()


def python(*arguments: str) -> str:
    """Run an interpreter and return what it prints."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**variables, "PYTHONPYCACHEPREFIX": compiled().name},
    ).stdout.strip()


def start(_: Setting, arguments: Sequence[str], says: str, goal: str) -> Case:
    def check(output: str, expected: str) -> None:
        np.testing.assert_equal((says in output, expected), (True, "True"))

    return Case(lambda: python(*arguments), lambda: python("-c", IMPORT, "torch"), check, goal)


CASES: dict[str, Callable[[Setting], Case]] = {
    "import dacapo": partial(start, arguments=["-c", IMPORT, "dacapo"], says="False", goal="100 ms"),
    "dacapo --help": partial(start, arguments=["-m", "dacapo", "--help"], says="Usage", goal="300 ms"),
    "import dacapo.experiments": partial(start, arguments=["-c", IMPORT, "dacapo.experiments"], says="", goal="1.1"),
    "import dacapo.train": partial(start, arguments=["-c", IMPORT, "dacapo.train"], says="True", goal="1.1"),
}
