"""How far a training is logged in a place that cannot go back, so that nothing is logged twice."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dacapo.store.files import make_folder, storage_error

_CONTENT = re.compile(rb"(\w+) (\d+) (\d+)\n")


class LoggedUntil:
    """Remembers in a small file what was logged, also when the process is killed.

    Attributes:
        log: Identifies the log.
        iterations: Number of iterations that were logged.
        validations: The last validated iteration that was logged.
    """

    def __init__(self, path: Path, new_log: str, done: int) -> None:
        """Read the file, or begin a new log.

        Args:
            path: The file.
            new_log: Identifies the log if a new one begins, in letters and digits.
            done: Number of iterations that were trained; a new training begins a new log.

        Raises:
            StorageError: If the file cannot be read or written.
        """
        make_folder(path.parent)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            found = _CONTENT.fullmatch(os.pread(self._file, 1024, 0)) if done else None
        except OSError as error:
            raise storage_error("open", path, error) from error
        self.log = found[1].decode() if found else new_log
        self.iterations, self.validations = (int(found[2]), int(found[3])) if found else (done, 0)
        if not found:
            os.ftruncate(self._file, 0)
            self._write()

    def is_new_iteration(self, number: int) -> bool:
        """Return whether an iteration has to be logged, and remember that it is; counted from 1."""
        if number <= self.iterations:
            return False
        self.iterations = number
        self._write()
        return True

    def is_new_validation(self, iteration: int) -> bool:
        """Return whether a validation has to be logged, and remember that it is."""
        if iteration <= self.validations:
            return False
        self.validations = iteration
        self._write()
        return True

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _write(self) -> None:
        # Of the same length each time, so that one write replaces all of it.
        os.pwrite(self._file, f"{self.log} {self.iterations:020d} {self.validations:020d}\n".encode(), 0)
