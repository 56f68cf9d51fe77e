"""Settings of an installation: where runs are kept and where workers run.

They come from the first of these files that exists: the one that ``$DACAPO_OPTIONS_FILE`` names, or else
``$OPTIONS_FILE``; without either, ``dacapo.yaml`` in the working directory, ``~/dacapo.yaml``,
``~/.config/dacapo/dacapo.yaml``. Without a file the defaults hold. Files are read whenever :meth:`Options.instance` is
called, never on import.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import attrs

from dacapo.errors import ConfigError

ENVIRONMENT_VARIABLE = "DACAPO_OPTIONS_FILE"
# In this order, since only the first one is surely meant for this package.
ENVIRONMENT_VARIABLES = (ENVIRONMENT_VARIABLE, "OPTIONS_FILE")
PLACES = ("dacapo.yaml", "~/dacapo.yaml", "~/.config/dacapo/dacapo.yaml")


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


@attrs.frozen
class _Sources:
    """All that settings are made of; as long as it is the same, so are they."""

    file: Path | None
    content: bytes
    given: dict[str, Any]
    home: str

    def build(self) -> DaCapoConfig:
        values = {} if self.file is None else _parse(self.content, self.file)
        try:
            return DaCapoConfig(**{**values, **self.given})
        except ConfigError as error:
            raise ConfigError(f"{self.file}: {error}" if self.file is not None else str(error)) from error


class Options:
    """Access to the settings of this process; use :meth:`instance`."""

    _given: ClassVar[dict[str, Any]] = {}
    _built: ClassVar[tuple[_Sources, DaCapoConfig] | None] = None
    _kept: ClassVar[DaCapoConfig | None] = None
    _keepers: ClassVar[int] = 0
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        _refuse()

    @classmethod
    def instance(cls, **kwargs: Any) -> DaCapoConfig:
        """Return the settings as they are now; the same object as long as nothing has changed.

        The file is looked for and read at each call, so that another one takes effect, and so does another working
        directory. While an operation such as a training is at work, its settings stay those that it began with.

        Args:
            **kwargs: Settings that go before those of the file. They stay in effect until others are given, which
                replace all of them, or until :meth:`reset`.

        Raises:
            ConfigError: If the file cannot be read, or it or ``kwargs`` hold an unknown setting or a wrong value.
        """
        if cls._kept is not None and not kwargs:
            return cls._kept
        given = _checked(kwargs, "Options.instance") if kwargs else cls._given
        file = cls.config_file()
        content = b"" if file is None else _read(file)
        sources = _Sources(file and file.absolute(), content, given, os.path.expanduser("~"))
        if cls._built is None or cls._built[0] != sources:
            cls._built = sources, sources.build()
        cls._given = given
        if cls._kept is not None:
            cls._kept = cls._built[1]
        return cls._built[1]

    @classmethod
    @contextmanager
    def kept(cls) -> Iterator[DaCapoConfig]:
        """Keep the settings as they are as long as this lasts, so that what belongs together has one place.

        Only values given to :meth:`instance` still change them.
        """
        with cls._lock:
            if cls._keepers == 0:
                cls._kept = cls.instance()
            cls._keepers += 1
        try:
            yield cls.instance()
        finally:
            with cls._lock:
                cls._keepers -= 1
                if cls._keepers == 0:
                    cls._kept = None

    @classmethod
    @contextmanager
    def temporarily(cls, **kwargs: Any) -> Iterator[DaCapoConfig]:
        """Give settings that go before those of the file, as to :meth:`instance`, as long as this lasts."""
        before = cls._given, cls._kept
        try:
            yield cls.instance(**kwargs)
        finally:
            cls._given, cls._kept = before

    @classmethod
    def config_file(cls) -> Path | None:
        """Return the file that settings are read from, or None if there is none.

        Raises:
            ConfigError: If ``$DACAPO_OPTIONS_FILE`` or ``$OPTIONS_FILE`` names a file that does not exist.
        """
        for variable in ENVIRONMENT_VARIABLES:
            named = os.environ.get(variable)
            if named:
                path = Path(named).expanduser()
                if not path.is_file():
                    raise ConfigError(f"${variable} names {path}, which is no file; create it or unset it")
                return path
        return next((path for path in (Path(place).expanduser() for place in PLACES) if path.is_file()), None)

    @classmethod
    def reset(cls) -> None:
        """Forget what was given to :meth:`instance`, so that the next call of it reads the file alone."""
        cls._given, cls._built, cls._kept = {}, None, None


def _refuse() -> NoReturn:
    raise RuntimeError("Options holds the settings of the whole process; use Options.instance()")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"options file {path} cannot be read: {error}") from error


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(content.decode("utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
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
