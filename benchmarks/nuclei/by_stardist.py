"""StarDist, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np

from .data import Fold, Nuclei, Result

SCRIPT = Path(__file__).with_name("stardist_run.py")


def segmented(nuclei: Nuclei, fold: Fold, python: str, seconds: float, seed: int, folder: Path) -> Result:
    """Train for a processor time, choose on one band, and segment the one that is left out.

    Args:
        nuclei: The image.
        fold: Its division.
        python: The interpreter of an environment with StarDist.
        seconds: Processor time of the training.
        seed: Its seed.
        folder: For what is written.
    """
    chosen = nuclei.band(fold.chosen)
    arrays = {"chosen_raw": chosen.raw, "chosen_labels": chosen.labels, "scored_raw": nuclei.band(fold.scored).raw}
    for rows in fold.trained(len(nuclei.raw)):
        part = nuclei.rows(*rows)
        arrays |= {f"raw_{rows[0]}": part.raw, f"labels_{rows[0]}": part.labels}
    np.savez(folder / "data.npz", **arrays)
    command = [python, SCRIPT, folder, "--seconds", str(seconds), "--seed", str(seed)]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (folder / "log").open("w") as log:
        subprocess.run(list(map(str, command)), check=True, env=variables, stdout=log, stderr=subprocess.STDOUT)
    summary = json.loads((folder / "summary.json").read_text())
    thresholds = " and ".join(f"{value:.2f}" for value in summary["thresholds"])
    return Result(
        np.load(folder / "segments.npy"), summary["seconds"], f"{summary['steps']} steps, thresholds {thresholds}"
    )
