"""Settings of an installation: where runs are kept and where workers run.

They come from the first of these files that exists: the one that ``$DACAPO_OPTIONS_FILE`` names, ``dacapo.yaml`` in the
working directory, ``~/.config/dacapo/dacapo.yaml``. Without a file the defaults hold. Files are read when
:meth:`Options.instance` is called, never on import.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import attrs

from dacapo.errors import ConfigError

ENVIRONMENT_VARIABLE = "DACAPO_OPTIONS_FILE"


def _expand(path: Path | str) -> Path:
    if not isinstance(path, (str, Path)) or not str(path):
        raise ConfigError(f"option runs_base_dir must be a path, got {path!r}")
    return Path(path).expanduser()


def _is_text(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"option {attribute.name} must be a string, got {value!r}")


def _is_size(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"option {attribute.name} must be a number of bytes, 0 or more, got {value!r}")


def _check_compute_context(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
        raise ConfigError(
            f"option compute_context must be a mapping such as {{type: LocalTorch, config: {{}}}}, got {value!r}"
        )


@attrs.define
class DaCapoConfig:
    """The settings, as read from a file."""

    type: str = attrs.field(
        default="files",
        validator=_is_text,
        metadata={"help_text": "Kind of the config and stats stores: 'files' or 'mongo'."},
    )
    runs_base_dir: Path = attrs.field(
        factory=lambda: Path("~/dacapo").expanduser(),
        converter=_expand,
        metadata={"help_text": "Folder that holds everything dacapo stores; ~ is expanded."},
    )
    compute_context: dict[str, Any] = attrs.field(
        factory=lambda: {"type": "LocalTorch", "config": {}},
        validator=_check_compute_context,
        metadata={
            "help_text": "Where workers run: 'type' is the class of a compute context, 'config' holds its fields."
        },
    )
    mongo_db_host: str | None = attrs.field(
        default=None,
        validator=_is_text,
        metadata={"help_text": "Address of a MongoDB server, for type 'mongo'."},
    )
    mongo_db_name: str | None = attrs.field(
        default=None,
        validator=_is_text,
        metadata={"help_text": "Name of the MongoDB database, for type 'mongo'."},
    )

    chunk_cache_bytes: int = attrs.field(
        default=512 * 2**20,
        validator=_is_size,
        metadata={
            "help_text": "Memory for decoded chunks that training keeps for the next samples, over all its processes."
        },
    )

    def serialize(self) -> dict[str, Any]:
        """Return the settings as plain values that YAML can hold."""
        return {**attrs.asdict(self), "runs_base_dir": str(self.runs_base_dir)}


class Options:
    """Access to the settings of this process; use :meth:`instance`."""

    _instance: ClassVar[DaCapoConfig | None] = None

    def __init__(self) -> None:
        _refuse()

    @classmethod
    def instance(cls, **kwargs: Any) -> DaCapoConfig:
        """Return the settings, read at the first call and kept from then on.

        Args:
            **kwargs: Settings that go before those of the file. When any are given, the settings are built anew.

        Raises:
            ConfigError: If the file cannot be read, or it or ``kwargs`` hold an unknown setting or a wrong value.
        """
        if cls._instance is None or kwargs:
            cls._instance = _build(cls.config_file(), kwargs)
        return cls._instance

    @classmethod
    def config_file(cls) -> Path | None:
        """Return the file that settings are read from, or None if there is none.

        Raises:
            ConfigError: If ``$DACAPO_OPTIONS_FILE`` names a file that does not exist.
        """
        named = os.environ.get(ENVIRONMENT_VARIABLE)
        if named:
            path = Path(named).expanduser()
            if not path.is_file():
                raise ConfigError(f"${ENVIRONMENT_VARIABLE} names {path}, which is no file; create it or unset it")
            return path
        candidates = (Path("dacapo.yaml"), Path("~/.config/dacapo/dacapo.yaml").expanduser())
        return next((path for path in candidates if path.is_file()), None)

    @classmethod
    def reset(cls) -> None:
        """Forget the settings, so that the next call of :meth:`instance` reads them again."""
        cls._instance = None


def _refuse() -> NoReturn:
    raise RuntimeError("Options holds the settings of the whole process; use Options.instance()")


def _build(path: Path | None, overrides: Mapping[str, Any]) -> DaCapoConfig:
    values = {**(_read(path) if path is not None else {}), **_checked(overrides, "Options.instance")}
    try:
        return DaCapoConfig(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}" if path is not None else str(error)) from error


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"options file {path} cannot be read: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"options file {path} must hold settings as 'name: value' lines, got {values!r}")
    return _checked(values, str(path))


def _checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    known = [field.name for field in attrs.fields(DaCapoConfig)]
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        raise ConfigError(f"{source}: unknown option {', '.join(unknown)}; known are {', '.join(known)}")
    return dict(values)
