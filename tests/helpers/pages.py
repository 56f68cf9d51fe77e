"""Runs that pages show, and the server of the dashboard."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from dacapo.dashboard import Dashboard
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.store.create_store import create_config_store, create_stats_store
from tests.helpers.processes import PATIENCE
from tests.helpers.runs import affinities_run_config, unet_config

HOSTILE = '<img src=x onerror="alert(1)"> & "quotes" \'{{ 7 * 7 }}\' %2e'


def store_run(folder: Path, name: str, iterations: int = 40, **trainer: Any) -> RunConfig:
    """Store a run in two dimensions with losses and two validations, which nobody trained."""
    config = affinities_run_config(
        folder, name=name, dims=2, architecture_config=unet_config(2), num_iterations=100, validation_interval=20
    )
    config = attrs.evolve(config, trainer_config=attrs.evolve(config.trainer_config, **trainer))
    create_config_store().store_run_config(config)
    add_losses(name, iterations)
    run = Run(config, load_starter_model=False)
    shape = (1, len(run.validation_scores.parameters), len(run.validation_scores.criteria))
    for iteration, score in ((20, 3.0), (40, 2.0)):
        values = np.full(shape, score + iterations / 1000)
        values[0, 1] -= 0.5
        scores = ValidationIterationScores(iteration, values.tolist(), datasets=["validate"])
        run.validation_scores.add_iteration_scores(scores)
    create_stats_store().store_validation_iteration_scores(name, run.validation_scores)
    return config


def add_losses(name: str, iterations: int) -> None:
    """Store the losses of a run up to an iteration."""
    stats = [TrainingIterationStats(i, 1 / (i + 1) + 0.001 * (i % 7), 0.1) for i in range(iterations)]
    create_stats_store().store_training_stats(name, TrainingStats(stats))


@contextmanager
def served(**settings: Any) -> Iterator[Dashboard]:
    """Serve the dashboard of the stores in use."""
    dashboard = Dashboard(**{"port": 0, **settings})
    started = threading.Event()
    thread = threading.Thread(target=dashboard.serve, args=(started.set,), daemon=True)
    thread.start()
    assert started.wait(PATIENCE)
    try:
        yield dashboard
    finally:
        dashboard.stop()
        thread.join(PATIENCE)


@attrs.frozen
class Answer:
    """The answer of a server."""

    status: int
    text: str
    headers: Mapping[str, str]


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def ask(url: str, method: str = "GET", **headers: str) -> Answer:
    """Send a request, without following redirects."""
    request = urllib.request.Request(url, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=PATIENCE) as answer:
            return Answer(answer.status, answer.read().decode(), answer.headers)
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode(), error.headers)
