"""Which workers are replaced: all that end after progress, and a few in a row that end without."""

from __future__ import annotations

import time
from pathlib import Path

import attrs

from dacapo.blockwise.worker.leaving import LEFT
from dacapo.blockwise.worker.progress import blocks_done, did_a_block
from dacapo.blockwise.worker.reports import forget_deaths, report_death, report_end
from dacapo.blockwise.worker.time_limit import OUT_OF_TIME
from dacapo.errors import BlockwiseError
from dacapo.store.files import is_file

# Daisy's exit code of a worker whose block took too long; it has no public name.
_ENDED_BY_DAISY = 87
# Seconds of a life and of a pause.
_SHORT = 60.0
_LONGEST_WAIT = 60.0


@attrs.define
class Replacing:
    """Decides whether the next worker starts in the place of one that ended.

    Daisy replaces only a certain number of workers in all, while jobs of a cluster may end as often as their time is
    over. So a worker is replaced here, unnoticed by Daisy, if a block was done while it ran, by whichever worker; after
    that, so are a few in a row during which none was done. So is each one whose block took too long, which counts
    against that block alone. All others are left to Daisy, which gives up at some point.

    Attributes:
        log_dir: Folder for the logs of the workers.
        worker: Daisy's number of the place.
        in_a_row: How many workers are replaced, after progress, during which no block is done.
    """

    log_dir: Path
    worker: int
    in_a_row: int
    _left: int = 0
    _short_lives: int = 0
    _begun: float = 0.0
    _done: bytes = b""

    def begin(self) -> None:
        """Take note that a worker starts."""
        did_a_block(self.log_dir, self.worker).unlink(missing_ok=True)
        self._begun, self._done = time.monotonic(), blocks_done(self.log_dir)

    def is_due(self, error: Exception) -> bool:
        """Report how a worker ended, and return whether to replace it here.

        Args:
            error: How it ended.
        """
        exit_code = error.exit_code if isinstance(error, BlockwiseError) else None
        if exit_code == _ENDED_BY_DAISY:
            report_death(self.log_dir, self.worker, error)
            return False  # Daisy has replaced it when the time of its block was over
        if exit_code in OUT_OF_TIME:
            report_end(self.log_dir, self.worker, error, "its block took too long")
            self._begun -= _SHORT  # no reason to wait
            return True
        if self._is_progress():
            self._left = self.in_a_row
            if exit_code != LEFT:  # such a worker has said so itself
                report_end(self.log_dir, self.worker, error, "blocks were done since its start")
            forget_deaths(self.log_dir, self.worker)
            return True
        report_death(self.log_dir, self.worker, error)
        self._left -= 1
        return self._left >= 0

    def _is_progress(self) -> bool:
        # The number comes with some delay, but tells of blocks of all workers, also of those with their own loop.
        return is_file(did_a_block(self.log_dir, self.worker)) or blocks_done(self.log_dir) != self._done

    def wait(self) -> None:
        """Wait before the replacement starts, longer each time, if several workers in a row lived a short time."""
        is_short = time.monotonic() - self._begun < _SHORT
        self._short_lives = self._short_lives + 1 if is_short else 0
        if self._short_lives > self.in_a_row:
            time.sleep(min(2.0 ** (self._short_lives - self.in_a_row), _LONGEST_WAIT))
