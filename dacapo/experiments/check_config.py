"""Look at the data that a config describes, and check whether a whole run can work."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dacapo.errors import ConfigError, DacapoError
from dacapo.experiments.config import Config, configs_inside, verify_all
from dacapo.experiments.datasplits import DataSplitConfig
from dacapo.experiments.datasplits.datasets import DatasetConfig
from dacapo.experiments.preflight import SECONDS, Finding, Report, preflight
from dacapo.experiments.preflight.checks import DATA
from dacapo.experiments.preflight.look import DatasetLook, Look
from dacapo.experiments.preflight.preflight import as_finding, datasets_of, report_of
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig


def check_config(config: Config, seconds: float = SECONDS) -> Report:
    """Look at what a config describes: a whole run, or the data of a datasplit or a dataset.

    Problems of the config itself are findings, too; nothing is read then.

    Args:
        config: The config.
        seconds: Time to spend on reading voxels, about.

    Raises:
        ConfigError: If it is a config of anything else.
    """
    if not isinstance(config, RunConfig | DataSplitConfig | DatasetConfig):
        raise ConfigError(f"got a {type(config).__name__}; expected the config of a run, a datasplit or a dataset")
    started = time.monotonic()
    problems = [Finding("error", "config", *problem) for problem in _problems(config)]
    if problems:
        return Report.of(problems, [], time.monotonic() - started)
    try:
        if isinstance(config, RunConfig):
            return preflight(Run.to_train(config), seconds)
        datasets = _built(config)
    except DacapoError as error:
        return Report.of([as_finding(error)], [], time.monotonic() - started)
    return report_of(Look(datasets), DATA, seconds, started)


def _problems(config: Config) -> Iterator[tuple[str, str]]:
    """Yield path and sentence of the problems of a config, without those of how parts fit together."""
    if not isinstance(config, RunConfig):
        yield from verify_all(config)
        return
    for step, inner in configs_inside(config):
        yield from verify_all(inner, step)
    problem = config.value_problem()
    if problem is not None:
        yield problem


def _built(config: DataSplitConfig | DatasetConfig) -> list[DatasetLook]:
    if isinstance(config, DatasetConfig):
        return [DatasetLook("train", config.dataset_type(config), "")]
    return list(datasets_of(config.datasplit_type(config), config))
