"""The work that is killed: each way to write what belongs to a run, on tiny data; :mod:`.block_writers` has others."""

from __future__ import annotations

import hashlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dacapo.experiments.checkpoints import save
from dacapo.experiments.run import Run
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.options import Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import (
    create_array_store,
    create_config_store,
    create_stats_store,
    create_weights_store,
)
from dacapo.train import train
from dacapo.validate import validate
from tests.helpers.runs import affinities_run_config, dummy_run_config, unet_config
from tests.helpers.volumes import stored_values

Report = Callable[[int], None]
RUN = "affinities"


class Writer(ABC):
    """One way to write. All of its work is in a folder, and doing it again goes on where it ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        Options.instance(runs_base_dir=folder / "runs")

    def prepare(self) -> None:  # noqa: B027  # most need nothing
        """Write what the work needs."""

    @abstractmethod
    def work(self, report: Report) -> None:
        """Do all that is missing, and report a number whenever something is saved."""

    @abstractmethod
    def check(self, reported: int) -> None:
        """Open everything, and fail if something is lost that was reported as saved; -1 stands for nothing."""

    @abstractmethod
    def result(self) -> dict[str, Any]:
        """Return everything that was written, for a comparison."""


def expect(condition: object, what: str) -> None:
    """Fail unless a condition holds."""
    if not condition:
        raise AssertionError(what)


def digest(values: np.ndarray[Any, Any]) -> str:
    """Return a digest of an array with its shape."""
    return f"{values.shape} {hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]}"


def arrays_of(folder: Path) -> dict[str, str]:
    """Return a digest of each array below a folder, by its path."""
    found = {}
    for file in sorted(folder.rglob(".zarray")):
        path = file.parent
        if ".blocks" not in str(path):
            identifier = LocalArrayIdentifier(path.parent, path.name)
            found[str(path.relative_to(folder))] = digest(stored_values(identifier))
    return found


class Configs(Writer):
    """Configs of runs, each replaced by another once."""

    count = 150

    def work(self, report: Report) -> None:
        store = create_config_store()
        names = set(store.retrieve_run_config_names())
        for number in range(self.count):
            if f"run_{number}" not in names:
                store.store_run_config(dummy_run_config(f"run_{number}", num_iterations=10 + number))
            report(number)

    def check(self, reported: int) -> None:
        store = create_config_store()
        names = store.retrieve_run_config_names()
        for number in range(reported + 1):
            expect(f"run_{number}" in names, f"config {number} is lost")
        for name in names:
            wanted = dummy_run_config(name, num_iterations=10 + int(name.split("_")[1]))
            expect(store.retrieve_run_config(name) == wanted, f"config {name} changed")

    def result(self) -> dict[str, Any]:
        store = create_config_store()
        return {name: str(store.retrieve_run_config(name)) for name in sorted(store.retrieve_run_config_names())}


class Statistics(Writer):
    """Statistics of a training, which are appended."""

    count, step = 60, 50

    def work(self, report: Report) -> None:
        store = create_stats_store()
        stats = store.retrieve_training_stats("run")
        while stats.trained_until() < self.count * self.step:
            done = stats.trained_until()
            for iteration in range(done, (done // self.step + 1) * self.step):
                stats.add_iteration_stats(TrainingIterationStats(iteration, 1 / (1 + iteration), 0.1))
            store.store_training_stats("run", stats)
            report(stats.trained_until())

    def check(self, reported: int) -> None:
        stats = create_stats_store().retrieve_training_stats("run")
        expect(stats.trained_until() >= reported, f"{reported} were saved, {stats.trained_until()} are there")
        for number, one in enumerate(stats.iteration_stats):
            expect((one.iteration, one.loss) == (number, 1 / (1 + number)), f"iteration {number} changed")

    def result(self) -> dict[str, Any]:
        stats: TrainingStats = create_stats_store().retrieve_training_stats("run")
        return {"losses": [one.loss for one in stats.iteration_stats]}


def small_run(folder: Path, **more: Any) -> Any:
    trainer = TorchTrainerConfig("trainer", 1, 1e-3, num_data_fetchers=1)
    return affinities_run_config(
        folder, RUN, 2, trainer_config=trainer, architecture_config=unet_config(2, num_fmaps=2), **more
    )


class Checkpoints(Writer):
    """Checkpoints and the links to the best, without a training."""

    count = 25

    def prepare(self) -> None:
        create_config_store().store_run_config(small_run(self.folder))

    def run(self) -> Run:
        return Run(create_config_store().retrieve_run_config(RUN))

    def work(self, report: Report) -> None:
        store, run = create_weights_store(), self.run()
        for iteration in range((store.latest_iteration(RUN) or 0) + 1, self.count + 1):
            self.fill(run, iteration)
            store.store_weights(run, iteration)
            report(iteration)
        store.store_best(RUN, self.count, "validate", "voi")

    def fill(self, run: Run, iteration: int) -> None:
        for parameter in run.model.parameters():
            torch.nn.init.constant_(parameter, float(iteration))

    def check(self, reported: int) -> None:
        store, run = create_weights_store(), self.run()
        latest = store.latest_iteration(RUN) or 0
        expect(latest >= reported, f"checkpoint {reported} was saved, {latest} is the latest")
        for iteration in range(1, latest + 1):
            store.load_weights(run, iteration)
            values = torch.cat([parameter.flatten() for parameter in run.model.parameters()])
            expect(bool((values == iteration).all()), f"checkpoint {iteration} changed")

    def result(self) -> dict[str, Any]:
        store = create_weights_store()
        return {"latest": store.latest_iteration(RUN), "best": store.retrieve_best(RUN, "validate", "voi")}


class Training(Writer):
    """A training with a checkpoint after each iteration, validations, and what is best."""

    def prepare(self) -> None:
        create_config_store().store_run_config(small_run(self.folder, num_iterations=8, validation_interval=4))

    def work(self, report: Report) -> None:
        def save_and_report(run: Run, previous: int) -> int:
            iteration = save(run, previous)
            report(iteration)
            return iteration

        module: Any = sys.modules["dacapo.train"]  # the package has a function of this name
        module.CHECKPOINT_SECONDS = 0
        module.save = save_and_report
        train(RUN, check=False)

    def check(self, reported: int) -> None:
        run = Run(create_config_store().retrieve_run_config(RUN))
        latest, stats = create_weights_store().latest_iteration(RUN) or 0, create_stats_store()
        expect(latest >= reported, f"checkpoint {reported} was saved, {latest} is the latest")
        expect(stats.retrieve_training_stats(RUN).trained_until() >= latest, "statistics end before the checkpoint")
        stats.retrieve_validation_iteration_scores(RUN)
        if latest:
            create_weights_store().load_weights(run, latest)
        arrays_of(self.folder / "runs" / RUN)

    def result(self) -> dict[str, Any]:
        run, stats = Run(create_config_store().retrieve_run_config(RUN)), create_stats_store()
        create_weights_store().load_weights(run, 8)
        scores = stats.retrieve_validation_iteration_scores(RUN)
        return {
            "losses": [one.loss for one in stats.retrieve_training_stats(RUN).iteration_stats],
            "weights": digest(torch.cat([p.detach().flatten() for p in run.model.parameters()]).numpy()),
            "scores": json.dumps([[one.iteration, one.scores] for one in scores]),
            "best": create_weights_store().retrieve_best(RUN, "validate", "voi"),
            "arrays": arrays_of(self.folder / "runs" / RUN),
        }


class Validation(Writer):
    """Validations of two checkpoints, which replace scores and what is best."""

    def prepare(self) -> None:
        create_config_store().store_run_config(small_run(self.folder))
        run, stats = Run(create_config_store().retrieve_run_config(RUN)), TrainingStats()
        for iteration in (1, 2):
            stats.add_iteration_stats(TrainingIterationStats(iteration - 1, 1.0, 0.1))
            create_stats_store().store_training_stats(RUN, stats)
            torch.manual_seed(iteration)
            for parameter in run.model.parameters():
                torch.nn.init.normal_(parameter, 0, 0.2)
            create_weights_store().store_weights(run, iteration)

    def work(self, report: Report) -> None:
        done = [one.iteration for one in create_stats_store().retrieve_validation_iteration_scores(RUN)]
        for iteration in (1, 2):
            if iteration in done and iteration == 1:
                continue
            validate(RUN, iteration, num_workers=1)
            report(iteration)

    def check(self, reported: int) -> None:
        scores = create_stats_store().retrieve_validation_iteration_scores(RUN)
        expect(max([one.iteration for one in scores], default=0) >= reported, f"scores of {reported} are lost")
        arrays_of(self.folder / "runs" / RUN)

    def result(self) -> dict[str, Any]:
        scores = create_stats_store().retrieve_validation_iteration_scores(RUN)
        container = create_array_store().validation_container(RUN).container
        return {"scores": json.dumps([[one.iteration, one.scores] for one in scores]), "arrays": arrays_of(container)}


WRITERS: dict[str, type[Writer]] = {
    "configs": Configs,
    "statistics": Statistics,
    "checkpoints": Checkpoints,
    "training": Training,
    "validation": Validation,
}
