"""Every class, attribute, property and method of the interface pages is there, with the stated parameters."""

from __future__ import annotations

import ast
import importlib
import inspect
from typing import Any

import pytest

from dacapo.options import DaCapoConfig

from .members import CONSTRUCTORS, EXPERIMENTS, MEMBERS, MODULES, NAMES
from .placeholders import INSTANCES

LISTED = [(module, name) for module, names in NAMES.items() for name in names]
STATED = [(name, member) for name, (_, members) in MEMBERS.items() for member in members]


def documented(name: str) -> type[Any]:
    """Return a class by its name, from the first page that has it."""
    cls = getattr(importlib.import_module(MEMBERS[name][0][0]), name)
    assert isinstance(cls, type)
    return cls


def check_parameters(function: Any, stated: str) -> None:
    """Check that parameters have the stated names, order and defaults, and that others may be left out."""
    arguments = ast.parse(f"def stated({stated}): pass").body[0].args  # type: ignore[attr-defined]
    names = [argument.arg for argument in arguments.args]
    defaults = dict(zip(reversed(names), map(ast.literal_eval, reversed(arguments.defaults)), strict=False))
    have = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    assert [p.name for p in have[: len(names)]] == names
    for parameter in have:
        if parameter.name in defaults:
            assert parameter.default == defaults[parameter.name]
        elif parameter.name not in names:
            assert parameter.default is not parameter.empty
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in have[: len(names)])


def test_all_pages_are_here() -> None:
    assert len(NAMES) == 5
    assert {(page, name) for name, (pages, _) in MEMBERS.items() for page in pages} == set(LISTED)


@pytest.mark.parametrize("module", MODULES)
def test_the_modules_of_the_package_are_there(module: str) -> None:
    assert importlib.import_module(f"{EXPERIMENTS}.{module}").__name__ == f"{EXPERIMENTS}.{module}"


@pytest.mark.parametrize(("module", "name"), LISTED)
def test_a_name_is_the_same_class_everywhere(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) is documented(name)


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_constructors(name: str) -> None:
    check_parameters(documented(name), CONSTRUCTORS[name])


@pytest.mark.parametrize(("name", "member"), STATED, ids=[f"{name}-{member}" for name, member in STATED])
def test_member(name: str, member: str, options: DaCapoConfig) -> None:
    cls, (*kinds, called) = documented(name), member.partition("(")[0].split()
    found = inspect.getattr_static(cls, called, None)
    assert (called in getattr(cls, "__abstractmethods__", ())) == ("abstract" in kinds)
    if "method" in kinds:
        assert isinstance(found, staticmethod) == ("static" in kinds)
        assert isinstance(found, classmethod) == ("class" in kinds)
        check_parameters(getattr(cls, called), member.partition("(")[2].removesuffix(")"))
    elif "property" in kinds:
        assert isinstance(found, property)
        assert hasattr(INSTANCES[name](), called)
    else:
        assert hasattr(INSTANCES[name](), called)


@pytest.mark.parametrize("name", ["Trainer", "Predictor", "Architecture"])
def test_a_class_with_abstract_members_cannot_be_built(name: str) -> None:
    with pytest.raises(TypeError, match="abstract"):
        documented(name)()


@pytest.mark.parametrize(("name", "member"), [(name, member) for name, member in STATED if "abstract" in member])
def test_an_abstract_member_has_no_implementation(name: str, member: str) -> None:
    found = inspect.getattr_static(documented(name), member.partition("(")[0].split()[-1])
    function = found.fget if isinstance(found, property) else found
    with pytest.raises(NotImplementedError):
        function(*(None for _ in inspect.signature(function).parameters))


def test_the_check_of_parameters_can_fail() -> None:
    def function(one: int, two: int = 2) -> None: ...

    check_parameters(function, "one")
    check_parameters(function, "one, two=2")
    for wrong in ("two", "one, two=3", "one, two=2, three=3"):
        with pytest.raises(AssertionError):
            check_parameters(function, wrong)
