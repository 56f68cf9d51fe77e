"""Whether raw data and labels are such that decisions can be made for them."""

from __future__ import annotations

import numpy as np

from dacapo.errors import ConfigError, DtypeError
from dacapo.experiments.datasplits.datasets.arrays import Array


def check_labels(raw: Array, labels: Array, may_have_channels: bool = False) -> None:
    """Check the type of labels, and the axes of raw data and labels.

    Args:
        raw: Raw data.
        labels: Its labels.
        may_have_channels: Whether labels may have channels, which only the user's own task can make sense of.

    Raises:
        DtypeError: If labels are no integers.
        ConfigError: If raw data has not two or three spatial axes, or labels have channels.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise DtypeError(f"{labels} is of type {labels.dtype}; labels must be integers, one per object or class")
    if raw.dims not in (2, 3):
        raise ConfigError(f"{raw} has {raw.dims} spatial axes {raw.axes}; expected two or three")
    if labels.channel_axis is not None and not may_have_channels:
        raise ConfigError(
            f"{labels} has a channel axis {labels.axes}; labels must not have one, unless a task_config is given that "
            "takes channels"
        )
