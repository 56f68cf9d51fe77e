"""The readme's example makes a run that can be built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from funlib.geometry import Coordinate

from dacapo.experiments.run import Run
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store
from tests.helpers.markdown import code_blocks
from tests.helpers.volumes import cells, write_array

README = Path(__file__).parents[2] / "README.md"


def test_the_example_stores_a_run_that_can_be_built(options: DaCapoConfig) -> None:
    _, code = code_blocks(README)
    described, _ = code.split("\ntrain(")  # what follows would train for hours
    names: dict[str, Any] = {}
    exec(compile(described, str(README), "exec"), names)
    stored = create_config_store().retrieve_run_config("neurons")
    assert stored == names["run_config"]
    assert callable(names["train"])
    assert callable(names["apply"])
    run = Run(stored)
    assert tuple(run.model.output_shape) == (44, 44, 44)


@pytest.mark.usefixtures("options")
def test_the_three_lines_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(("cells", "new")):
        for dataset, values in zip(("raw", "labels"), cells((40, 60), seed), strict=True):
            write_array(tmp_path / f"{name}.zarr", dataset, values, Coordinate(8, 8), Coordinate(0, 0))
    monkeypatch.chdir(tmp_path)
    code, _ = code_blocks(README)
    short = code.replace('labels")', 'labels", num_iterations=1)')  # the default would train for minutes
    assert short != code
    names: dict[str, Any] = {}
    exec(compile(short, str(README), "exec"), names)
    assert names["segmentation"].shape == (40, 60)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    assert links
    for link in links:
        assert link.startswith("http") or (README.parent / link).exists(), link
