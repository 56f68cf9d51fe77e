"""All but the gunpowder trainer works where gunpowder is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys

sys.modules["gunpowder"] = None  # an import of it fails

from pathlib import Path

import dacapo
from dacapo.apply import apply
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.options import Options
from dacapo.store.create_store import create_config_store
from dacapo.train import train
from tests.helpers.runs import affinities_run_config
from tests.helpers.volumes import new_volume

folder = Path(sys.argv[1])
Options.instance(runs_base_dir=folder / "runs")
trainer = TorchTrainerConfig("trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=2, snapshot_interval=1)
config = affinities_run_config(folder / "data", dims=2, num_iterations=2, validation_interval=2, trainer_config=trainer)
create_config_store().store_run_config(config)
run = train(config.name)
assert [scores.iteration for scores in run.validation_scores.scores] == [2]
volume = new_volume(folder)
applied = apply(config.name, volume.container, volume.dataset, folder / "out.zarr")
print("segmented", (applied.output.container / applied.output.dataset).is_dir())
"""


def test_training_validation_and_application(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.splitlines()[-1] == "segmented True"
