"""Optional packages."""

from __future__ import annotations

import copy
import pickle

import pytest

from dacapo.errors import DacapoError, MissingDependencyError
from dacapo.ext import EXTRAS, NoSuchModule, optional_module


@pytest.mark.parametrize("kind", [ImportError, RuntimeError, DacapoError, MissingDependencyError])
def test_using_a_module_that_is_not_there_is_an_error(kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"Viewer is in the module neuroglancer.*pip install 'dacapo\[neuroglancer\]'"):
        _ = NoSuchModule("neuroglancer").Viewer


def test_a_package_without_an_extra_is_installed_by_its_name() -> None:
    with pytest.raises(RuntimeError, match=r"pip install empanada$"):
        NoSuchModule("empanada.inference").run()


def test_python_can_ask_what_it_asks_of_every_object() -> None:
    module = NoSuchModule("neuroglancer")
    assert repr(module) == "NoSuchModule('neuroglancer')"
    assert not hasattr(module, "_repr_html_")
    assert not hasattr(module, "__wrapped__")
    for twin in (copy.copy(module), pickle.loads(pickle.dumps(module))):
        with pytest.raises(ImportError, match="neuroglancer"):
            _ = twin.Viewer


def test_optional_module() -> None:
    import json

    assert optional_module("json", "this needs json") is json
    with pytest.raises(
        MissingDependencyError, match="this needs no_such_package; install it with: pip install no_such"
    ):
        optional_module("no_such_package", "this needs no_such_package")


def test_extras_are_those_of_the_package() -> None:
    from importlib.metadata import metadata, requires

    extras = set(metadata("dacapo").get_all("Provides-Extra"))
    assert set(EXTRAS.values()) <= extras
    for package, extra in EXTRAS.items():
        assert any(
            line.startswith(package) and f'extra == "{extra}"' in line.replace("'", '"')
            for line in requires("dacapo") or []
        )
