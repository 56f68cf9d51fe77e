"""Every module path of the original imports, and the separate modules of configs, parameters and scores are aliases."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from dacapo.utils.aliases import alias_modules

MODULES = (Path(__file__).parent / "api_modules.txt").read_text().split()
SUFFIXES = ("_config", "_parameters", "_scores")

# Modules that have such a name of their own.
OWN = {
    "dacapo.experiments.run_config",
    "dacapo.experiments.validation_iteration_scores",
    "dacapo.experiments.validation_scores",
    "dacapo.experiments.datasplits.datasets.graphstores.graph_source_config",
}

# Where the alias is not simply called like the module without the suffix.
RENAMED = {
    "dacapo.experiments.tasks.evaluators.binary_segmentation_evaluation_scores": "binary_segmentation_evaluator",
    "dacapo.experiments.tasks.evaluators.dummy_evaluation_scores": "dummy_evaluator",
    "dacapo.experiments.tasks.evaluators.evaluation_scores": "evaluator",
    "dacapo.experiments.tasks.evaluators.instance_evaluation_scores": "instance_evaluator",
}


def _alias_of(module: str) -> str:
    package, _, name = module.rpartition(".")
    if module in RENAMED:
        return f"{package}.{RENAMED[module]}"
    return f"{package}.{next(name.removesuffix(s) for s in SUFFIXES if name.endswith(s))}"


ALIASES = [
    module
    for module in MODULES
    if module.endswith(SUFFIXES) and module not in OWN and ".gp_augments." not in module  # these have no other module
]


def test_the_modules_import() -> None:
    for module in MODULES:
        assert importlib.import_module(module).__name__.startswith("dacapo")


def test_modules_are_aliases() -> None:
    # The same object: a class must not exist twice under two paths, and patching one path must patch the other.
    for module in ALIASES:
        assert importlib.import_module(module) is importlib.import_module(_alias_of(module))


def test_the_list_is_complete_enough() -> None:
    assert len(MODULES) > 150
    assert len(ALIASES) > 40


def test_alias_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import dacapo.utils

    monkeypatch.setattr(dacapo.utils, "bars", None, raising=False)
    monkeypatch.setitem(sys.modules, "dacapo.utils.bars", None)
    alias_modules("dacapo.utils", {"bars": "progress"})
    assert importlib.import_module("dacapo.utils.bars") is importlib.import_module("dacapo.utils.progress")
    assert dacapo.utils.bars is sys.modules["dacapo.utils.progress"]


def test_an_alias_of_nothing_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        alias_modules("dacapo.utils", {"old": "no_such_module"})
