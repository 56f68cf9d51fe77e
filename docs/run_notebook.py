"""Execute a notebook and write it with its outputs.

    python docs/run_notebook.py examples/segment_cells.ipynb [OUTPUT]

Without an output the notebook itself is replaced. Set DACAPO_NOTEBOOK_ITERATIONS to train for a shorter time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

CELL_SECONDS = 1800
# Talk to the kernel through files of this user, not through ports.
CONFIG = Config({"KernelManager": {"transport": "ipc"}})


def main() -> None:
    """Execute the notebook that the command line names."""
    source = Path(sys.argv[1])
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else source
    notebook = nbformat.read(source, as_version=4)
    NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", config=CONFIG).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the time of day, which is another one each time
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


if __name__ == "__main__":
    main()
