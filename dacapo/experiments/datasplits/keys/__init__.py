"""Names of what a dataset provides."""

from .keys import ArrayKey, DataKey, GraphKey

__all__ = ["ArrayKey", "DataKey", "GraphKey"]
