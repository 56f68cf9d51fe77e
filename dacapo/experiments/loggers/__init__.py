"""Loggers, which follow a training: its progress, and logs for TensorBoard and Weights & Biases."""

from .logger import Logger
from .loggers import Loggers, make_loggers
from .progress_logger import ProgressLogger
from .tensorboard_logger import TensorBoardLogger
from .wandb_logger import WandbLogger

__all__ = ["Logger", "Loggers", "ProgressLogger", "TensorBoardLogger", "WandbLogger", "make_loggers"]
