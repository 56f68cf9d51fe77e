"""The base class of the configs of graph stores."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import Config


@attrs.define
class GraphStoreConfig(Config):
    """Base class of the configs of graph stores, such as for skeletons; packages that read graphs subclass it."""
