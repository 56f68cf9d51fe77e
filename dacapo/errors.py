"""Exceptions that dacapo raises on purpose.

Every class also derives from builtin exceptions: from the one that it specializes, and from those that the original
raises in the same place. Code that catches ``ValueError`` or ``FileNotFoundError`` therefore keeps working, and so does
code written for the original. A message says what was given, what was expected, and how to fix it; the command line
prints it on one line.
"""

from __future__ import annotations

import pickle
from typing import Any


class DacapoError(Exception):
    """Base class of all errors that a user can act on."""

    # KeyError would print the message in quotes, OSError with an error number; print the message alone.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ConfigError(DacapoError, ValueError, AssertionError):
    """A configuration holds an invalid value."""


class DimensionsError(ConfigError, RuntimeError):
    """An operation does not support the requested number of dimensions."""


class UnknownTypeError(ConfigError):
    """A stored config names a class that is not registered."""


class DuplicateNameError(DacapoError, ValueError):
    """A name is already taken by something with different content."""


class NotFoundError(DacapoError, KeyError, IndexError, ValueError):
    """A name is unknown, for example that of a dataset, a criterion or a set of parameters."""


class PathNotFoundError(NotFoundError, FileNotFoundError):
    """A file or folder does not exist."""


class ConfigNotFoundError(NotFoundError, FileNotFoundError):
    """The store holds no config, of a run or otherwise, under the requested name."""


class CheckpointNotFoundError(PathNotFoundError):
    """A run has no checkpoint of the requested iteration, or no best checkpoint."""


class ArrayNotFoundError(PathNotFoundError):
    """A container or the dataset inside it does not exist."""


class MetadataError(DacapoError, ValueError, AssertionError):
    """The attributes of an array contradict each other or its shape."""


class ReadOnlyError(DacapoError, ValueError):
    """A write was attempted on a read-only array in memory."""


class NotFiniteError(DacapoError, ValueError):
    """Raw data or a prediction holds NaN, or infinity where that leads to NaN."""


class RoiError(DacapoError, ValueError, AssertionError, IndexError):
    """A region lies outside the data, or is not aligned to its voxel grid."""


class InputTooSmallError(RoiError, RuntimeError):
    """A volume is smaller than the smallest input of the network."""


class ChannelMismatchError(DacapoError, ValueError, AssertionError, RuntimeError):
    """An array has a different number of channels than the network expects."""


class DtypeError(DacapoError, TypeError, ValueError):
    """The data type of an array does not suit its purpose."""


class LabelError(DacapoError, ValueError, AssertionError):
    """A label belongs to none of the expected classes."""


class OutputExistsError(DacapoError, FileExistsError, ValueError, RuntimeError):
    """An output already exists and overwriting was not requested."""


class StorageError(DacapoError, OSError):
    """A file or folder cannot be read or written."""


class DamagedFileError(StorageError, ValueError, RuntimeError, EOFError):
    """A file could be read but its content is invalid."""


class UnsafeFileError(DacapoError, ValueError, pickle.UnpicklingError):
    """A file would execute code when read (pickle), or lead out of its folder, so it was refused."""


class EvaluationError(DacapoError, ValueError):
    """A segmentation cannot be scored because of its data; the score is recorded as NaN with this reason."""


class RecordError(DacapoError, AssertionError, ValueError):
    """A record of statistics or scores is added out of order or twice."""


class TrainingError(DacapoError, RuntimeError):
    """Training cannot continue, for example because the loss is no longer finite."""


class BatchError(TrainingError):
    """A batch could not be made. The network keeps the state of the previous iteration, which can be saved."""


class LoggerError(TrainingError):
    """A logger failed; the training is saved and can be resumed."""


class RunInUseError(TrainingError):
    """Another process trains the run at the moment."""


class SweepError(TrainingError):
    """Runs of a sweep failed; all others were trained.

    Attributes:
        result: A :class:`~dacapo.sweep.SweepResult` of all runs.
    """

    result: Any = None


class BlockwiseError(DacapoError, RuntimeError):
    """One or more blocks of a blockwise operation failed.

    Attributes:
        exit_code: The exit code of the command that failed, None if none did.
    """

    exit_code: int | None = None


class MemoryBudgetError(DacapoError, MemoryError, RuntimeError):
    """The operation needs more memory than it may use."""


class MissingDependencyError(DacapoError, ModuleNotFoundError):
    """A required optional package is not installed."""


class MissingModuleError(MissingDependencyError, RuntimeError):
    """Code used an attribute of a module that is not installed."""


class MetadataWarning(UserWarning):
    """An array lacks metadata, so a documented default was used."""
