"""Time the pages of the dashboard with many runs and long trainings, the first time and again.

python -m benchmarks.dashboard                   1,000 runs, the first with 10^6 iterations
python -m benchmarks.dashboard --runs 50 --iterations 10000
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from dacapo.dashboard import Dashboard
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import AffinitiesTaskConfig
from dacapo.options import Options
from dacapo.store.create_store import create_config_store
from dacapo.store.files import make_folder
from dacapo.store.json_lines import encode
from dacapo.utils.text_table import text_table

from .batches import make_run
from .data import DIRECT
from .harness import machine

VALIDATIONS = 50


def main(arguments: Sequence[str] | None = None) -> None:
    """Store runs, serve them, and print the times of pages."""
    parser = argparse.ArgumentParser(prog="benchmarks.dashboard", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="number of runs")
    parser.add_argument("--iterations", type=int, default=10**6, help="iterations of the first run; others have 1,000")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, Options.override(runs_base_dir=folder):
        store_runs(Path(folder), options.runs, options.iterations)
        before = memory()
        server = Dashboard(port=0)
        started = threading.Event()
        thread = threading.Thread(target=server.serve, args=(started.set,), daemon=True)
        thread.start()
        started.wait()
        rows = []
        for title, path in (
            ("list", ""),
            ("list, filtered and sorted", "?q=run1&sort=best"),
            ("run", "run/run0"),
            ("comparison of 12 runs", "compare?" + "&".join(f"run=run{number}" for number in range(12))),
        ):
            first, tag, size = request(server.url + path)
            again, unchanged = (min(request(server.url + path, known)[0] for _ in range(5)) for known in ("", tag))
            rows.append(
                [title, *(f"{1000 * value:,.0f}" for value in (first, again, unchanged)), f"{size / 1024:,.0f}"]
            )
        add_losses(Path(folder), "run0", options.iterations, options.iterations + 100)
        rows.append(["run, after 100 iterations", f"{1000 * request(server.url + 'run/run0')[0]:,.0f}", "", "", ""])
        server.stop()
        thread.join()
    print("\n".join(machine()))
    print(f"{options.runs} runs, the first with {options.iterations:,} iterations; times in milliseconds\n")
    print(text_table(["page", "first", "again", "unchanged", "size [KiB]"], rows))
    print(f"\nmemory: {memory() - before:.0f} MiB more at most than before the first page")


def store_runs(folder: Path, runs: int, iterations: int) -> None:
    """Write configs, losses and scores as trainings do, without training."""
    run = make_run(AffinitiesTaskConfig(name="affinities", neighborhood=DIRECT), [], 64)
    shape = (1, len(list(run.task.parameters)), len(run.task.evaluation_scores.criteria))
    for number in range(runs):
        config: RunConfig = attrs.evolve(run.config, name=f"run{number}", num_iterations=iterations)
        create_config_store().store_run_config(config)
        add_losses(folder, config.name, 0, 1000 if number else iterations)
        add_scores(folder, config.name, shape, seed=number)


def add_losses(folder: Path, name: str, begin: int, end: int) -> None:
    """Append losses to the record of a run."""
    random = np.random.default_rng(end)
    file = make_folder(folder / "stats" / "training_stats") / name
    with open(file, "ab") as record:
        for iteration, loss in enumerate(random.random(end - begin).tolist(), start=begin):
            record.write(encode({"iteration": iteration, "loss": loss, "time": 0.123456}) + b"\n")


def add_scores(folder: Path, name: str, shape: tuple[int, ...], seed: int) -> None:
    """Write the scores of a run."""
    random = np.random.default_rng(seed)
    entries = [{"iteration": 20 * i, "scores": random.random(shape).tolist()} for i in range(1, VALIDATIONS + 1)]
    file = make_folder(folder / "stats" / "validation_scores") / name
    file.write_bytes(b"".join(encode(entry) + b"\n" for entry in entries))


def request(url: str, tag: str = "") -> tuple[float, str, int]:
    """Return the seconds that an answer took, its tag, and its size."""
    asked = urllib.request.Request(url, headers={"If-None-Match": tag} if tag else {})
    begin = time.perf_counter()
    try:
        with urllib.request.urlopen(asked, timeout=600) as answer:
            size = len(answer.read())
            return time.perf_counter() - begin, answer.headers["ETag"], size
    except urllib.error.HTTPError as error:
        if error.code != 304:
            raise
        return time.perf_counter() - begin, tag, 0


def memory() -> float:
    """Return the largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
