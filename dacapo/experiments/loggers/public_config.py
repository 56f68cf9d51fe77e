"""The config of a run as others may see it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dacapo.store.trained_config import plain_config
from dacapo.utils.addresses import without_secrets
from dacapo.utils.paths import shown

if TYPE_CHECKING:
    from dacapo.experiments.run import Run

_ADDRESS = re.compile(r"\w+:/+")


def public_config(run: Run) -> dict[str, Any]:
    """Return the config of a run as plain values, its addresses without users, passwords and options."""
    return {name: _public(value) for name, value in plain_config(run.config).items()}


def _public(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _public(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_public(item) for item in value]
    if isinstance(value, str) and _ADDRESS.match(value):
        return without_secrets(shown(value))
    return value
