"""Scores of trainings over their time, as a file and a picture, and how steady they are."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import attrs

from dacapo.utils.text_table import text_table

SETTLED = 600  # seconds of processor time after which scores should be steady
GOAL = 0.15  # bits by which a state may be worse than the best before it


@attrs.define
class Curves:
    """The scores of states of trainings.

    Attributes:
        file: JSON file for them, written at each new score; None for none. The picture has the same name, with
            ``.png``.
        points: Name, seed, processor seconds, iteration, split and merge VOI in bits, and bias of each state.
    """

    file: Path | None = None
    points: list[dict[str, Any]] = attrs.field(factory=list)

    def add(
        self, name: str, seed: int | None, seconds: float, iteration: int, split: float, merge: float, bias: float
    ) -> None:
        """Add the scores of a state, and write all so far."""
        self.points.append(
            {"name": name, "seed": seed, "seconds": seconds, "iteration": iteration, "split": split, "merge": merge}
            | {"bias": bias}
        )
        if self.file is not None:
            self.file.write_text(json.dumps(self.points, indent=1))
            self.draw(self.file.with_suffix(".png"))

    def series(self) -> dict[tuple[str, int | None], list[dict[str, Any]]]:
        """Return the states of each training, by name and seed."""
        found: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
        for point in self.points:
            found.setdefault((point["name"], point["seed"]), []).append(point)
        return found

    def summary(self) -> str:
        """Return a table of how much worse than the best before them states are, after ten minutes."""
        rows = []
        for (name, seed), points in self.series().items():
            late = [above for point, above in zip(points, excesses(points), strict=True) if is_late(point)]
            if late:
                best = min(map(total, points))
                worst = max(late)
                steady = f"{sum(above <= GOAL for above in late)} of {len(late)}"
                rows.append([name, str(seed), f"{best:.3f}", f"{worst:.3f}", steady])
        return text_table(("after 10 minutes", "seed", "best VOI", "worst above best before", f"within {GOAL}"), rows)

    def draw(self, path: Path) -> None:
        """Draw all scores over time."""
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
        for (name, seed), points in self.series().items():
            label = name if seed is None else f"{name}, seed {seed}"
            axes.plot([point["seconds"] / 60 for point in points], list(map(total, points)), marker=".", label=label)
        axes.set(xlabel="minutes of processor time", ylabel="VOI in bits")
        axes.legend()
        figure.savefig(path, dpi=120)
        pyplot.close(figure)


def total(point: dict[str, Any]) -> float:
    """Return the variation of information of a state."""
    return float(point["split"] + point["merge"])


def is_late(point: dict[str, Any]) -> bool:
    """Return whether a state is one of those that should be steady."""
    return bool(point["seconds"] > SETTLED)


def excesses(points: list[dict[str, Any]]) -> list[float]:
    """Return by how much each state is worse than the best one before it, negative if it is better; 0 for the first."""
    totals = list(map(total, points))
    best_before = [totals[0], *accumulate(totals[:-1], min)]
    return [value - best for value, best in zip(totals, best_before, strict=True)]
