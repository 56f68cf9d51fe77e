"""The original, run as a black box in an environment of its own; see ``benchmarks/original/README.md``."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "original"
# Its prediction within one process raises a TypeError with the version of daisy that it needs.
SETTINGS = """\
type: files
runs_base_dir: {folder}/runs
compute_context:
  type: LocalTorch
  config:
    distribute_workers: true
"""


def run_script(python: str, script: str, arguments: Sequence[str | Path], folder: Path) -> None:
    """Run a script of ``benchmarks/original`` in the original's environment.

    Args:
        python: The interpreter there.
        script: Name of the file.
        arguments: What to pass.
        folder: The working directory, which holds the settings of the original and whatever it writes.

    Raises:
        subprocess.CalledProcessError: If the script fails.
    """
    (folder / "dacapo.yaml").write_text(SETTINGS.format(folder=folder), encoding="utf-8")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    paths = os.pathsep.join([str(Path(python).parent), variables.get("PATH", "")])
    variables |= {"HOME": str(folder), "PATH": paths}
    # Its output is no table, but says what it is busy with.
    command = [python, str(FOLDER / script), *map(str, arguments)]
    subprocess.run(command, check=True, cwd=folder, env=variables, stdout=subprocess.DEVNULL)


def timings(python: str, names: Sequence[str], quick: bool) -> dict[str, str]:
    """Return for each case what the table shows of the original: its time by that of the floor, or why there is none.

    Both are timed in one process, with the same inputs as here.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        output = folder / "timings.json"
        results: dict[str, Any] = {}
        try:
            run_script(python, "cases.py", [output, *names, *(["--quick"] if quick else [])], folder)
        except subprocess.CalledProcessError as error:
            # What was timed until then counts, and so does ours.
            results = {name: {"problem": f"ended with status {error.returncode} before"} for name in names}
        if output.exists():
            results |= json.loads(output.read_text(encoding="utf-8"))
    return {name: shown(result) for name, result in results.items()}


def shown(result: dict[str, Any]) -> str:
    """Return the ratio of the medians, or what went wrong."""
    if "problem" in result:
        return str(result["problem"])
    return f"{np.median(result['original']) / np.median(result['floor']):.2f}"
