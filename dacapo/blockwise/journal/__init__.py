"""The journal of an output: the parameters that define it, and which of its blocks are done.

It is a folder beside the output, ``.<dataset>.blocks`` in the same container, or, for an output at a URL, in
``<runs_base_dir>/.journals``::

    parameters.json     the parameters, how the region is cut into blocks, and an id that the output has as well
    <operation>/        Daisy's done markers
    complete            exists once every block is done
    logs/               output of workers, and why blocks failed; deleted on success

An interrupted call thus resumes when it is repeated: with the same parameters only the missing blocks are done. With
other parameters the call is refused, or starts over if it may replace the output. A refused call changes nothing. The
folder is locked against a second process; the operating system releases the lock however the first process ends.
"""

from .journal import Journal, Resume, is_complete, journal_container, journal_folder
from .open_journal import check_free, check_same_work, open_journal

__all__ = [
    "Journal",
    "Resume",
    "check_free",
    "check_same_work",
    "is_complete",
    "journal_container",
    "journal_folder",
    "open_journal",
]
