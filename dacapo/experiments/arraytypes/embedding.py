"""Outputs of a network without a fixed meaning."""

from __future__ import annotations

import attrs

from dacapo.experiments.config import field

from .arraytype import ArrayType


@attrs.define
class EmbeddingArray(ArrayType):
    """Floating point channels without a defined meaning."""

    embedding_dims: int = field("Number of channels.")

    @property
    def interpolatable(self) -> bool:
        """True: embeddings are continuous."""
        return True
