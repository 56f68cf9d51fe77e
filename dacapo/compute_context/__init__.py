"""Where workers run, each place a class that the options name; and how operations run."""

from .batch_system import BatchSystem
from .bsub import Bsub
from .compute_context import ComputeContext, create_compute_context, free_gpu_memory
from .execution import Execution
from .local_torch import LocalTorch
from .slurm import Slurm
from .steps import CPU, Step
from .worker_count import DEFAULT_WORKERS, prediction_workers, works_here

__all__ = [
    "CPU",
    "DEFAULT_WORKERS",
    "BatchSystem",
    "Bsub",
    "ComputeContext",
    "Execution",
    "LocalTorch",
    "Slurm",
    "Step",
    "create_compute_context",
    "free_gpu_memory",
    "prediction_workers",
    "works_here",
]
