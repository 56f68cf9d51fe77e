"""The imports of the package point downwards, in no circle."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import dacapo

ROOT = Path(dacapo.__file__).parent

# From the bottom up; a module belongs to the longest prefix that fits. Modules import from their own layer and below.
LAYERS = [
    ["errors"],
    [
        "options",
        "utils",
        "experiments.config",
        "experiments.arraytypes",
        "experiments.training_iteration_stats",
        "experiments.training_stats",
        "experiments.validation_iteration_scores",
    ],
    ["store"],
    ["experiments.datasplits.datasets.arrays"],  # what the nodes of gp read and make
    ["gp", "compute_context", "blockwise"],  # what post-processors and evaluators run in blocks
    ["experiments.datasplits"],
    ["experiments.architectures", "experiments.model"],
    ["experiments.tasks"],
    ["experiments.trainers", "experiments.starts"],
    ["experiments", "experiments.run", "experiments.run_config", "experiments.validation_scores"],
    # What of blockwise knows of runs.
    ["blockwise.block_plan", "blockwise.budget", "blockwise.evaluation", "blockwise.inputs", "blockwise.prediction"],
    ["train", "validate", "predict", "apply", "plot", "report"],
    ["demo"],
    ["cli", "config_commands", "__main__"],
    ["testing"],  # for other packages, and our tests
]
LEVELS = {f"dacapo.{prefix}": level for level, prefixes in enumerate(LAYERS) for prefix in prefixes}


def _name(path: Path) -> str:
    parts = ("dacapo", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(path): path for path in sorted(ROOT.rglob("*.py"))}
# The root package offers names of all layers, loaded on demand.
MODULES = [name for name in FILES if name != "dacapo"]


def level(module: str) -> int:
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        found = LEVELS.get(".".join(parts[:length]))
        if found is not None:
            return found
    raise AssertionError(f"{module} belongs to no layer; add it to the table in this test")


def _is_type_checking(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return isinstance(test, ast.Name | ast.Attribute) and ast.unparse(test).endswith("TYPE_CHECKING")


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes that exist at run time, those in functions too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child):
            children: list[ast.AST] = [*child.orelse]
        else:
            children = [child]
        for one in children:
            yield one
            yield from _nodes(one)


def imports(source: str, module: str, is_package: bool) -> Iterator[tuple[str, str]]:
    """Yield for each import inside the package the module that is loaded, and the name that is taken from it."""
    package = module if is_package else module.rpartition(".")[0]
    for node in _nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "dacapo":
                    yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            if base.split(".")[0] == "dacapo":
                for alias in node.names:
                    full = f"{base}.{alias.name}"
                    yield (full, "") if full in FILES else (base, alias.name)


def _imports_of(module: str) -> list[tuple[str, str]]:
    path = FILES[module]
    return list(imports(path.read_text(), module, path.name == "__init__.py"))


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    upward = [target for target, _ in _imports_of(module) if target != "dacapo" and level(target) > level(module)]
    assert not upward, f"{module} imports from a layer above it"


@pytest.mark.parametrize("module", MODULES)
def test_no_star_and_no_root_imports(module: str) -> None:
    for target, name in _imports_of(module):
        assert name != "*", f"star import of {target}"
        assert target != "dacapo", f"import of {name} from the root package"


def test_only_the_suites_need_the_tools_of_tests() -> None:
    pattern = re.compile(r"^\s*(import|from) (pytest|hypothesis|mongomock)\b", re.MULTILINE)
    users = {module for module, path in FILES.items() if pattern.search(path.read_text())}
    assert users
    assert {level(module) for module in users} == {level("dacapo.testing")}


def test_imports_run_in_no_circle() -> None:
    graph = {module: {target for target, _ in _imports_of(module)} - {module} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_any_module_can_be_imported_first() -> None:
    # Inside a package that imports its modules, the package comes first whatever is asked for. The others are imported
    # one after another, the whole of dacapo dropped in between, while the large packages that it uses stay loaded.
    eager = tuple(f"{module}." for module in MODULES if FILES[module].name == "__init__.py" and _imports_of(module))
    first = [module for module in MODULES if not module.startswith(eager)]
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


class TestReader:
    """The reader of imports finds what it must find."""

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("import dacapo.errors", [("dacapo.errors", "")]),
            ("from dacapo.errors import ConfigError as E", [("dacapo.errors", "ConfigError")]),
            ("from dacapo import errors, options", [("dacapo.errors", ""), ("dacapo.options", "")]),
            ("from dacapo import Options", [("dacapo", "Options")]),
            ("from dacapo.errors import *", [("dacapo.errors", "*")]),
            ("from ..errors import A", [("dacapo.errors", "A")]),
            ("from . import array_store", [("dacapo.store.array_store", "")]),
            ("from .array_store import ArrayStore", [("dacapo.store.array_store", "ArrayStore")]),
            ("def f():\n    import dacapo.errors", [("dacapo.errors", "")]),
            ("if TYPE_CHECKING:\n    import dacapo.train\nelse:\n    import dacapo.errors", [("dacapo.errors", "")]),
            ("try:\n    import numpy\nexcept ImportError:\n    import dacapo.errors", [("dacapo.errors", "")]),
        ],
    )
    def test_imports(self, source: str, expected: list[tuple[str, str]]) -> None:
        assert list(imports(source, "dacapo.store.create_store", False)) == expected

    def test_a_package_is_its_own_parent(self) -> None:
        assert list(imports("from .create_store import f", "dacapo.store", True)) == [
            ("dacapo.store.create_store", "f")
        ]

    def test_levels_rise(self) -> None:
        order = ["errors", "options", "store.files", "gp.copy", "experiments.tasks.task", "experiments.run", "cli"]
        levels = [level(f"dacapo.{name}") for name in order]
        assert levels == sorted(set(levels))
        with pytest.raises(AssertionError, match="no layer"):
            level("dacapo.surprise")
