"""The journal as an object, and its folder."""

from __future__ import annotations

import enum
import json
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import attrs

from dacapo.blockwise.journal.identity import JOURNAL_ID, journal_id
from dacapo.blockwise.outputs import output_exists
from dacapo.errors import DacapoError, StorageError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.options import Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.files import is_file, paths_in, read_text, remove_file, write_text
from dacapo.store.folders import remove_folder
from dacapo.utils.paths import url_parts, user_path
from dacapo.utils.plain_json import parse_json

PARAMETERS = "parameters.json"
JOURNALS = ".journals"
"""Folder beside the runs for the journals of outputs at URLs."""
_COMPLETE, _LOGS = "complete", "logs"


class Resume(enum.Enum):
    """How to treat earlier work on an output with the same parameters."""

    NEVER = "never"
    """Drop it."""
    UNFINISHED = "unfinished"
    """Resume it if it was interrupted; repeat it if it was finished and may be replaced."""
    ALWAYS = "always"
    """Resume it if it was interrupted; do nothing if it was finished."""

    @classmethod
    def of(cls, overwrite: bool, resume: bool) -> Resume:
        """Return the policy that two flags of the commands select."""
        if not resume:
            return cls.NEVER
        return cls.UNFINISHED if overwrite else cls.ALWAYS


def journal_container(output: LocalArrayIdentifier) -> Path:
    """Return the folder that the journal of an output lies in: its container, or a folder of this machine for a URL.

    A journal is locked, and marked after each block, which a URL does not allow. That of ``s3://bucket/out.zarr`` is in
    ``<runs_base_dir>/.journals/s3/bucket/out.zarr``, where all machines of a cluster see it, like the runs.
    """
    parts = url_parts(output.container)
    if parts is None:
        return output.container
    return user_path(Options.instance().runs_base_dir).joinpath(JOURNALS, *parts)


def journal_folder(output: LocalArrayIdentifier) -> Path:
    """Return the folder of the journal of an output."""
    path = journal_container(output) / output.dataset
    return path.parent / f".{path.name}.blocks"


@attrs.define
class Journal:
    """The journal of one output.

    Attributes:
        output: The array that blocks are written to.
        parameters: Everything that defines the result.
        blocks: How the region is cut into blocks.
        id: Tells this making of the output from others; also an attribute of the output.
        created: Whether the output has been created.
        has_array: Whether the output is an array.
        into_existing: Whether the array existed before, so that it may hold more than this work.
    """

    output: LocalArrayIdentifier
    parameters: dict[str, Any]
    blocks: dict[str, Any]
    id: str = attrs.field(factory=lambda: secrets.token_hex(8))
    created: bool = False
    has_array: bool = False
    into_existing: bool = False

    @classmethod
    def read(cls, output: LocalArrayIdentifier) -> Self | None:
        """Return the journal of an output, None if it is missing or damaged.

        Without a valid journal the work starts over, if the output may be replaced.

        Raises:
            StorageError: If it exists and cannot be read.
        """
        file = journal_folder(output) / PARAMETERS
        if not is_file(file):
            return None
        try:
            return cls(output=output, **parse_json(read_text(file)))
        except (ValueError, TypeError):
            return None

    @property
    def folder(self) -> Path:
        """Folder of the journal; operations may keep intermediate results there, too."""
        return journal_folder(self.output)

    @property
    def path(self) -> Path:
        """Path of the output, for messages."""
        return self.output.container / self.output.dataset

    @property
    def log_dir(self) -> Path:
        """Folder for logs."""
        return self.folder / _LOGS

    @property
    def is_complete(self) -> bool:
        """Whether every block is done."""
        return is_file(self.folder / _COMPLETE)

    def done_markers(self, name: str) -> Path:
        """Return the folder for Daisy's done markers of one operation."""
        return self.folder / name

    def fits_output(self) -> bool:
        """Return whether the output on disk is still the one that this journal describes."""
        if not self.created or not self.has_array:
            return self.created
        return output_exists(self.output) and journal_id(self.output) == self.id

    def is_untouched(self) -> bool:
        """Return whether the output is missing, or was created and never written.

        A process can die after creating the output and before noting so.
        """
        if not output_exists(self.output):
            return True
        if journal_id(self.output) == self.id:
            return True
        array = ZarrArray.open_from_array_identifier(self.output, mode="r")
        if hasattr(array.data, "nchunks_initialized"):
            return not array.data.nchunks_initialized
        return not any(array.stored_chunks(array.roi).values())

    def create(self, create_output: Callable[[], object]) -> None:
        """Create the output, unless an earlier call did."""
        if self.created:
            return
        try:
            create_output()
        except DacapoError as error:
            # A refused call changes nothing. Otherwise the journal tells that an array without blocks is its own.
            if not isinstance(error, StorageError):
                self.forget()
            raise
        self.has_array = output_exists(self.output)
        if self.has_array:
            ZarrArray.open_from_array_identifier(self.output).add_metadata({JOURNAL_ID: self.id})
        self.created = True
        self.save()

    def save(self) -> None:
        """Write the journal.

        Raises:
            StorageError: If that fails.
        """
        content = attrs.asdict(self, recurse=False, filter=lambda field, _: field.name != "output")
        write_text(self.folder / PARAMETERS, json.dumps(content, indent=1))

    def clear(self) -> None:
        """Delete the content of the folder, the parameters first, so that a half-deleted journal is never believed."""
        for child in sorted(paths_in(self.folder), key=lambda child: child.name != PARAMETERS):
            remove_folder(child) if child.is_dir() else remove_file(child)

    def complete(self) -> None:
        """Note that every block is done, and delete the logs.

        Raises:
            StorageError: If that fails.
        """
        remove_folder(self.log_dir)
        write_text(self.folder / _COMPLETE, "")

    def forget(self) -> None:
        """Delete the journal but not the output, and the folders around it that are empty then."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            for above in self.folder.parents:
                above.rmdir()
                if above == journal_container(self.output):
                    break


def is_complete(output: LocalArrayIdentifier) -> bool:
    """Return whether an output was finished block by block, with any parameters, and still exists."""
    earlier = Journal.read(output)
    return earlier is not None and earlier.is_complete and earlier.fits_output()
