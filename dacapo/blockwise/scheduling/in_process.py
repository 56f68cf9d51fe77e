"""Processing blocks in the scheduling process, without workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import daisy.v2 as daisy

from dacapo.blockwise.worker.reports import DISK_FULL, is_disk_full, report, report_file, report_stop
from dacapo.blockwise.worker.user_modules import ProcessBlock
from dacapo.errors import BlockwiseError


@attrs.define
class InProcess:
    """Processes blocks and keeps track of failures.

    Attributes:
        process: The function for a block.
        log_dir: Folder for reports of failures.
        done: Called after each block that succeeded.
        failed: The blocks that failed and have not succeeded since, by number.
        stopped_by: The error after which no more blocks are started.
    """

    process: ProcessBlock
    log_dir: Path
    done: Callable[[], object]
    failed: dict[int, daisy.Block] = attrs.field(factory=dict)
    stopped_by: Exception | None = None

    def process_block(self, block: daisy.Block) -> None:
        """Process a block; a failure marks the block instead of raising, since Daisy would end at the first error."""
        number = block.block_id[1]
        try:
            if self.stopped_by is not None:
                raise BlockwiseError(DISK_FULL)
            self.process(block)
        except Exception as error:  # noqa: BLE001  # reported, and the block counts as failed
            block.status = daisy.BlockStatus.FAILED
            self.failed[number] = block
            if self.stopped_by is None:
                report(report_file(self.log_dir, number), f"block {block.write_roi} failed", error)
                if is_disk_full(error):
                    self.stopped_by = error
                    report_stop(self.log_dir, DISK_FULL, error)
        else:
            self.failed.pop(number, None)
            self.done()
