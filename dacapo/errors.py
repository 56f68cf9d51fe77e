"""Exceptions that dacapo raises on purpose.

Every class also derives from the builtin exception it specialises, so code that catches ``ValueError`` or
``FileNotFoundError`` keeps working. Messages say what was given, what was expected, and what to do about it; the
command line prints them on one line.
"""

from __future__ import annotations


class DacapoError(Exception):
    """Base of all errors that a user can do something about."""


class ConfigError(DacapoError, ValueError):
    """A configuration holds a value that cannot work."""


class UnknownTypeError(ConfigError):
    """A stored config names a class that is not registered."""


class DuplicateNameError(DacapoError, ValueError):
    """A name is taken already, by something with another content."""


class NotFoundError(DacapoError, LookupError):
    """A run, config, checkpoint or score was asked for by a name that the store does not hold."""


class ArrayNotFoundError(NotFoundError, FileNotFoundError):
    """A container or the dataset inside it does not exist."""

    # OSError would print only its first argument's repr in some cases; the message is all there is.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class MetadataError(DacapoError, ValueError):
    """The attributes of an array contradict each other or its shape."""


class ReadOnlyError(DacapoError, ValueError):
    """An array in memory that cannot be changed is written to."""


class RoiError(DacapoError, ValueError):
    """A region lies outside the data, or is not aligned to its voxel grid."""


class InputTooSmallError(RoiError):
    """A volume is smaller than the smallest input of the network."""


class ChannelMismatchError(DacapoError, ValueError):
    """An array has another number of channels than the network expects."""


class DtypeError(DacapoError, TypeError):
    """An array has a data type that cannot be used for its purpose."""


class LabelError(DacapoError, ValueError):
    """A label names none of the classes it should name."""


class OutputExistsError(DacapoError, FileExistsError):
    """An output is there already and overwriting was not asked for."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class StorageError(DacapoError, OSError):
    """A file or folder cannot be written or read."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UnsafeFileError(DacapoError, ValueError):
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


class MemoryBudgetError(DacapoError, MemoryError):
    """What is asked for takes more memory than may be used."""


class MissingDependencyError(DacapoError, ImportError):
    """An optional package is needed for this and not installed."""


class MetadataWarning(UserWarning):
    """An array lacks metadata and a stated default was used."""
