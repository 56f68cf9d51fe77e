"""The readme's example makes a run that can be built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dacapo.experiments.run import Run
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_config_store
from tests.helpers.markdown import code_blocks

README = Path(__file__).parents[2] / "README.md"


def test_the_example_stores_a_run_that_can_be_built(options: DaCapoConfig) -> None:
    (code,) = code_blocks(README)
    described, _ = code.split("\ntrain(")  # what follows would train for hours
    names: dict[str, Any] = {}
    exec(compile(described, str(README), "exec"), names)
    stored = create_config_store().retrieve_run_config("neurons")
    assert stored == names["run_config"]
    assert callable(names["train"])
    assert callable(names["apply"])
    run = Run(stored)
    assert tuple(run.model.output_shape) == (44, 44, 44)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    assert links
    for link in links:
        assert link.startswith("http") or (README.parent / link).exists(), link
