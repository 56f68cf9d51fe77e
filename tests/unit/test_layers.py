"""The imports of the package point downwards, in no circle."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers.layers import ROOT, imports, level_of

IMPORTS = imports()


def file_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_imports_point_downwards() -> None:
    pairs = [(module, target) for module, targets in IMPORTS.items() for target in targets - {"dacapo"}]
    upward = [f"{module} imports {target}" for module, target in pairs if level_of(target) > level_of(module)]
    assert not upward, "from a layer above it"


def test_no_import_from_the_root_package() -> None:
    assert not [module for module, targets in IMPORTS.items() if "dacapo" in targets]


def test_only_the_suites_need_the_tools_of_tests() -> None:
    pattern = re.compile(r"^\s*(import|from) (pytest|hypothesis|mongomock)\b", re.MULTILINE)
    users = {module for module in IMPORTS if pattern.search(file_of(module).read_text())}
    assert users
    assert {level_of(module) for module in users} == {level_of("dacapo.testing")}


def test_only_what_daisy_offers_is_used() -> None:
    used = set()
    for module in IMPORTS:
        for node in ast.walk(ast.parse(file_of(module).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "daisy":
                used |= {f"{node.module}.{name.name}" for name in node.names}
            elif isinstance(node, ast.Import):
                used |= {name.name for name in node.names if name.name.split(".")[0] == "daisy"}
    assert used == {"daisy.v2", "daisy.logging"}


def test_imports_run_in_no_circle() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.slow
def test_any_module_can_be_imported_first() -> None:
    # Inside a package that imports its modules, the package comes first whatever is asked for. The others are imported
    # one after another, the whole of dacapo dropped in between, while the large packages that it uses stay loaded.
    eager = tuple(f"{module}." for module, targets in IMPORTS.items() if file_of(module).stem == "__init__" and targets)
    first = [module for module in IMPORTS if not module.startswith(eager)]
    script = f"""
import importlib, sys
for name in {first!r}:
    importlib.import_module(name)
    for loaded in [m for m in sys.modules if m.split(".")[0] == "dacapo"]:
        del sys.modules[loaded]
"""
    got = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert got.returncode == 0, got.stderr[-2000:]


def test_import_of_the_package_loads_nothing_large() -> None:
    script = "import sys, dacapo; print(*sys.modules)"
    got = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "gunpowder", "skimage", "daisy", "zarr", "xarray", "scipy"} & set(got.stdout.split())


def test_all_imports_that_run_are_found() -> None:
    assert "dacapo.errors" in IMPORTS["dacapo.cli"]
    assert "dacapo.train" in IMPORTS["dacapo.commands.runs"]  # inside of a function
    assert "dacapo.store.files" in IMPORTS["dacapo.store.local_weights_store"]
    assert "dacapo.experiments.run" not in IMPORTS["dacapo.store.weights_store"]  # for types only


def test_levels_rise() -> None:
    order = ["errors", "options", "store.files", "gp.copy", "experiments.tasks.task", "experiments.run", "cli"]
    levels = [level_of(f"dacapo.{name}") for name in order]
    assert levels == sorted(set(levels))
    with pytest.raises(AssertionError, match="no layer"):
        level_of("dacapo.surprise")
