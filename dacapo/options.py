"""Settings of an installation: where runs are stored and where workers run.

Settings come from the first of these files that exists: the one named by ``$DACAPO_OPTIONS_FILE``, or else by
``$OPTIONS_FILE``; without either, ``dacapo.yaml`` in the working directory, ``~/dacapo.yaml``, or
``~/.config/dacapo/dacapo.yaml``. Without a file, the defaults apply. Files are read whenever :meth:`Options.instance`
is called, never on import.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import attrs

from dacapo.errors import ConfigError
from dacapo.utils.addresses import without_secrets
from dacapo.utils.paths import is_upath, is_url, shown, user_path

ENVIRONMENT_VARIABLE = "DACAPO_OPTIONS_FILE"
# The package's own variable comes first: another program may define the other one.
ENVIRONMENT_VARIABLES = (ENVIRONMENT_VARIABLE, "OPTIONS_FILE")
PLACES = ("dacapo.yaml", "~/dacapo.yaml", "~/.config/dacapo/dacapo.yaml")


def _expand(path: Path | str) -> Path:
    path = user_path(path) if is_upath(path) else path
    if not isinstance(path, (str, Path)) or not str(path):
        raise ConfigError(f"option runs_base_dir must be a path, got {path!r}")
    if is_url(path):
        raise ConfigError(
            f"option runs_base_dir is {shown(path)}, but runs are kept in a folder; only volumes are written to URLs"
        )
    return Path(path).expanduser()


def _is_text(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"option {attribute.name} must be a string, got {value!r}")


def _shown(address: str | None) -> str:
    """Return the repr of an address without its password."""
    return repr(address if address is None else without_secrets(address))


def _is_names(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"option {attribute.name} must be a list of names such as [tensorboard], got {value!r}")


def _is_size(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"option {attribute.name} must be a number of bytes, 0 or more, got {value!r}")


def _is_count(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigError(f"option {attribute.name} must be a number from 1 on, or null for no limit, got {value!r}")


def _is_seconds(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigError(f"option {attribute.name} must be a number of seconds, 0 or more, got {value!r}")


def _check_compute_context(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
        raise ConfigError(
            f"option compute_context must be a mapping such as {{type: LocalTorch, config: {{}}}}, got {value!r}"
        )


def _option(help_text: str, **kwargs: Any) -> Any:
    return attrs.field(metadata={"help_text": help_text}, **kwargs)


@attrs.define
class DaCapoConfig:
    """The settings, as read from a file."""

    type: str = _option(
        "Kind of the config and stats stores: 'files', 'sql' or 'mongo'.", default="files", validator=_is_text
    )
    runs_base_dir: Path = _option(
        "Folder that holds everything dacapo stores; ~ is expanded.",
        factory=lambda: Path("~/dacapo").expanduser(),
        converter=_expand,
    )
    compute_context: dict[str, Any] = _option(
        "Where workers run: 'type' is the class of a compute context, 'config' holds its fields.",
        factory=lambda: {"type": "LocalTorch", "config": {}},
        validator=_check_compute_context,
    )
    mongo_db_host: str | None = _option(
        "Address of a MongoDB server, for type 'mongo'.", default=None, validator=_is_text, repr=_shown
    )
    mongo_db_name: str | None = _option(
        "Name of the MongoDB database, for type 'mongo'.", default=None, validator=_is_text
    )
    sql_url: str | None = _option(
        "Address of a database, for type 'sql': sqlite:///<path> or postgresql://<user>@<host>/<database>. By default "
        "the content of sql_url_file, $DACAPO_SQL_URL, or a SQLite file in runs_base_dir.",
        default=None,
        validator=_is_text,
        repr=_shown,
    )
    sql_url_file: str | None = _option(
        "File that holds the address of the database, to keep a password out of the options; ~ is expanded.",
        default=None,
        validator=_is_text,
    )
    progress_seconds: float = _option(
        "Seconds between log lines about the progress of long work, where no bar can be drawn; 0 for no lines.",
        default=30.0,
        validator=_is_seconds,
    )
    loggers: list[str] = _option(
        "Where trainings are logged beside their progress: 'tensorboard', 'wandb', or names of own loggers.",
        factory=list,
        validator=_is_names,
    )
    chunk_cache_bytes: int = _option(
        "Memory for decoded chunks that training keeps for the next samples, over all its processes.",
        default=512 * 2**20,
        validator=_is_size,
    )

    keep_checkpoints: int | None = _option(
        "Number of latest checkpoints of a run to keep while it is trained, beside the best ones; by default, all.",
        default=None,
        validator=_is_count,
    )
    keep_checkpoints_every: int | None = _option(
        "With keep_checkpoints, also keep the checkpoints of iterations that are a multiple of this number.",
        default=None,
        validator=_is_count,
    )

    def serialize(self) -> dict[str, Any]:
        """Return the settings as plain values that YAML can hold."""
        return {**attrs.asdict(self), "runs_base_dir": str(self.runs_base_dir)}


@attrs.frozen
class _Sources:
    """Everything that determines the settings; equal sources give equal settings."""

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


_overrides: ContextVar[Mapping[str, Any]] = ContextVar("_overrides", default=MappingProxyType({}))


class Options:
    """Access to the settings of this process; see :meth:`instance`."""

    _given: ClassVar[dict[str, Any]] = {}
    _built: ClassVar[tuple[_Sources, DaCapoConfig] | None] = None
    _kept: ClassVar[DaCapoConfig | None] = None
    _keepers: ClassVar[int] = 0
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        raise RuntimeError("Options holds the settings of the whole process; call Options.instance()")

    @classmethod
    def instance(cls, **kwargs: Any) -> DaCapoConfig:
        """Return the current settings; the same object as long as nothing has changed.

        Each call looks for the file and reads it, so a changed file or working directory takes effect. A running
        operation, such as a training, keeps the settings that it started with. Inside of :meth:`override`, the values
        given there come first.

        Args:
            **kwargs: Settings that override those of the file. They stay in effect until a call with other settings,
                which replaces all of them, or until :meth:`reset`. To change settings for a while, use
                :meth:`override`.

        Raises:
            ConfigError: If the file cannot be read, or a setting is unknown or invalid.
        """
        shared = cls._shared(**kwargs)
        here = attrs.evolve(shared, **_overrides.get())
        return shared if here == shared else here

    @classmethod
    def _shared(cls, **kwargs: Any) -> DaCapoConfig:
        """Return the settings that all threads share."""
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
        """Keep the settings unchanged inside a ``with`` block, so that everything it writes goes to one place.

        Only values passed to :meth:`instance` still change them.
        """
        with cls._lock:
            if cls._keepers == 0:
                cls._kept = cls._shared()
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
    def override(cls, **settings: Any) -> Iterator[DaCapoConfig]:
        """Change settings inside a ``with`` block; all others stay as they are.

        Blocks can be nested: the innermost value counts. They hold for the current thread or asyncio task, and for
        the worker processes that its operations start; other threads do not notice. A thread that you start inside
        the block does not inherit them, unless it runs in :func:`contextvars.copy_context`.

        Args:
            **settings: The fields of :class:`DaCapoConfig` to change.

        Raises:
            ConfigError: If a setting is unknown or invalid; nothing is changed then.

        >>> with Options.override(runs_base_dir="experiment") as settings:
        ...     print(settings.runs_base_dir, Options.instance().runs_base_dir)
        experiment experiment
        """
        given = _checked(settings, "Options.override")
        token = _overrides.set({**_overrides.get(), **given})
        try:
            yield cls.instance()
        finally:
            _overrides.reset(token)

    @classmethod
    def config_file(cls) -> Path | None:
        """Return the file that settings are read from, or None if no file exists.

        Raises:
            ConfigError: If ``$DACAPO_OPTIONS_FILE`` or ``$OPTIONS_FILE`` names a file that does not exist.
        """
        for variable in ENVIRONMENT_VARIABLES:
            named = os.environ.get(variable)
            if named:
                path = Path(named).expanduser()
                if not path.is_file():
                    raise ConfigError(f"${variable} names {path}, which is not a file; create it or unset the variable")
                return path
        return next((path for path in (Path(place).expanduser() for place in PLACES) if path.is_file()), None)

    @classmethod
    def reset(cls) -> None:
        """Forget the values passed to :meth:`instance`, so that its next call reads the file alone."""
        cls._given, cls._built, cls._kept = {}, None, None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"options file {path} cannot be read: {error}") from error


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    from dacapo.utils.plain_yaml import parse_yaml

    try:
        values = parse_yaml(content.decode("utf-8"), path.name)
    except (UnicodeDecodeError, ConfigError) as error:
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
