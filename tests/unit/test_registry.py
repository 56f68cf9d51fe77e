"""The config base and its registry."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import attrs
import pytest

from dacapo.errors import DuplicateNameError, UnknownTypeError
from dacapo.experiments import config as config_module
from dacapo.experiments.config import Config, config_class, field, help_texts, known_configs
from dacapo.store.converter import from_plain, to_plain


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards what a test registers."""
    config_module.load_plugins()
    monkeypatch.setattr(config_module, "_registry", dict(config_module._registry))
    monkeypatch.setattr(config_module, "_plugins_loaded", config_module._plugins_loaded)


def test_defining_a_class_registers_it() -> None:
    @attrs.define
    class NewConfig(Config):
        size: int = field("How large.", default=3)

    assert config_class("NewConfig") is NewConfig
    assert from_plain(to_plain(NewConfig(5)), Config) == NewConfig(5)
    assert help_texts(NewConfig) == {"size": "How large."}


def test_two_classes_of_one_name_are_an_error() -> None:
    @attrs.define
    class TwiceConfig(Config):
        """The first."""

    def another() -> None:
        @attrs.define
        class TwiceConfig(Config):
            """The second."""

    with pytest.raises(DuplicateNameError, match="TwiceConfig"):
        another()
    assert config_class("TwiceConfig") is TwiceConfig


def test_defining_a_class_again_replaces_it() -> None:
    def define() -> type[Config]:
        @attrs.define
        class AgainConfig(Config):
            """Defined at each call, as a notebook cell does."""

        return AgainConfig

    define()
    second = define()
    assert config_class("AgainConfig") is second


def test_an_unknown_name_lists_the_known_ones_of_the_kind() -> None:
    with pytest.raises(UnknownTypeError, match="unknown TaskConfig type 'Nothing'") as caught:
        config_class("Nothing", config_class("TaskConfig"))
    assert "DummyTaskConfig" in str(caught.value)
    assert "DummyTrainerConfig" not in str(caught.value)


def test_a_class_of_another_kind_is_unknown() -> None:
    with pytest.raises(UnknownTypeError, match="unknown TaskConfig type 'DummyTrainerConfig'"):
        config_class("DummyTrainerConfig", config_class("TaskConfig"))


@pytest.mark.parametrize("kind", ["Task", "Trainer", "Architecture", "DataSplit", "Dataset", "Array", "Start"])
def test_each_kind_has_a_base(kind: str) -> None:
    base = config_class(f"{kind}Config")
    assert issubclass(base, Config)
    assert base.__name__ in known_configs(base)


def test_every_class_and_field_is_explained() -> None:
    classes = [cls for cls in known_configs().values() if cls.__module__.startswith("dacapo.")]
    assert not [cls.__name__ for cls in classes if not cls.__doc__]
    assert not [f"{cls.__name__}.{name}" for cls in classes for name, text in help_texts(cls).items() if not text]


def test_verify_finds_nothing_wrong_by_default() -> None:
    works, why = Config().verify()
    assert works
    assert "Config" in why


def test_installed_plugins_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_plugin.py").write_text(
        "import attrs\nfrom dacapo.experiments.config import Config\n"
        "@attrs.define\nclass PluginConfig(Config):\n    '''From a plugin.'''\n"
    )
    info = tmp_path / "some_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dacapo.plugins]\nsome = some_plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    monkeypatch.setattr(config_module, "_plugins_loaded", False)
    try:
        assert config_class("PluginConfig").__module__ == "some_plugin"
    finally:
        sys.modules.pop("some_plugin", None)
