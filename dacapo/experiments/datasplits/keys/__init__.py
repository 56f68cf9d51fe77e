"""Names of the arrays and points of a dataset."""

from .keys import ArrayKey, DataKey, GraphKey

__all__ = ["ArrayKey", "DataKey", "GraphKey"]
