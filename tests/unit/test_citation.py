"""The file for citations agrees with the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_it_states_the_version_and_license_of_the_package() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [cited[key] for key in ("title", "version", "license")] == [
        project[k] for k in ("name", "version", "license")
    ]
