"""Stores of graphs, such as skeletons."""

from .graph_source_config import GraphStoreConfig

__all__ = ["GraphStoreConfig"]
