"""Start of a process that imports the package; the floor is one that imports PyTorch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from .harness import Case, Setting

# Run in the child: what it imports is named by the first argument, and it says whether PyTorch came with it.
IMPORT = "import importlib, sys; importlib.import_module(sys.argv[1]); print('torch' in sys.modules)"


def python(*arguments: str) -> str:
    """Run an interpreter and return what it prints."""
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout.strip()


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
