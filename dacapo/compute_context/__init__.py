"""Where workers run: each context is a class that the options name."""

from .batch_system import BatchSystem
from .bsub import Bsub
from .compute_context import ComputeContext, create_compute_context
from .local_torch import LocalTorch
from .slurm import Slurm

__all__ = ["BatchSystem", "Bsub", "ComputeContext", "LocalTorch", "Slurm", "create_compute_context"]
