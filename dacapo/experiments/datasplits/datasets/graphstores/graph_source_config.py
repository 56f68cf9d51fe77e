"""The base of the configs of graph stores."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import Config


@attrs.define
class GraphStoreConfig(Config):
    """Base of the configs of stores for graphs, such as skeletons; a package that reads graphs derives from it."""
