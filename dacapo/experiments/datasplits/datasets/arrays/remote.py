"""Files at URLs, through the key-value stores of TensorStore, which has no need of further packages.

``s3://bucket/path`` takes credentials, region and endpoint from the environment variables of AWS, such as
``AWS_ACCESS_KEY_ID``, ``AWS_PROFILE``, ``AWS_REGION`` and ``AWS_ENDPOINT_URL``; ``gs://bucket/path`` from those of
Google Cloud. Without any, requests are anonymous, as public data allows. Failed requests that may succeed later are
repeated, after longer and longer pauses. ``memory://path`` is the file system in memory of fsspec.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from dacapo.errors import StorageError
from dacapo.utils.paths import shown, url_parts

RETRIES = {"max_retries": 6, "initial_delay": "250ms", "max_delay": "8s"}
TIMEOUT = 120.0
"""Seconds to wait for a region to be read or written, all repetitions included."""
CONTEXT: dict[str, Any] = {f"{kind}_request_retries": RETRIES for kind in ("s3", "gcs", "http")}
"""Settings of TensorStore for requests."""

MEMORY = "memory"
_AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_AWS_OTHERS = (
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def in_memory(path: Path) -> bool:
    """Return whether a path is in the memory of this process."""
    parts = url_parts(path)
    return parts is not None and parts[0] == MEMORY


def kvstore_spec(folder: Path) -> dict[str, Any]:
    """Return the spec by which TensorStore finds the files in a folder, or below a URL.

    Raises:
        ValueError: If it cannot reach them, which is the case for ``memory://``.
    """
    parts = url_parts(folder)
    if parts is None:
        return {"driver": "file", "path": f"{folder.resolve()}/"}
    scheme, rest = parts
    root, _, path = rest.partition("/")
    path = f"{path.strip('/')}/" if path.strip("/") else ""
    if scheme == "s3":
        return {"driver": "s3", "bucket": root, "path": path, **_aws()}
    if scheme == "gs":
        return {"driver": "gcs", "bucket": root, "path": path}
    if scheme == MEMORY:
        raise ValueError(f"{shown(folder)} is in the memory of this process, where TensorStore does not look")
    return {"driver": "http", "base_url": f"{scheme}://{root}/", "path": path}


def _aws() -> dict[str, Any]:
    settings: dict[str, Any] = {"aws_credentials": {"type": "anonymous"}}
    if all(os.environ.get(name) for name in _AWS_KEYS):
        settings["aws_credentials"] = {"type": "environment"}
    elif any(os.environ.get(name) for name in _AWS_OTHERS) or Path("~/.aws").expanduser().is_dir():
        settings["aws_credentials"] = {"type": "default"}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint:
        settings["endpoint"] = endpoint
        region = region or "us-east-1"
    return settings | ({"aws_region": region} if region else {})


def read_remote(path: Path) -> bytes | None:
    """Return the content of a small file at a URL, None if it does not exist.

    Raises:
        StorageError: If the server refuses or cannot be reached; the message names URL and cause.
    """
    if in_memory(path):
        file_system, key = _memory(path)
        return bytes(file_system.cat_file(key)) if file_system.isfile(key) else None
    import tensorstore

    try:
        store = tensorstore.KvStore.open(kvstore_spec(path.parent), context=_context(os.getpid())).result(TIMEOUT)
        answer = store.read(path.name).result(TIMEOUT)
    except Exception as error:
        raise StorageError(f"cannot read {shown(path)}: {cause(error)}") from error
    return bytes(answer.value) if answer.state == "value" else None


def cause(error: Exception) -> str:
    """Return why a request failed, as text."""
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    text = str(error)
    if "PERMISSION_DENIED" in text or "UNAUTHENTICATED" in text:
        return f"access denied; set credentials in the environment ({text})"
    return text or type(error).__name__


def memory_file(path: Path) -> Any | None:
    """Open a file in memory for reading; None if it does not exist."""
    file_system, key = _memory(path)
    return file_system.open(key, "rb") if file_system.isfile(key) else None


def memory_folders(path: Path) -> list[Path]:
    """Return the folders in a folder in memory, sorted."""
    file_system, key = _memory(path)
    if not file_system.isdir(key):
        return []
    entries = file_system.ls(key, detail=True)
    return sorted(path / Path(entry["name"]).name for entry in entries if entry["type"] == "directory")


def _memory(path: Path) -> tuple[Any, str]:
    import fsspec

    parts = url_parts(path)
    assert parts is not None
    return fsspec.filesystem(MEMORY), f"/{parts[1]}"


@functools.lru_cache(maxsize=1)
def _context(process: int) -> Any:
    """Return the settings of TensorStore in a process, which shares its connections."""
    import tensorstore

    return tensorstore.Context(CONTEXT)


def open_context() -> Any:
    """Return the settings with which this process opens remote arrays."""
    return _context(os.getpid())
