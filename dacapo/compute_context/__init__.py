"""Where workers run: each context is a class that the options name."""

from .bsub import Bsub
from .compute_context import ComputeContext, create_compute_context
from .local_torch import LocalTorch

__all__ = ["Bsub", "ComputeContext", "LocalTorch", "create_compute_context"]
