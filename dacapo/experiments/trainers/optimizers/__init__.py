"""How the optimizer is steered over the iterations."""

from .schedule import learning_rate_factor

__all__ = ["learning_rate_factor"]
