"""Where graphs, such as skeletons, are read from."""

from .graph_source_config import GraphStoreConfig

__all__ = ["GraphStoreConfig"]
