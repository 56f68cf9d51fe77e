"""Check names that become files and folders."""

from __future__ import annotations

from dacapo.errors import ConfigError

# Common file systems allow 255 bytes; the rest is reserved for suffixes.
MAX_BYTES = 200


def check_name(name: str, what: str = "name") -> str:
    """Return ``name`` if it is valid as a single file or folder name, which cannot lead out of its folder.

    Args:
        name: The name, for example of a run.
        what: Description of the name, for the error message.

    Raises:
        ConfigError: If the name is empty, ``.`` or ``..``, too long, or holds a path separator, a line break or another
            control character.

    >>> check_name("run_1 (second try)")
    'run_1 (second try)'
    """
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{what} must be a non-empty string, got {name!r}")
    if name in (".", "..") or any(c in "/\\" or ord(c) < 32 for c in name):
        raise ConfigError(
            f"{what} {name!r} cannot be a file name; use letters, digits, '_', '-', '.' and no path separators"
        )
    if len(name.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ConfigError(f"{what} {name[:40]!r}... is longer than {MAX_BYTES} bytes; choose a shorter one")
    return name
