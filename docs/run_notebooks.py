"""Execute the notebooks of the examples, each from clean in a folder of its own, and check their outputs.

    python docs/run_notebooks.py [NAME ...] [--iterations N] [--output FOLDER] [--record]

Without names, all of them. With ``--record`` the pages of the documentation show these outputs; the notebooks
themselves are stored without. The exit status is 1 if anything is wrong with an output.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from notebook_outputs import ITERATIONS, default_iterations, problems, record
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES, RECORDED = ROOT / "examples", ROOT / "docs" / "notebooks"
CELL_SECONDS = 1800


def main() -> int:
    """Execute the notebooks that the command line names, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=sorted(path.stem for path in EXAMPLES.glob("*.ipynb")))
    shorter = os.environ.get(ITERATIONS)
    help_text = f"train for so long, in place of the notebook's own setting; by default ${ITERATIONS}"
    parser.add_argument("--iterations", type=int, default=shorter, help=help_text)
    parser.add_argument("--output", type=Path, help="folder for the notebooks with their outputs")
    parser.add_argument("--record", action="store_true", help="keep the outputs for the pages of the documentation")
    arguments = parser.parse_args()
    if arguments.record and arguments.iterations is not None:
        parser.error("--record needs results, so leave out --iterations")
    found = [problem for name in arguments.names for problem in check(name, arguments)]
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    return 1 if found else 0


def check(name: str, arguments: argparse.Namespace) -> list[str]:
    """Execute a notebook, keep its outputs where asked to, and return what is wrong with them."""
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    begin = time.perf_counter()
    execute(notebook, arguments.iterations)
    sys.stdout.write(f"{name}: {time.perf_counter() - begin:.0f} s\n")
    sys.stdout.flush()
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, arguments.output / f"{name}.ipynb")
    found = problems(notebook, arguments.iterations or default_iterations(notebook))
    if arguments.record and not found:
        record(notebook, RECORDED / name)
    return [f"{name}: {problem}" for problem in found]


def execute(notebook: NotebookNode, iterations: int | None) -> None:
    """Execute a notebook in place, in an empty folder that is removed afterwards.

    A cell that fails ends the execution; its error is among the outputs.
    """
    with tempfile.TemporaryDirectory() as folder, environment(Path(folder), iterations):
        # Talk to the kernel through files of this user, not through ports.
        sockets = {"transport": "ipc", "ip": str(Path(folder) / "kernel")}
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            config=Config({"KernelManager": sockets}),
            resources={"metadata": {"path": folder}},
            record_timing=False,
        )
        with suppress(CellExecutionError):  # it is among the outputs
            client.execute()


@contextmanager
def environment(folder: Path, iterations: int | None) -> Iterator[None]:
    """Let the kernel find the commands of this Python and nothing of this user: no settings, no temporary files."""
    before = dict(os.environ)
    temporary = folder / "tmp"
    temporary.mkdir()
    os.environ |= {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython"), "TMPDIR": str(temporary)}
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    for name in ("DACAPO_OPTIONS_FILE", "OPTIONS_FILE", ITERATIONS):
        os.environ.pop(name, None)
    if iterations is not None:
        os.environ[ITERATIONS] = str(iterations)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


if __name__ == "__main__":
    sys.exit(main())
