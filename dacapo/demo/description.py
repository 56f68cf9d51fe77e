"""The run of the demo, described by configs."""

from __future__ import annotations

from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.defaults import default_network, default_run_config
from dacapo.experiments.run_config import RunConfig

from .data import DemoData

RUN_NAME = "demo"


def describe_run(data: DemoData, iterations: int) -> RunConfig:
    """Return the config of the run: affinities, by a small U-Net that fits the data, the same on every machine."""
    split = TrainValidateDataSplitConfig(name="parts", train_configs=[data.train], validate_configs=[data.validate])
    return default_run_config(
        split,
        RUN_NAME,
        num_iterations=iterations,
        architecture_config=default_network(data.facts),
        facts=data.facts,
    )
