"""The example plugin, installed as a package of its own, works in stores and on the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dacapo.errors import UnknownTypeError
from dacapo.experiments.config import config_class
from dacapo.options import ENVIRONMENT_VARIABLE
from dacapo.store.converter import to_plain
from dacapo.store.yaml_files import dump_yaml
from tests.helpers.runs import affinities_run_config
from tests.helpers.volumes import cells, write_array

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that pip has installed the plugin into; the sources stay as they are."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--target", folder / "installed", folder / "source"], check=True, capture_output=True)
    return folder / "installed"


@pytest.fixture
def python(installed: Path, tmp_path: Path) -> Run:
    """Return what runs Python with the plugin installed."""
    (tmp_path / "options.yaml").write_text(f"runs_base_dir: {tmp_path / 'runs'}\n")
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "PYTHONDONTWRITEBYTECODE": "1",
        ENVIRONMENT_VARIABLE: str(tmp_path / "options.yaml"),
    }

    def run(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def run_file(folder: Path) -> Path:
    """Write a run whose task, architecture, trainer and raw data are the plugin's, which is not imported here."""
    plain: dict[str, Any] = to_plain(affinities_run_config(folder / "data", "plugged", num_iterations=2))
    for seed, part in enumerate(("train", "validate")):
        _, labels = cells((40, 40, 40), seed)
        write_array(folder / "data" / f"{part}.zarr", "foreground", (labels % 2).astype(np.uint8))
        for dataset in plain["datasplit_config"][f"{part}_configs"]:
            raw = dataset["raw_config"]
            dataset["raw_config"] = {"__type__": "InvertedArrayConfig", "name": "inv", "source_array_config": raw}
            dataset["gt_config"]["dataset"] = "foreground"
    trainer = {"name": "momentum", "batch_size": 2, "learning_rate": 0.01, "mirror_augment": True}
    plain |= {
        "validation_interval": 2,
        "task_config": {"__type__": "TwoClassTaskConfig", "name": "cells", "foreground": "cell"},
        "architecture_config": {"__type__": "TwoConvolutionsConfig", "name": "tiny", "input_shape": [20, 20, 20]},
        "trainer_config": {"__type__": "MomentumTrainerConfig", **trainer},
    }
    path = folder / "run.yaml"
    path.write_text(dump_yaml(plain))
    return path


def test_is_not_known_without_being_installed() -> None:
    assert "dacapo_example_plugin" not in sys.modules
    with pytest.raises(UnknownTypeError):
        config_class("TwoClassTaskConfig")


def test_the_command_line_knows_it(python: Run, tmp_path: Path) -> None:
    commands = [["list", "TaskConfig"], ["schema"], ["validate", str(run_file(tmp_path))]]
    code = (
        "import json\n"
        "from click.testing import CliRunner\n"
        "from dacapo.cli import cli\n"
        f"print(json.dumps([CliRunner().invoke(cli, ['config', *command]).stdout for command in {commands}]))\n"
    )
    listed, schema, checked = json.loads(python("-c", code).stdout)
    assert "TwoClassTaskConfig " in listed
    assert "foreground" in json.loads(schema)["$defs"]["TwoClassTaskConfig"]["properties"]
    (line,) = checked.splitlines()
    assert line.startswith(f"{tmp_path}/run.yaml: trainer_config: a DummyTrainer learns nothing")


def test_a_stored_run_trains_and_validates_without_an_import(python: Run, tmp_path: Path) -> None:
    path = run_file(tmp_path)
    assert "stored run plugged" in python("-m", "dacapo.cli", "config", "store", path).stdout
    code = (
        "from dacapo.cli import cli\n"
        "cli(['train', 'plugged'], standalone_mode=False)\n"
        "cli(['validate', 'plugged', '2'], standalone_mode=False)\n"
        "from dacapo.store.create_store import create_config_store\n"
        "config = create_config_store().retrieve_run_config('plugged')\n"
        "kinds = [config.task_config, config.architecture_config, config.trainer_config,\n"
        "         config.datasplit_config.train_configs[0].raw_config]\n"
        "assert {type(kind).__module__ for kind in kinds} == {'dacapo_example_plugin'}, kinds\n"
        "array = kinds[3].array_type(kinds[3])\n"
        "source = kinds[3].source_array_config.array_type(kinds[3].source_array_config)\n"
        "assert abs(array[array.roi] + source[source.roi] - 1).max() < 1e-6\n"
    )
    printed = python("-c", code).stdout
    assert "trained 2 of 2 iterations" in printed
    assert "validate" in printed


def test_its_own_tests_pass(python: Run) -> None:
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", PLUGIN / "tests", "--rootdir", PLUGIN)
    assert "failed" not in done.stdout


def test_a_plugin_that_cannot_be_imported_is_named(python: Run, tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dacapo.plugins]\nmine = no_such_module\n")
    done = python("-m", "dacapo.cli", "config", "list", check=False)  # the working directory is on the path
    assert done.returncode == 1
    assert "the plugin 'mine' (no_such_module) of broken cannot be imported: ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr
