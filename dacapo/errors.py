"""Exceptions that dacapo raises on purpose.

Every class also derives from builtin exceptions: from the one that it specializes, and from those that the original
raised in its place. So code that catches ``ValueError`` or ``FileNotFoundError`` keeps working, and so does code that
was written for the original. Messages say what was given, what was expected, and what to do about it; the command line
prints them on one line.
"""

from __future__ import annotations

import pickle


class DacapoError(Exception):
    """Base of all errors that a user can do something about."""

    # KeyError would print the message in quotes, OSError an error number beside it; the message is all there is.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ConfigError(DacapoError, ValueError, AssertionError):
    """A configuration holds a value that cannot work."""


class DimensionsError(ConfigError, RuntimeError):
    """An operation was asked for in a number of dimensions that it does not know."""


class UnknownTypeError(ConfigError):
    """A stored config names a class that is not registered."""


class DuplicateNameError(DacapoError, ValueError):
    """A name is taken already, by something with another content."""


class NotFoundError(DacapoError, KeyError, IndexError, ValueError):
    """Something was asked for by a name that is not known: a dataset, criterion, or set of parameters, for example."""


class PathNotFoundError(NotFoundError, FileNotFoundError):
    """A file or folder does not exist."""


class ConfigNotFoundError(NotFoundError, FileNotFoundError):
    """A run or another config was asked for by a name that the store does not hold."""


class CheckpointNotFoundError(PathNotFoundError):
    """A run has no checkpoint of the iteration, or none that is the best."""


class ArrayNotFoundError(PathNotFoundError):
    """A container or the dataset inside it does not exist."""


class MetadataError(DacapoError, ValueError, AssertionError):
    """The attributes of an array contradict each other or its shape."""


class ReadOnlyError(DacapoError, ValueError):
    """An array in memory that cannot be changed is written to."""


class RoiError(DacapoError, ValueError, AssertionError, IndexError):
    """A region lies outside the data, or is not aligned to its voxel grid."""


class InputTooSmallError(RoiError, RuntimeError):
    """A volume is smaller than the smallest input of the network."""


class ChannelMismatchError(DacapoError, ValueError, AssertionError, RuntimeError):
    """An array has another number of channels than the network expects."""


class DtypeError(DacapoError, TypeError, ValueError):
    """An array has a data type that cannot be used for its purpose."""


class LabelError(DacapoError, ValueError, AssertionError):
    """A label names none of the classes it should name."""


class OutputExistsError(DacapoError, FileExistsError, ValueError, RuntimeError):
    """An output is there already and overwriting was not asked for."""


class StorageError(DacapoError, OSError):
    """A file or folder cannot be written or read."""


class DamagedFileError(StorageError, ValueError, RuntimeError, EOFError):
    """A file was read and does not hold what it should hold."""


class UnsafeFileError(DacapoError, ValueError, pickle.UnpicklingError):
    """A file would execute code when read (pickle), so it was refused."""


class EvaluationError(DacapoError, ValueError):
    """A segmentation cannot be scored because of the data; the score is recorded as NaN with this reason."""


class RecordError(DacapoError, AssertionError, ValueError):
    """A record of statistics or scores is added out of order, or a second time."""


class TrainingError(DacapoError, RuntimeError):
    """Training cannot go on, for example because the loss is no longer finite."""


class BatchError(TrainingError):
    """A batch could not be made. The network is as the iteration before left it, and can be saved."""


class BlockwiseError(DacapoError, RuntimeError):
    """One or more blocks of a blockwise operation failed."""


class MemoryBudgetError(DacapoError, MemoryError, RuntimeError):
    """What is asked for takes more memory than may be used."""


class MissingDependencyError(DacapoError, ModuleNotFoundError):
    """An optional package is needed for this and not installed."""


class MissingModuleError(MissingDependencyError, RuntimeError):
    """Something was used of a module that is not installed."""


class MetadataWarning(UserWarning):
    """An array lacks metadata and a stated default was used."""
