"""Runs and files in one real neuroglancer viewer."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate

pytest.importorskip("neuroglancer")

import neuroglancer

from dacapo.errors import ArrayNotFoundError, ConfigError, ConfigNotFoundError
from dacapo.experiments.run import Run
from dacapo.options import DaCapoConfig, Options
from dacapo.utils import view as run_view
from dacapo.validate import validate_run
from dacapo.view import View
from tests.helpers.processes import PATIENCE, wait_until
from tests.helpers.runs import stored_run
from tests.helpers.viewers import fetch, layers_of
from tests.helpers.volumes import write_array


@pytest.fixture
def run(options: DaCapoConfig, tmp_path: Path) -> Run:
    return stored_run(tmp_path)


def test_a_run_and_a_file_at_their_places(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_view, "CHECK_INTERVAL", 0.01)
    values = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)
    write_array(tmp_path / "other.zarr", "volumes/a", values, Coordinate(8, 4), Coordinate(40, 80))
    view = View(run.name, tmp_path / "other.zarr")
    try:
        assert layers_of(view.viewer) == ["other/volumes/a", "validate/raw", "validate/gt"]
        assert view.viewer.state.layers["other/volumes/a"].type == "image"
        np.testing.assert_array_equal(fetch(view.viewer, "other/volumes/a", (20, 30)), values)
        volume = view.viewer.state.layers["other/volumes/a"].source[0].url
        source = neuroglancer.server.global_server.get_volume(volume.removeprefix("python://volume/"))
        np.testing.assert_allclose(source.dimensions.scales, [8e-9, 4e-9])
        assert list(source.dimensions.units) == ["m", "m"]
        assert list(source.voxel_offset) == [5, 20]
        # New validations appear, also if the run is given by its folder, in other stores than those of the options.
        validate_run(Run(run.config, load_starter_model=False), 1)
        wait_until(lambda: "validate/best" in layers_of(view.viewer))
    finally:
        view.close()


def test_a_folder_of_a_run_is_followed_in_its_own_stores(
    run: Run, options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_view, "CHECK_INTERVAL", 0.01)
    folder = options.runs_base_dir / run.name
    with Options.override(runs_base_dir=tmp_path / "elsewhere"):
        view = View(folder)
    try:
        validate_run(Run(run.config, load_starter_model=False), 1)
        with Options.override(runs_base_dir=tmp_path / "elsewhere"):
            wait_until(lambda: "validate/best" in layers_of(view.viewer))
    finally:
        view.close()


def test_several_runs_are_told_apart(run: Run, options: DaCapoConfig) -> None:
    view = View(run.name, options.runs_base_dir / run.name)
    view.close()
    assert layers_of(view.viewer) == [f"{run.name}/validate/raw", f"{run.name}/validate/gt"]


def test_fractions_of_nanometers(tmp_path: Path) -> None:
    made = zarr.open_group(str(tmp_path / "fine.zarr"), mode="w")
    array = made.create_dataset("raw", data=np.zeros((4, 5, 6), np.uint8))
    array.attrs.update(voxel_size=[2.5, 0.52, 0.52], offset=[5.0, 0.52, 1.04])
    array.attrs.update(units=["nm"] * 3, axis_names=["z", "y", "x"])
    view = View(tmp_path / "fine.zarr" / "raw")
    layer = view.viewer.state.layers["raw"]
    source = neuroglancer.server.global_server.get_volume(layer.source[0].url.removeprefix("python://volume/"))
    np.testing.assert_allclose(source.dimensions.scales, [2.5e-9, 0.52e-9, 0.52e-9])
    assert list(source.voxel_offset) == [2, 1, 2]
    shown = view.viewer.state.dimensions
    assert list(shown.names) == ["x", "y", "z"]
    np.testing.assert_allclose(shown.scales, [0.52e-9, 0.52e-9, 2.5e-9])


def test_errors(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs the name of a run or a path"):
        View()
    with pytest.raises(ConfigNotFoundError, match="did you mean"):
        View(run.name + "x")
    with pytest.raises(ArrayNotFoundError):
        View(tmp_path / "missing.zarr")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match="another --port"):
            View(run.name, port=other.getsockname()[1])


def test_the_command_prints_the_address_and_ends_with_ctrl_c(run: Run) -> None:
    command = [sys.executable, "-m", "dacapo", "view", run.name, "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert address.startswith("http://127.0.0.1:")
    assert (process.returncode, errors) == (0, "")
